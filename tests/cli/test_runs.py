"""The commands `runs`, `runs compare` and `runs delete`, on run folders."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from click.testing import CliRunner

from incident_lib.cli import cli
from incident_lib.model import PROVIDER, ChangeDefinition, IncidentError
from incident_lib.records import RunFolder
from tests.support.reports import EXAMPLE, NEITHER, NO_AFTER, end, run_folder

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.reports import Contents

BEFORE, LATER, LATEST = "staging/20260101T120000Z", "staging/20260103T120000Z", "staging/20260104T120000Z"
FIX = "staging/20260102T120000Z"
LOOK: Contents = {**NO_AFTER, **end("dry-run")}


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs: a look, the fix, a look since, and a session by hand; and a run of the demo."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path))
    for day, name, changes in (
        (1, BEFORE, LOOK),
        (2, FIX, {}),
        (3, LATER, LOOK),
        (4, LATEST, {**LOOK, "started_by": "01_investigate", "recorded": False}),
    ):
        started = {"environment": "staging", "started_at": f"2026-01-0{day}T12:00:00Z", "started_by": "incident run"}
        run_folder(tmp_path, {**started, **changes}, name)
    run_folder(tmp_path, {}, "demo/20260101T120000Z")
    return tmp_path


def ran(*words: str) -> tuple[int, str, str]:
    """Run `incident runs …`: its exit code, standard output, and standard error or the message."""
    done = CliRunner().invoke(cli, ["runs", *words], standalone_mode=False)
    if isinstance(done.exception, IncidentError):
        return done.exception.exit_code, done.stdout, str(done.exception)
    if done.exception:
        raise done.exception
    return done.return_value or 0, done.stdout, done.stderr


def lines(out: str) -> list[str]:
    """The lines of what follows the answer, with single spaces."""
    return [" ".join(line.split()) for line in out.splitlines()[1:] if line.strip()]


def test_the_list(runs: Path) -> None:
    """Each run with its time, its command, its status, its counts, and what a report takes from it."""
    code, out, err = ran("--env", "staging")

    assert (code, err) == (0, "")
    assert lines(out) == [
        "run started (UTC) started by status blocked before after in the report",
        f"{LATEST} 2026-01-04 12:00 01_investigate dry-run 1,088 – no: not recorded",
        f"{LATER} 2026-01-03 12:00 incident run dry-run 1,088 – after",
        f"{FIX} 2026-01-02 12:00 incident run succeeded 1,088 0 before, the fix",
        f"{BEFORE} 2026-01-01 12:00 incident run dry-run 1,088 – timeline",
    ]


def test_the_list_of_all_environments(runs: Path) -> None:
    """Without a name the runs of all environments are listed, those of the demo, too."""
    assert [line.split()[0] for line in lines(ran()[1])[1:]] == [
        "demo/20260101T120000Z",
        *(LATEST, LATER, FIX, BEFORE),
    ]


def test_the_list_as_json(runs: Path) -> None:
    """JSON has the same for each run, and its folder."""
    found = json.loads(ran("--env", "staging", "--format", "json")[1])["result"]["runs"]

    assert found[2] == {
        "run": FIX,
        "environment": "staging",
        "folder": str(runs / FIX),
        "started_at": "2026-01-02T12:00:00Z",
        "started_by": "incident run",
        "change": "purpose",
        "status": "succeeded",
        "recorded": True,
        "blocked_before": 1088,
        "blocked_after": 0,
        "use": "before, the fix",
        "counts_before": None,
        "counts_after": None,
    }


def test_a_run_of_another_change(runs: Path) -> None:
    """A run of `provider` is listed with what it is to the second chapter; the first one's runs stay what they are."""
    name = "staging/20260105T120000Z"
    contents = {**EXAMPLE, "change": msgspec.to_builtins(ChangeDefinition.of(PROVIDER))}
    run_folder(runs, {**contents, "environment": "staging", "started_at": "2026-01-05T12:00:00Z"}, name)

    assert [line.split("succeeded ")[-1].split("dry-run ")[-1] for line in lines(ran("--env", "staging")[1])[1:4]] == [
        "1,088 0 provider: before, provider: the change, provider: after",
        "1,088 – no: not recorded",
        "1,088 – after",
    ]


def test_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a run the output says so."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path))

    assert ran("--env", "staging") == (0, f"There is no run of staging in {os.path.relpath(tmp_path)}.\n", "")
    assert json.loads(ran("--format", "json")[1])["result"] == {"runs": []}


def test_a_folder_that_cannot_be_read_is_named(runs: Path) -> None:
    """A folder beside runs that holds no record of this version is named on standard error."""
    (runs / "staging" / "older").mkdir()
    (runs / "staging" / "older" / "record.json").write_text('{"schema_version": 1}', "utf-8")

    assert ran("--env", "staging")[2] == f"{runs / 'staging' / 'older'} is no run that this version can read.\n"


@pytest.mark.parametrize(
    ("changes", "status", "use"),
    [
        (end("killed"), "killed", "no: killed"),
        (end("running"), "running", "no: running"),
        (end("failed"), "failed", "timeline"),
    ],
)
def test_a_run_that_did_not_succeed(runs: Path, changes: Contents, status: str, use: str) -> None:
    """A run that was killed or is running is in no report; one that failed is a row of the timeline."""
    made = {"environment": "staging", "started_at": "2026-01-01T00:00:00Z", **NO_AFTER, "counts": NEITHER, **changes}
    run_folder(runs, made, "staging/20260101T000000Z")
    last = lines(ran("--env", "staging")[1])[-1]

    assert last == f"staging/20260101T000000Z 2026-01-01 00:00 incident run {status} – – {use}"


def test_two_runs_side_by_side(runs: Path) -> None:
    """Each count of both runs, before and after, and what it counts; a snapshot that was not taken is no column."""
    code, out, _ = ran("compare", BEFORE, FIX)
    counts: Any = EXAMPLE["counts"]

    assert code == 0
    assert lines(out)[:3] == [
        f"A: {BEFORE}, dry-run, report: timeline",
        f"B: {FIX}, succeeded, report: before, the fix",
        "count A before B before B after what it counts",
    ]
    before, after = counts["before"]["coexisting_families"], counts["after"]["coexisting_families"]
    assert any(f" {before} {before} {after} " in line for line in lines(out)[3:])


def test_two_runs_as_json(runs: Path) -> None:
    """JSON has both runs with their counts."""
    first, second = json.loads(ran("compare", BEFORE, FIX, "--format", "json")[1])["result"]["runs"]
    counts: Any = EXAMPLE["counts"]

    assert (first["run"], first["counts_after"]) == (BEFORE, None)
    assert (second["run"], second["counts_before"], second["counts_after"]) == (FIX, counts["before"], counts["after"])


def test_a_run_may_be_named_by_its_folder(runs: Path) -> None:
    """The path of a run's folder names it, too."""
    assert lines(ran("compare", str(runs / BEFORE), FIX)[1])[0].startswith(f"A: {BEFORE}, ")


@pytest.mark.parametrize("name", ["staging", "staging/20990101T000000Z", "..", "."])
def test_a_name_that_is_no_run(runs: Path, name: str) -> None:
    """A name without a run is an error, and nothing is deleted: an environment's folder is no run."""
    for words in (("compare", name, FIX), ("delete", name, "--confirm", name)):
        assert ran(*words) == (
            2,
            "",
            f"There is no run {name!r}.\n  why:  {runs} holds none of that name.\n  next: List them: incident runs",
        )
    assert (runs / FIX / "record.json").exists()


def test_a_run_is_deleted_by_its_name(runs: Path) -> None:
    """With its name as the confirmation a run's folder is removed, and no other."""
    assert ran("delete", BEFORE, "--confirm", BEFORE) == (0, f"Deleted {BEFORE}.\n", "")
    assert not (runs / BEFORE).exists()
    assert (runs / FIX).exists()


@pytest.mark.parametrize("confirm", ["", "staging", LATER])
def test_a_run_is_not_deleted_without_its_name(runs: Path, confirm: str) -> None:
    """Without a terminal and with another name or none, nothing is deleted, and the message has the command."""
    assert ran("delete", BEFORE, "--confirm", confirm) == (
        2,
        "",
        f"The run {BEFORE} was not deleted.\n"
        "  why:  Deleting it takes its name once more.\n"
        f"  next: Confirm it: incident runs delete {BEFORE} --confirm {BEFORE}",
    )
    assert (runs / BEFORE).exists()


@pytest.mark.parametrize(("typed", "deleted"), [(BEFORE, True), ("yes", False)])
def test_on_a_terminal_the_command_asks_for_the_name(runs: Path, typed: str, deleted: bool) -> None:
    """On a terminal the command says what a report takes from the run, and asks for its name."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "incident_lib", "runs", "delete", BEFORE]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        os.write(ours, f"{typed}\n".encode())
        out, err = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)

    assert err.startswith(f"{BEFORE}: dry-run, report: timeline.\nIts name, to delete it: ")
    assert (out == f"Deleted {BEFORE}.\n", (runs / BEFORE).exists()) == (deleted, not deleted)


def test_a_running_run_is_not_deleted(runs: Path) -> None:
    """A run with a heartbeat is refused, also with its name; once it is silent it can be deleted."""
    made = RunFolder.create("staging", "a test")
    name = f"staging/{made.folder.name}"

    assert ran("delete", name, "--confirm", name)[::2] == (
        1,
        f"The run {name} is not deleted.\n"
        "  why:  It is running.\n"
        "  next: Wait until it has ended; a killed run counts as ended a minute after its last heartbeat.",
    )
    silent = datetime(2025, 1, 1, tzinfo=UTC)
    made.update(lambda record: msgspec.structs.replace(record, heartbeat_at=silent), beats=False)
    assert ran("delete", name, "--confirm", name)[0] == 0
    assert not made.folder.exists()
