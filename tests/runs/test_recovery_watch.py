"""Watching recovery: a growing log, the run that ended the incident, and `incident watch`."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from incident_lib.analysis.investigate import write_blocked
from incident_lib.cli import cli
from incident_lib.database import read_catalog, reading
from incident_lib.model.change import INDEX_NAME, PROVIDER, PURPOSE
from incident_lib.model.errors import Failed, IncidentError, UsageError
from incident_lib.model.records import RunStatus
from incident_lib.model.threads import Family
from incident_lib.records import RunFolder, status_of
from incident_lib.runs.recovery_watch import Tail, run_that_fixed, watch_recovery
from tests.conftest import add
from tests.support.command import unmeasured

if TYPE_CHECKING:
    from pathlib import Path

    from incident_lib.database import Environment
    from incident_lib.model import IndexChange

SINCE = datetime(2025, 10, 13, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
FAMILIES = [Family(UUID(int=100 + number), UUID(int=200 + number // 2)) for number in range(5)]
HEADER = "root_prompt_row_id,owner_id\n"
AN_ID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")


def list_blocked(environment: Environment, folder: Path) -> None:
    """Write the list of blocked families, as a run does."""
    with reading(environment) as reader:
        write_blocked(reader, read_catalog(reader), folder / "blocked.csv")


def chat(connection: psycopg.Connection, family: Family, at: datetime, **columns: object) -> None:
    """Insert a chat of a family with this time."""
    add(connection, *family, purpose="chat", created_at=at, **columns)


def not_yet(run: Path) -> str:
    """The contents of not_recovered.csv."""
    return (run / "not_recovered.csv").read_text("utf-8")


def written(families: list[Family]) -> str:
    """The expected contents of not_recovered.csv for these families."""
    return HEADER + "".join(f"{family.root},{family.owner}\n" for family in families)


# A growing log


def entry(number: int, *, fixed: bool = False, at: datetime | None = None) -> bytes:
    """A rejected insert of one family in PostgreSQL's log, this many seconds after the fix."""
    family = FAMILIES[number % len(FAMILIES)]
    prefix = f"{at or SINCE + number * SECOND:%Y-%m-%d %H:%M:%S}.250 UTC [4101] 23505 postgres@postgres "
    purpose, value = (", purpose", ", chat") if fixed else ("", "")
    return (
        f'{prefix}ERROR:  duplicate key value violates unique constraint "{INDEX_NAME}"\n'
        f"{prefix}DETAIL:  Key (root_prompt_row_id, owner_id{purpose})=({family.root}, {family.owner}{value}) "
        "already exists.\n"
        f'{prefix}STATEMENT:  INSERT INTO public.q_threads ("root_prompt_row_id", "owner_id") VALUES ($1, $2)\n'
    ).encode()


NOISE = b"2025-10-13 12:00:00.000 UTC [4000] 00000 postgres@postgres LOG:  checkpoint starting: time\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log without a rejected insert."""
    file = tmp_path / "server.log"
    file.write_bytes(NOISE)
    return file


def grow(log: Path, more: bytes) -> None:
    """Append to a log."""
    with log.open("ab") as file:
        file.write(more)


def after(tail: Tail) -> int:
    """Read the log again; returns the number of rejected inserts since the fix."""
    return tail.read().ended(SINCE).after


def test_appended_entries_are_counted_once(log: Path) -> None:
    """Each reading counts what was appended since the last one, and each rejected insert once."""
    tail, counts = Tail(log), []
    for more in (b"", entry(1), b"", NOISE, entry(2) + entry(3), b""):
        grow(log, more)
        counts.append(after(tail))

    assert counts == [0, 1, 1, 1, 3, 3]
    assert (tail.found.failed_attempts, tail.found.duplicates, tail.found.families) == (3, 0, 3)


def test_entries_before_the_fix_are_not_counted(log: Path) -> None:
    """Rejected inserts before the fix, and those of the fixed index, are not counted."""
    grow(log, entry(0, at=SINCE - timedelta(hours=1)) + entry(1) + entry(2, fixed=True))

    assert after(Tail(log)) == 1


@pytest.mark.parametrize("cut", [1, 40, 90, 130])
def test_an_incomplete_line_is_counted_later(log: Path, cut: int) -> None:
    """The last line is counted once it is complete."""
    tail, line = Tail(log), entry(1)
    assert line.index(b"\n") > cut
    grow(log, line[:cut])
    before = after(tail)
    grow(log, line[cut:])

    assert (before, after(tail), tail.found.families, dict(tail.found.not_understood)) == (0, 1, 1, {})


@given(st.lists(st.integers(1, 1500), max_size=8))
def test_entries_are_counted_once_in_any_parts(tmp_path_factory: pytest.TempPathFactory, pieces: list[int]) -> None:
    """Each rejected insert is counted once, in whatever parts the log is written."""
    whole = NOISE + b"".join(map(entry, range(1, 5)))
    log = tmp_path_factory.mktemp("pieces") / "server.log"
    tail, written = Tail(log), 0
    for piece in (*pieces, len(whole)):
        written += piece
        log.write_bytes(whole[:written])
        tail.read()

    assert after(tail) == 4


@pytest.mark.parametrize("lines", [1, 2])
def test_an_incomplete_entry_is_counted_later(log: Path, lines: int) -> None:
    """An entry that is read in two parts has its family and its unique index."""
    tail, parts = Tail(log), entry(1, fixed=True).splitlines(keepends=True)
    grow(log, b"".join(parts[:lines]))
    tail.read()
    grow(log, b"".join(parts[lines:]) + NOISE)

    assert (after(tail), tail.found.by_index, dict(tail.found.not_understood)) == (0, {"fixed": 1}, {})


def test_two_equal_entries_are_two_rejected_inserts(log: Path) -> None:
    """Two equal entries are two rejected inserts, even if they are read separately."""
    grow(log, entry(1) + entry(1))
    tail = Tail(log)
    together = after(tail)
    grow(log, entry(2))
    tail.read()
    grow(log, entry(2))

    assert (together, after(tail)) == (2, 4)


def test_a_log_is_one_file_after_several_readings(log: Path) -> None:
    """After several readings a log is still one file."""
    tail = Tail(log)
    for number in range(1, 4):
        grow(log, entry(number))
        tail.read()

    assert tail.found.files == ["server.log"]


def test_a_truncated_log_is_read_from_its_beginning(log: Path) -> None:
    """If a log is truncated, its earlier rejected inserts still count, and new ones are added."""
    tail = Tail(log)
    grow(log, entry(1) + entry(2))
    before = after(tail)
    log.write_bytes(entry(3))

    assert (before, after(tail), after(tail)) == (2, 3, 3)


def test_a_new_longer_log_is_read_from_its_beginning(log: Path) -> None:
    """A new file is read from its beginning, even if it is longer than the old one."""
    tail = Tail(log)
    grow(log, entry(1))
    tail.read()
    log.rename(log.with_suffix(".1"))
    log.write_bytes(NOISE + b"".join(map(entry, range(2, 6))))

    assert after(tail) == 5


def test_a_log_that_no_longer_exists(log: Path) -> None:
    """A log that no longer exists is an error."""
    tail = Tail(log)
    tail.read()
    log.unlink()

    with pytest.raises(Failed) as raised:
        tail.read()

    assert str(raised.value) == (
        f"{log} cannot be read.\n"
        "  why:  No such file or directory.\n"
        "  next: Name a file that this user may read, or `-`."
    )


# The run that ended the incident


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs of this test."""
    folder = tmp_path / "runs"
    monkeypatch.setenv("INCIDENT_RUNS", str(folder))
    return folder


def begun(ended: datetime | None, *, how: RunStatus = RunStatus.SUCCEEDED, change: IndexChange = PURPOSE) -> RunFolder:
    """A run of staging that applied its change at this time, or did not."""
    made = RunFolder.create("staging", "a test", change=change)
    if ended:
        made.set(incident_ended_at=ended)
    made.finish(how)
    return made


def test_the_latest_run_that_ended_the_incident(runs: Path) -> None:
    """The latest of the runs of an environment that ended the incident is used; one of `provider` did not."""
    begun(SINCE - timedelta(days=1))
    right = begun(SINCE)
    begun(None, how=RunStatus.DRY_RUN)
    begun(SINCE + timedelta(days=1), change=PROVIDER)

    assert run_that_fixed("staging") == (right.folder, SINCE)


NO_RUN = (
    "No run has applied the fix to 'staging'.\n"
    "  why:  The recovery is that of the families that a run found blocked before it applied the fix. After "
    "`incident apply`, or a change by other tools, they are not known.\n"
    "  next: Where the fix is not applied yet: incident run --env staging --confirm staging"
)


@pytest.mark.parametrize("runs_before", [0, 1])
def test_no_run_ended_the_incident(runs: Path, runs_before: int) -> None:
    """If no run applied the fix, there is no time from which to count: an error says so."""
    for _ in range(runs_before):
        begun(None, how=RunStatus.DRY_RUN)

    with pytest.raises(UsageError) as raised:
        run_that_fixed("staging")

    assert str(raised.value) == NO_RUN


# incident watch


@pytest.fixture
def fixed(connection, staging, runs) -> RunFolder:
    """A run of staging with all families blocked for chat, which ended the incident."""
    for family in FAMILIES:
        add(connection, *family, created_at=SINCE - timedelta(days=1))
    record = begun(SINCE)
    list_blocked(staging, record.folder)
    connection.execute(f"DROP INDEX public.{INDEX_NAME}")
    return record


def watched(*words: str) -> tuple[int, str, str]:
    """Run `incident watch …`: its exit code, standard output, and standard error or the message."""
    done = CliRunner().invoke(cli, ["watch", *words], standalone_mode=False)
    if isinstance(done.exception, IncidentError):
        return done.exception.exit_code, done.stdout, str(done.exception)
    if done.exception:
        raise done.exception
    return done.return_value, done.stdout, done.stderr


def recovered_in(run: RunFolder) -> int | None:
    """The number of recovered families in a run's record."""
    found = run.read().recovery
    return found and found.recovered


TWO_OF_FIVE = "staging: 2 of 5 families that were blocked have a chat (40%); 3 not yet."


def test_one_count(connection, fixed) -> None:
    """With --once it counts once, prints one line, and writes the record of that run only."""
    other = begun(None, how=RunStatus.DRY_RUN)
    for number in (0, 1):
        chat(connection, FAMILIES[number], SINCE + number * SECOND)

    assert watched("--env", "staging", "--once") == (0, f"{TWO_OF_FIVE}\n", "")
    found = fixed.read().recovery
    assert found is not None
    assert (found.blocked, found.recovered, found.since) == (5, 2, SINCE)
    assert found.over_time == [(SINCE, 1), (SINCE + SECOND, 2)]
    assert other.read().recovery is None
    assert not_yet(fixed.folder) == written(FAMILIES[2:])


def test_one_count_with_a_log(connection, fixed, log) -> None:
    """With a log it also prints the number of rejected inserts since the fix."""
    for number in (0, 1):
        chat(connection, FAMILIES[number], SINCE)
    grow(log, entry(0, at=SINCE - timedelta(hours=1)) + entry(1) + entry(2))

    assert watched("--env", "staging", "--once", "--log", str(log)) == (
        0,
        f"{TWO_OF_FIVE} Rejected since the fix: 2.\n",
        "",
    )


def test_watching_without_a_run_that_ended_the_incident(staging, runs) -> None:
    """Without such a run the command is bad usage, and its message has the next action."""
    assert watched("--env", "staging", "--once") == (2, "", NO_RUN)


def test_later_counts_include_new_chats_and_rejected_inserts(connection, fixed, log) -> None:
    """Each count includes new chats and new rejected inserts; the record has the latest count."""
    watching = watch_recovery("staging", 0, log)
    first = next(watching)
    chat(connection, FAMILIES[4], SINCE)
    grow(log, entry(1) + entry(2)[:50])
    second = next(watching)
    grow(log, entry(2)[50:])
    third = next(watching)

    assert [(each.recovery.recovered, each.rejected) for each in (first, second, third)] == [(0, 0), (1, 1), (1, 2)]
    assert recovered_in(fixed) == 1


def test_no_session_is_left_between_counts(connection, fixed) -> None:
    """Between two counts there is no session, and so no open transaction that could block others."""
    next(watch_recovery("staging", 0))

    found = connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'incident_lib%%'"
        " AND datname = current_database()"
    ).fetchone()
    assert found == (0,)


def test_a_killed_run_stays_killed(fixed) -> None:
    """Watching after a killed run does not change its status."""
    text = json.loads(fixed.file.read_text("utf-8"))
    dead = text | {"status": "running", "heartbeat_at": "2025-10-13T12:00:05Z"}
    fixed.file.write_text(json.dumps(dead), "utf-8")
    next(watch_recovery("staging", 0))

    assert status_of(fixed.read()) == "killed"


def test_it_ends_by_ctrl_c(connection, fixed, log) -> None:
    """Ctrl-C ends it with 0 and the last line on standard output; without a terminal standard error is empty."""
    words = ["watch", "--env", "staging", "--every", "0.1", "--log", str(log)]
    command = [sys.executable, "-m", "incident_lib", *words]
    grow(log, entry(1))
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": unmeasured(os.environ)}
    with subprocess.Popen(command, **piped) as running:
        for number in (0, 1):
            chat(connection, FAMILIES[number], SINCE)
        while recovered_in(fixed) != 2 and running.poll() is None:
            time.sleep(0.05)
        at = fixed.read().recovery.at
        while fixed.read().recovery.at == at and running.poll() is None:  # until that result has been printed
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)

    assert (running.returncode, out, err) == (0, f"{TWO_OF_FIVE} Rejected since the fix: 1.\n", "")
