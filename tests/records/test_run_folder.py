"""The folder of a run: its record is always complete, several processes can write it, and it has the run's end."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest

from incident_lib import paths
from incident_lib.model import (
    BeforeAfter,
    ErrorMessage,
    Failed,
    IndexDefinition,
    Indexes,
    IndexKind,
    IndexState,
    NotebookResult,
    Refused,
    RunStatus,
    UsageError,
)
from incident_lib.records import (
    RunFolder,
    all_runs,
    recorded_environments,
    run_folder,
    runs_beside,
    status_after,
    status_of,
)

if TYPE_CHECKING:
    from pathlib import Path

# A process that appends this many numbered probes, with one update each.
WRITER = """
import sys
from pathlib import Path
import msgspec
from incident_lib.records import RunFolder
run, name, many = RunFolder(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
for n in range(many):
    run.update(lambda record: msgspec.structs.replace(
        record, probes=[*record.probes, f"{name}{n}"], verdict="x" * 20_000
    ))
"""
INDEX = IndexDefinition(name="i", kind=IndexKind.ORIGINAL, definition="CREATE UNIQUE INDEX i", flags="valid")
BEFORE = Indexes(state=IndexState.ORIGINAL, definitions=[INDEX])
AFTER = Indexes(state=IndexState.FIXED, definitions=[])


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs of this test."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def run(runs: Path) -> RunFolder:
    """A run that has just begun."""
    return RunFolder.create("staging", started_by="a test")


def _writer(run: RunFolder, name: str, many: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(run.folder), name, str(many)])


def test_a_new_record_has_every_key(run: RunFolder) -> None:
    """The file of a new record has each key of the schema, in its order."""
    assert list(msgspec.json.decode(run.file.read_bytes())) == list(run.read().__struct_fields__)


def test_a_new_record_has_no_results(run: RunFolder) -> None:
    """A new record has the status `running`, the command that began it, and no result."""
    record = run.read()
    results = {
        key: value
        for key, value in msgspec.to_builtins(record).items()
        if key not in ("schema_version", "environment", "started_at", "heartbeat_at", "versions", "git_commit")
    }

    assert (record.schema_version, record.environment) == (2, "staging")
    assert results.pop("change")["name"] == "purpose"
    assert (results.pop("status"), results.pop("started_by"), results.pop("recorded")) == ("running", "a test", True)
    assert {key: value for key, value in results.items() if value not in (None, [])} == {
        key: {"before": None, "after": None} for key in ("indexes", "counts", "snapshot_at", "example_threads")
    }


def test_a_new_record_names_the_versions(run: RunFolder) -> None:
    """A new record has the versions of Python and of the packages that affect its numbers."""
    assert run.read().versions.keys() == {"python", *run_folder.PACKAGES}


def test_times_are_utc(run: RunFolder) -> None:
    """The times of a record are in UTC, to the second."""
    written = msgspec.json.decode(run.file.read_bytes())["started_at"]

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", written)
    assert run.read().started_at.tzinfo == UTC


def test_a_run_has_a_folder_of_its_environment_and_its_time(run: RunFolder, runs: Path) -> None:
    """The folder of a run is <runs>/<environment>/<UTC time>."""
    assert re.fullmatch(r"staging/\d{8}T\d{6}Z", str(run.folder.relative_to(runs)))


def test_two_runs_in_one_second_get_two_folders(runs: Path) -> None:
    """Runs that begin in the same second have different folders, and the last one is the latest run."""
    folders = [RunFolder.create("staging", started_by="a test").folder for _ in range(3)]

    assert len(set(folders)) == 3
    assert all_runs("staging") == folders[::-1]


def test_the_environments_that_have_runs(runs: Path) -> None:
    """The environments that have runs are listed by name, without the demo."""
    for name in ("prod", "demo", "demo", "abroad"):
        RunFolder.create(name, started_by="a test")

    assert recorded_environments() == ["abroad", "prod"]


def test_without_a_run_there_is_no_environment(runs: Path) -> None:
    """Without a run, there is no environment that has one."""
    assert recorded_environments() == []


def test_the_runs_beside_one(runs: Path, tmp_path: Path) -> None:
    """The runs beside a run are those of its environment, itself included; a run elsewhere is alone."""
    first, second = (RunFolder.create("prod", started_by="a test").folder for _ in range(2))

    assert runs_beside(first) == [second, first]
    assert runs_beside(tmp_path) == [tmp_path]


def test_unreadable_runs_are_not_listed(runs: Path) -> None:
    """A folder without a record of this version is not listed; the others are sorted, latest first."""
    folders = [RunFolder.create("staging", started_by="a test").folder for _ in range(2)]
    (runs / "staging" / "99991231T000000Z").mkdir()
    (runs / "staging" / "99991231T000000Z" / "record.json").write_text('{"schema_version": 1}')

    assert all_runs("staging") == folders[::-1]


def test_a_reader_always_reads_a_complete_record(run: RunFolder) -> None:
    """A process that reads a record while another one writes it reads complete records only."""
    writer = _writer(run, "a", 150)
    lengths = []
    while writer.poll() is None:
        lengths.append(len(run.read().probes))

    assert writer.returncode == 0
    assert lengths == sorted(lengths)
    assert len(set(lengths)) > 3


def test_two_processes_lose_no_update(run: RunFolder) -> None:
    """If two processes update one record at the same time, it has all updates of both."""
    writers = [_writer(run, name, 60) for name in "ab"]

    assert [writer.wait(30) for writer in writers] == [0, 0]
    assert sorted(run.read().probes) == sorted(f"{name}{n}" for name in "ab" for n in range(60))


def test_two_threads_lose_no_update(run: RunFolder) -> None:
    """If two threads, such as a run and its heartbeat, update one record, it has all updates."""

    def write(name: str) -> None:
        for n in range(200):
            RunFolder(run.folder).update(
                lambda record, n=n: msgspec.structs.replace(record, probes=[*record.probes, f"{name}{n}"])
            )

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write, "ab"))

    assert sorted(run.read().probes) == sorted(f"{name}{n}" for name in "ab" for n in range(200))


def test_an_update_leaves_no_other_file(run: RunFolder) -> None:
    """An update leaves the record and its lock, and no temporary file."""
    run.set(verdict="fine")

    assert sorted(file.name for file in run.folder.iterdir()) == [".lock", "record.json"]


def test_an_update_that_fails_changes_nothing(run: RunFolder) -> None:
    """If a change raises an error, the record is unchanged and no temporary file is left."""
    before = run.file.read_bytes()
    with pytest.raises(TypeError):
        run.set(verdict="fine", no_such_field=1)

    assert run.file.read_bytes() == before
    assert sorted(file.name for file in run.folder.iterdir()) == [".lock", "record.json"]


@pytest.fixture
def old(run: RunFolder) -> datetime:
    """A time long ago, set as the heartbeat of `run`."""
    at = datetime(2025, 1, 1, tzinfo=UTC)
    run.update(lambda record: msgspec.structs.replace(record, heartbeat_at=at), beats=False)
    return at


def test_the_heartbeat_is_updated(run: RunFolder, old: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    """The heartbeat of a run is updated without other updates."""
    monkeypatch.setattr(run_folder, "HEARTBEAT_SECONDS", 0.02)
    with run.beating():
        deadline = time.monotonic() + 10
        while run.read().heartbeat_at == old and time.monotonic() < deadline:
            time.sleep(0.02)

    assert run.read().heartbeat_at > old


def test_an_update_is_a_heartbeat(run: RunFolder, old: datetime) -> None:
    """An update also updates the heartbeat."""
    run.set(verdict="fine")

    assert run.read().heartbeat_at > old


def test_an_update_by_another_process_is_no_heartbeat(run: RunFolder, old: datetime) -> None:
    """An update by another process does not update the heartbeat."""
    run.set(verdict="fine", beats=False)

    assert run.read().heartbeat_at == old


def test_the_heartbeat_stops_with_the_run(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a run has ended, its heartbeat no longer writes the record."""
    monkeypatch.setattr(run_folder, "HEARTBEAT_SECONDS", 0.02)
    with run.beating():
        pass
    time.sleep(0.1)
    written = run.file.stat().st_mtime_ns
    time.sleep(0.2)

    assert run.file.stat().st_mtime_ns == written


@pytest.mark.parametrize(("seconds", "status"), [(0, "running"), (60, "running"), (61, "killed")])
def test_a_run_without_a_heartbeat_is_shown_as_killed(run: RunFolder, seconds: int, status: str) -> None:
    """A run with the status `running` and no heartbeat for more than a minute is shown as killed."""
    record = run.read()

    assert status_of(record, record.heartbeat_at + timedelta(seconds=seconds)) == status


@pytest.mark.parametrize("status", [status for status in RunStatus if status is not RunStatus.RUNNING])
def test_a_run_that_ended_is_never_killed(run: RunFolder, status: RunStatus) -> None:
    """A run that has ended is shown with its own status, however long ago it ended."""
    run.finish(status)

    assert status_of(run.read(), datetime(2099, 1, 1, tzinfo=UTC)) == status.value


def test_set_keeps_before_and_sets_after(run: RunFolder) -> None:
    """Setting `after` does not change the existing `before`."""
    run.set(indexes=BeforeAfter(before=BEFORE))
    run.set(indexes=BeforeAfter(after=AFTER))

    assert run.read().indexes == BeforeAfter(before=BEFORE, after=AFTER)


def test_set_replaces_other_values(run: RunFolder) -> None:
    """Any other value is replaced, including a list."""
    run.set(probes=["one", "two"], verdict="one")
    run.set(probes=["three"], verdict="two")

    assert (run.read().probes, run.read().verdict) == (["three"], "two")


def test_text_in_any_script_is_unchanged(run: RunFolder) -> None:
    """Text in any script, with quotes and line breaks, is equal after writing and reading it."""
    run.set(verdict='รายงาน "ประจำเดือน"\n\u202e\U0001f600')

    assert run.read().verdict == 'รายงาน "ประจำเดือน"\n\u202e\U0001f600'


def test_a_notebook_has_one_entry(run: RunFolder) -> None:
    """A second entry of a notebook replaces its first one, and no other entry."""
    run.note_notebook("01_investigate", "running")
    run.note_notebook("02_migrate", "running")
    run.note_notebook("01_investigate", "done", 1.23456)

    assert run.read().notebooks == [
        NotebookResult(name="02_migrate", seconds=None, outcome="running"),
        NotebookResult(name="01_investigate", seconds=1.23, outcome="done"),
    ]


def test_finish_sets_status_error_and_time(run: RunFolder) -> None:
    """Finishing sets the status, the error and the time."""
    run.finish(RunStatus.FAILED, Failed("It broke.", "It was old.", "Buy a new one."))
    record = run.read()

    assert record.status is RunStatus.FAILED
    assert record.error == ErrorMessage(what="It broke.", why="It was old.", next="Buy a new one.")
    assert record.finished_at is not None
    assert record.finished_at >= record.started_at


def test_finish_does_not_replace_an_earlier_error(run: RunFolder) -> None:
    """A later error does not replace the one that stopped a run."""
    cause = ErrorMessage(what="The cause.", why="So.", next="Go.")
    run.set(error=cause)
    run.finish(RunStatus.FAILED, Failed("A consequence.", "The cause.", "Look above."))

    assert run.read().error == cause


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Refused("", "", ""), RunStatus.REFUSED),
        (Failed("", "", ""), RunStatus.FAILED),
        (ValueError(), RunStatus.FAILED),
    ],
)
def test_the_status_depends_on_the_error(error: Exception, status: RunStatus) -> None:
    """A refusal ends a run as refused, any other error as failed."""
    assert status_after(error) is status


def test_an_unwritable_folder_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the folder of runs cannot be written, the error names it and the action."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path / "file" / "runs"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Failed) as raised:
        RunFolder.create("staging", started_by="a test")

    assert str(raised.value) == (
        "file/runs/staging cannot be written.\n"
        "  why:  Not a directory.\n"
        "  next: Make it writable, or name another folder with --out."
    )


def test_a_folder_without_a_record_is_an_error(tmp_path: Path) -> None:
    """The error for a folder without a record names it, with an example of a folder that has one."""
    with pytest.raises(UsageError) as raised:
        RunFolder(tmp_path).read()

    assert str(raised.value) == (
        f"{tmp_path} is not the folder of a run.\n"
        "  why:  It holds no record.json.\n"
        "  next: Name a folder like data/runs/demo/20260101T120000Z."
    )


def test_updating_a_folder_without_a_record_is_an_error(tmp_path: Path) -> None:
    """An update of a folder without a run is an error, and creates no file."""
    with pytest.raises(UsageError):
        RunFolder(tmp_path / "none").note_notebook("01_investigate", "running")

    assert not (tmp_path / "none").exists()


def _git(folder: Path, *words: str) -> str:
    made_by = ["-c", "user.name=a test", "-c", "user.email=test@example.invalid", "-c", "commit.gpgsign=false"]
    ran = subprocess.run(["git", "-C", str(folder), *made_by, *words], capture_output=True, text=True, check=True)
    return ran.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one commit that replaces the project's own."""
    (tmp_path / "file").write_text("one")
    _git(tmp_path, "init", "--quiet")
    _git(tmp_path, "add", "file")
    _git(tmp_path, "commit", "--quiet", "-m", "one")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    return tmp_path


def test_git_commit_is_the_checkouts(checkout: Path) -> None:
    """A record has the commit of the checkout."""
    assert run_folder.git_commit() == _git(checkout, "rev-parse", "HEAD")


def test_git_commit_shows_changes(checkout: Path) -> None:
    """If tracked files differ from the commit, the commit ends with a plus sign."""
    (checkout / "file").write_text("two")

    assert run_folder.git_commit() == _git(checkout, "rev-parse", "HEAD") + "+"


def test_git_commit_outside_a_checkout_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside a checkout there is no commit."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)

    assert run_folder.git_commit() is None


def test_git_commit_without_git_is_none(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without git, a record can still be created."""
    monkeypatch.setenv("PATH", str(checkout))

    assert run_folder.git_commit() is None
