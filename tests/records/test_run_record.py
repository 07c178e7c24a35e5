"""The run record: whole at every moment, written by several processes, and honest about how a run ended."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from incident_lib.records.run_record import RunRecord, git_commit, latest_runs, status_now, status_of

from incident_lib import paths
from incident_lib.model.errors import Failed, Refused, UsageError
from incident_lib.records import run_record as record

if TYPE_CHECKING:
    from pathlib import Path

KEYS = [
    "schema_version",
    "environment",
    "status",
    "started_by",
    "started_at",
    "heartbeat_at",
    "finished_at",
    "versions",
    "git_commit",
    "server_version",
    "guard",
    "counts",
    "preflight",
    "steps",
    "notebooks",
    "error",
]
# A writer of its own: appends so many numbered steps, one update each.
WRITER = """
import sys
from pathlib import Path
from incident_lib.record import Record
record, who, many = Record(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
for n in range(many):
    record.update(lambda c: {**c, "steps": [*c["steps"], f"{who}{n}"], "padding": "x" * 20_000})
"""


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs of this test alone."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def kept(runs: Path) -> RunRecord:
    """A run that has just begun."""
    return RunRecord.create("staging", started_by="a test")


def _writer(kept: RunRecord, who: str, many: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(kept.folder), who, str(many)])


def test_a_new_record_has_every_key_of_the_contract(kept: RunRecord) -> None:
    """A new record carries every key of the contract, in its order."""
    assert list(kept.read()) == KEYS


def test_a_new_record_has_seen_nothing(kept: RunRecord) -> None:
    """A new record is running and holds no finding yet."""
    contents = kept.read()
    told = {key: contents[key] for key in ("status", "guard", "counts", "preflight", "steps", "notebooks", "error")}

    assert told == {
        "status": "running",
        "guard": {"before": None, "after": None},
        "counts": {"before": None, "after": None},
        "preflight": None,
        "steps": [],
        "notebooks": [],
        "error": None,
    }


def test_moments_are_utc(kept: RunRecord) -> None:
    """The moments of a record are UTC to the second, and say so."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", kept.read()["started_at"])


def test_a_run_has_a_folder_of_its_environment_and_its_time(kept: RunRecord, runs: Path) -> None:
    """A run's folder is <runs>/<environment>/<UTC time>."""
    assert re.fullmatch(r"staging/\d{8}T\d{6}Z", str(kept.folder.relative_to(runs)))


def test_two_runs_in_one_second_get_two_folders(runs: Path) -> None:
    """Runs that begin in the same second get a folder each, and the last of them is the latest."""
    folders = [RunRecord.create("staging", started_by="a test").folder for _ in range(3)]

    assert len(set(folders)) == 3
    assert latest_runs("staging") == [folders[-1]]


def test_latest_is_one_of_each_environment(runs: Path) -> None:
    """Without a name, latest finds the last run of each environment, by name."""
    of_prod, _, of_demo = (RunRecord.create(name, started_by="a test").folder for name in ("prod", "demo", "demo"))

    assert latest_runs() == [of_demo, of_prod]


def test_latest_of_nothing_is_nothing(runs: Path) -> None:
    """Where no run has been, latest finds none."""
    assert latest_runs() == []


def test_a_reader_never_sees_half_a_record(kept: RunRecord) -> None:
    """A reader that polls while another process writes sees whole records only."""
    writer = _writer(kept, "a", 150)
    seen = []
    while writer.poll() is None:
        seen.append(len(json.loads(kept.file.read_text("utf-8"))["steps"]))

    assert writer.returncode == 0
    assert seen == sorted(seen)
    assert len(set(seen)) > 3


def test_two_processes_lose_nothing(kept: RunRecord) -> None:
    """Two processes that update one record at the same time both find all of theirs in it."""
    writers = [_writer(kept, who, 60) for who in "ab"]

    assert [writer.wait(30) for writer in writers] == [0, 0]
    assert sorted(kept.read()["steps"]) == sorted(f"{who}{n}" for who in "ab" for n in range(60))


def test_two_threads_lose_nothing(kept: RunRecord) -> None:
    """Two threads of one process, as a run and its heart are, change the record at once, and every change is in it."""

    def write(who: str) -> None:
        for n in range(200):
            RunRecord(kept.folder).update(lambda c, n=n: {**c, "steps": [*c["steps"], f"{who}{n}"]})

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write, "ab"))

    assert sorted(kept.read()["steps"]) == sorted(f"{who}{n}" for who in "ab" for n in range(200))


def test_nothing_but_the_record_is_left_behind(kept: RunRecord) -> None:
    """An update leaves no part file behind."""
    kept.set(verdict="fine")

    assert sorted(file.name for file in kept.folder.iterdir()) == [".lock", "record.json"]


def test_the_heartbeat_moves(kept: RunRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a run beats, its heartbeat moves without anybody's doing."""
    monkeypatch.setattr(record, "HEARTBEAT_SECONDS", 0.02)
    old = {**kept.read(), "heartbeat_at": "2025-01-01T00:00:00Z"}
    kept.file.write_text(json.dumps(old), "utf-8")
    with kept.beating():
        deadline = time.monotonic() + 10
        while kept.read()["heartbeat_at"] == old["heartbeat_at"] and time.monotonic() < deadline:
            time.sleep(0.02)

    assert kept.read()["heartbeat_at"] > old["heartbeat_at"]


def test_the_heartbeat_stops_with_the_run(kept: RunRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a run has ended nothing writes its record any more."""
    monkeypatch.setattr(record, "HEARTBEAT_SECONDS", 0.02)
    with kept.beating():
        pass
    time.sleep(0.1)
    written = kept.file.stat().st_mtime_ns
    time.sleep(0.2)

    assert kept.file.stat().st_mtime_ns == written


@pytest.mark.parametrize(("seconds", "shown"), [(0, "running"), (60, "running"), (61, "killed")])
def test_a_silent_run_is_killed(kept: RunRecord, seconds: int, shown: str) -> None:
    """A run that says `running` and has been silent for more than a minute is shown as killed."""
    contents = kept.read()
    at = datetime.fromisoformat(contents["heartbeat_at"]) + timedelta(seconds=seconds)

    assert status_now(contents, at) == shown


@pytest.mark.parametrize("ended", ["succeeded", "dry-run", "refused", "failed"])
def test_a_run_that_ended_is_never_killed(kept: RunRecord, ended: str) -> None:
    """A run that ended is shown as it ended, however long ago."""
    kept.finish(ended)

    assert status_now(kept.read(), datetime(2099, 1, 1, tzinfo=UTC)) == ended


def test_set_merges_a_dict(kept: RunRecord) -> None:
    """A dict that is set goes into the dict that stands there."""
    kept.set(index={"before": {"state": "original"}})
    kept.set(index={"after": {"state": "fixed"}})

    assert kept.read()["guard"] == {"before": {"state": "original"}, "after": {"state": "fixed"}}


def test_set_replaces_what_is_no_dict(kept: RunRecord) -> None:
    """Anything but a dict is replaced, a list too."""
    kept.set(steps=[1, 2], verdict="one")
    kept.set(steps=[3], verdict="two")

    assert (kept.read()["steps"], kept.read()["verdict"]) == ([3], "two")


def test_keys_of_later_versions_stay(kept: RunRecord) -> None:
    """A key that this version does not know survives an update."""
    kept.set(added_later={"a": 1})
    kept.set(verdict="fine")

    assert kept.read()["added_later"] == {"a": 1}


def test_text_is_kept_in_any_script(kept: RunRecord) -> None:
    """Text of any script, with quotes and line breaks, is read back as it was."""
    kept.set(verdict='รายงาน "ประจำเดือน"\n\u202e\U0001f600')

    assert kept.read()["verdict"] == 'รายงาน "ประจำเดือน"\n\u202e\U0001f600'


def test_a_notebook_is_noted_once(kept: RunRecord) -> None:
    """A notebook that is noted again replaces its own entry and leaves the others."""
    kept.note_notebook("01_investigate", "running")
    kept.note_notebook("02_migrate", "running")
    kept.note_notebook("01_investigate", "done", 1.23456)

    assert kept.read()["notebooks"] == [
        {"name": "02_migrate", "seconds": None, "outcome": "running"},
        {"name": "01_investigate", "seconds": 1.23, "outcome": "done"},
    ]


def test_finish_says_how_and_when(kept: RunRecord) -> None:
    """Finishing sets the status, the error and the moment."""
    kept.finish("failed", Failed("It broke.", "It was old.", "Buy a new one."))
    contents = kept.read()

    assert contents["status"] == "failed"
    assert contents["error"] == {"what": "It broke.", "why": "It was old.", "next": "Buy a new one."}
    assert contents["finished_at"] >= contents["started_at"]


def test_finish_keeps_an_earlier_error(kept: RunRecord) -> None:
    """The error that stopped a run stays, whatever follows from it."""
    kept.set(error={"what": "The cause.", "why": "So.", "next": "Go."})
    kept.finish("failed", Failed("A consequence.", "The cause.", "Look above."))

    assert kept.read()["error"] == {"what": "The cause.", "why": "So.", "next": "Go."}


@pytest.mark.parametrize(
    ("error", "status"),
    [(Refused("", "", ""), "refused"), (Failed("", "", ""), "failed"), (ValueError(), "failed")],
)
def test_an_error_says_how_a_run_ended(error: Exception, status: str) -> None:
    """A refusal ends a run as refused, anything else as failed."""
    assert status_of(error) == status


def test_an_unwritable_folder_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the folder of runs cannot be written, one message names it and the way out."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path / "file" / "runs"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Failed) as raised:
        RunRecord.create("staging", started_by="a test")

    assert str(raised.value) == (
        "file/runs/staging cannot be written.\n"
        "  why:  Not a directory.\n"
        "  next: Make it writable, or name another folder with --out."
    )


@pytest.mark.parametrize("text", [None, "", "{", "[]", "null", "{}", '{"schema_version": 99}', "\xff"])
def test_what_is_no_record_is_one_message(tmp_path: Path, text: str | None) -> None:
    """A folder without a record that we can read is named, with what to name in its place."""
    if text is not None:
        (tmp_path / "record.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError) as raised:
        RunRecord(tmp_path).read()

    assert str(raised.value) == (
        f"{tmp_path} is not the folder of a run.\n"
        "  why:  It holds no record.json that this version can read.\n"
        "  next: Name a folder like data/runs/demo/20260101T120000Z."
    )


def test_updating_what_is_no_run_is_a_message(tmp_path: Path) -> None:
    """A notebook that is told of a folder which holds no run gets a message, and nothing is made there."""
    with pytest.raises(UsageError):
        RunRecord(tmp_path / "none").note_notebook("01_investigate", "running")

    assert not (tmp_path / "none").exists()


def _git(folder: Path, *words: str) -> str:
    made_by = ["-c", "user.name=a test", "-c", "user.email=test@example.invalid", "-c", "commit.gpgsign=false"]
    ran = subprocess.run(["git", "-C", str(folder), *made_by, *words], capture_output=True, text=True, check=True)
    return ran.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one commit, in place of the project's."""
    (tmp_path / "file").write_text("one")
    _git(tmp_path, "init", "--quiet")
    _git(tmp_path, "add", "file")
    _git(tmp_path, "commit", "--quiet", "-m", "one")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    return tmp_path


def test_git_commit_is_the_checkouts(checkout: Path) -> None:
    """A record names the commit of the checkout."""
    assert git_commit() == _git(checkout, "rev-parse", "HEAD")


def test_git_commit_tells_of_changes(checkout: Path) -> None:
    """Where tracked files differ from the commit, a plus sign says so."""
    (checkout / "file").write_text("two")

    assert git_commit() == _git(checkout, "rev-parse", "HEAD") + "+"


def test_git_commit_outside_a_checkout_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside a checkout no commit is made up."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)

    assert git_commit() is None


def test_git_commit_without_git_is_none(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where git is not installed a record can be made all the same."""
    monkeypatch.setenv("PATH", str(checkout))

    assert git_commit() is None
