"""Did users recover: the first chat since the fix, the log that is followed, and `incident watch`."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import psycopg
import pytest
from click.testing import CliRunner
from hypothesis import example as with_example
from hypothesis import given
from hypothesis import strategies as st
from incident_lib.records.run_record import RunRecord, status_now

from incident_lib.analysis import recovery
from incident_lib.analysis.investigate import write_blocked
from incident_lib.analysis.recovery import MOST_MOMENTS, Recovery, read_recovery
from incident_lib.cli import cli
from incident_lib.database import read_catalog, reading
from incident_lib.model.catalog import INDEX_NAME
from incident_lib.model.errors import Failed, IncidentError, UsageError
from incident_lib.model.threads import Family
from incident_lib.model.timestamps import to_iso
from incident_lib.runs.recovery_watch import Tail, run_that_fixed, watch_recovery
from tests.conftest import ODD_MOMENTS, add

if TYPE_CHECKING:
    from pathlib import Path

    from incident_lib.database import Environment

SINCE = datetime(2025, 10, 13, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
FAMILIES = [Family(UUID(int=100 + number), UUID(int=200 + number // 2)) for number in range(5)]
HEADER = "root_prompt_row_id,owner_id\n"
AN_ID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")


@pytest.fixture
def run(connection: psycopg.Connection, environment: Environment, tmp_path: Path) -> Path:
    """A run's folder, whose families were blocked for chat when it looked; the unique index is gone since."""
    for family in FAMILIES:
        add(connection, *family, created_at=SINCE - timedelta(days=1))
    list_blocked(environment, tmp_path)
    connection.execute(f"DROP INDEX public.{INDEX_NAME}")
    return tmp_path


def list_blocked(environment: Environment, folder: Path) -> None:
    """Write the list of blocked families, as a run does that looks."""
    with reading(environment) as reader:
        write_blocked(reader, read_catalog(reader), folder / "blocked.csv", None)


def look(environment: Environment, run: Path, since: datetime = SINCE) -> Recovery:
    """Who has recovered."""
    with reading(environment) as reader:
        return read_recovery(reader, run, since)


def chat(connection: psycopg.Connection, family: Family, at: datetime, **columns: object) -> None:
    """A family's chat, created then."""
    add(connection, *family, purpose="chat", created_at=at, **columns)


def not_yet(run: Path) -> str:
    """What the file of those holds who have no chat."""
    return (run / "not_recovered.csv").read_text("utf-8")


def written(families: list[Family]) -> str:
    """Such a file over these families."""
    return HEADER + "".join(f"{family.root},{family.owner}\n" for family in families)


# The recovery


def test_the_first_chat_of_each_family_counts(connection, environment, run) -> None:
    """Of each blocked family its first chat since the fix counts, and no other; the earliest stands first."""
    for family, at in [(0, 5), (0, 1), (0, 3), (2, 0)]:
        chat(connection, FAMILIES[family], SINCE + at * SECOND, is_active=at != 1)

    found = look(environment, run)

    assert (found.blocked, found.recovered, found.share) == (5, 2, 0.4)
    assert found.first_chats == (SINCE, SINCE + SECOND)


def test_a_chat_before_the_fix_does_not_count(connection, environment, run) -> None:
    """A chat from before the moment counts for nothing, one of that very moment does."""
    chat(connection, FAMILIES[0], SINCE - timedelta(microseconds=1))
    chat(connection, FAMILIES[1], SINCE)

    assert look(environment, run).first_chats == (SINCE,)


def test_what_is_no_chat_does_not_count(connection, environment, run) -> None:
    """A run, or a thread of another purpose, is no chat; nor is one of which nobody knows when it came."""
    for purpose in ("run", "eval"):
        add(connection, *FAMILIES[0], purpose=purpose, created_at=SINCE + SECOND)
    chat(connection, FAMILIES[0], SINCE)
    connection.execute("UPDATE public.q_threads SET created_at = NULL WHERE purpose = 'chat'")

    assert look(environment, run).recovered == 0


@pytest.mark.parametrize("created_at", ODD_MOMENTS)
def test_a_chat_of_an_odd_moment_does_not_count(connection, environment, run, created_at: str) -> None:
    """Of a chat of a moment that Python does not know nobody knows when it came, either."""
    chat(connection, FAMILIES[0], SINCE)
    connection.execute("UPDATE public.q_threads SET created_at = %s", [created_at])

    assert look(environment, run).recovered == 0


def test_a_chat_that_was_ended_counts(connection, environment, run) -> None:
    """Who has ended the chat since had got one all the same."""
    chat(connection, FAMILIES[3], SINCE + SECOND, is_active=False)

    assert look(environment, run).first_chats == (SINCE + SECOND,)


def test_chats_of_other_families_do_not_count(connection, environment, run) -> None:
    """A chat of another user of the root, or of another root of the user, is another family's."""
    chat(connection, Family(FAMILIES[0].root, uuid4()), SINCE)
    chat(connection, Family(uuid4(), FAMILIES[0].owner), SINCE)
    chat(connection, Family(FAMILIES[0].root, None), SINCE)

    assert (look(environment, run).recovered, not_yet(run)) == (0, written(FAMILIES))


def test_who_was_blocked_for_a_run_is_not_asked_about(connection, environment, tmp_path) -> None:
    """Of the list only those count that were blocked for chat."""
    add(connection, *FAMILIES[0], purpose="chat", created_at=SINCE + SECOND)
    add(connection, *FAMILIES[1])
    list_blocked(environment, tmp_path)

    assert (look(environment, tmp_path).blocked, not_yet(tmp_path)) == (1, written(FAMILIES[1:2]))


@pytest.mark.parametrize("size", [1, 2, 5])
def test_families_are_asked_about_in_batches(connection, environment, run, monkeypatch, size) -> None:
    """However many families are asked about at a time, the answers are the same."""
    monkeypatch.setattr(recovery, "BATCH", size)
    for number in (0, 3, 4):
        chat(connection, FAMILIES[number], SINCE + number * SECOND)

    found = look(environment, run)

    assert (found.blocked, found.first_chats) == (5, tuple(SINCE + number * SECOND for number in (0, 3, 4)))
    assert not_yet(run) == written(FAMILIES[1:3])


def test_who_has_not_is_for_its_owner_alone(connection, environment, run) -> None:
    """The file of those without a chat holds exactly them, also over an older one that all could read."""
    (run / "not_recovered.csv").touch(mode=0o644)
    chat(connection, FAMILIES[2], SINCE)
    look(environment, run)

    assert not_yet(run) == written([*FAMILIES[:2], *FAMILIES[3:]])
    assert oct((run / "not_recovered.csv").stat().st_mode & 0o777) == "0o600"


def test_the_clock_is_the_servers(connection, environment, run) -> None:
    """The moment of the look is one between two that the server told."""
    (before,) = connection.execute("SELECT clock_timestamp()").fetchone()
    found = look(environment, run)
    (after,) = connection.execute("SELECT clock_timestamp()").fetchone()

    assert before <= found.at <= after
    assert found.since == SINCE


def test_nobody_was_blocked(connection, environment, tmp_path) -> None:
    """Where nobody was blocked, nobody is left to recover."""
    list_blocked(environment, tmp_path)

    found = look(environment, tmp_path)

    assert (found.blocked, found.recovered, found.share, not_yet(tmp_path)) == (0, 0, 1.0, HEADER)
    assert str(found) == "0 of 0 families that were blocked have a chat (100%); 0 not yet."


@pytest.mark.parametrize("text", [None, "odd\n1\n", "root_prompt_row_id,owner_id,blocked_for\nx,y,chat\n", "\xff"])
def test_without_a_list_of_the_blocked(environment, tmp_path, text) -> None:
    """Where a run has no list, or none that can be read, it says so; what stood there of an older look stays."""
    (tmp_path / "not_recovered.csv").write_text("old")
    if text is not None:
        (tmp_path / "blocked.csv").write_text(text, "latin-1")

    with pytest.raises(UsageError) as raised:
        look(environment, tmp_path)

    assert str(raised.value) == (
        f"{tmp_path.name} lists no blocked families.\n"
        "  why:  Its blocked.csv is missing, or cannot be read.\n"
        "  next: Name the folder of a run that looked at the environment before the fix."
    )
    assert not_yet(tmp_path) == "old"


# What is said of it


def recovered(blocked: int, offsets: list[int]) -> Recovery:
    """A recovery whose first chats came so many milliseconds after the fix."""
    chats = tuple(sorted(SINCE + timedelta(milliseconds=offset) for offset in offsets))
    return Recovery(blocked, SINCE, SINCE + timedelta(days=9), chats)


def test_it_is_said_in_a_sentence() -> None:
    """How many of how many, the share, and how many not yet."""
    assert str(recovered(1250, list(range(1000)))) == (
        "1,000 of 1,250 families that were blocked have a chat (80%); 250 not yet."
    )


@pytest.mark.parametrize(("back", "never"), [(1087, "(100%)"), (1, "(0%)")])
def test_a_share_is_not_rounded_to_all_or_nobody(back: int, never: str) -> None:
    """While somebody is left it is not 100 %, and once somebody is back it is not 0 %."""
    assert never not in str(recovered(1088, list(range(back))))


@given(st.lists(st.integers(0, 10**9), max_size=200), st.integers(0, 50))
@with_example(list(range(59)), 0)
@with_example(list(range(60)), 0)
@with_example(list(range(61)), 0)
def test_a_record_carries_the_sum_over_time(offsets: list[int], others: int) -> None:
    """A record has few points, each the sum at the moment of a first chat; the last is that of all."""
    found = recovered(len(offsets) + others, offsets)
    told = found.as_record()
    points = told["over_time"]
    counts = [count for _, count in points]

    assert len(points) <= MOST_MOMENTS
    assert counts == sorted(set(counts))
    assert points == [[to_iso(found.first_chats[count - 1]), count] for count in counts]
    assert counts[-1:] == ([len(offsets)] if offsets else [])
    assert counts[:1] == ([-(-len(offsets) // MOST_MOMENTS)] if offsets else [])
    assert (told["blocked"], told["recovered"]) == (len(offsets) + others, len(offsets))
    assert (told["since"], told["at"]) == ("2025-10-13T12:00:00.000Z", "2025-10-22T12:00:00.000Z")
    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_a_record_carries_no_id(connection, environment, run) -> None:
    """What a run record carries of a recovery names nobody."""
    chat(connection, FAMILIES[0], SINCE)

    assert not AN_ID.search(json.dumps(look(environment, run).as_record()))


# The log that is followed


def entry(number: int, *, fixed: bool = False, at: datetime | None = None) -> bytes:
    """A rejection as PostgreSQL logs it: so many seconds after the fix, of a family of its own."""
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
    """A log in which nothing has been rejected yet."""
    file = tmp_path / "server.log"
    file.write_bytes(NOISE)
    return file


def grow(log: Path, more: bytes) -> None:
    """Add to a log."""
    with log.open("ab") as file:
        file.write(more)


def after(tail: Tail) -> int:
    """How many were rejected since the fix, at one more look."""
    return tail.look().ended(SINCE).after


def test_what_is_added_is_counted_once(log: Path) -> None:
    """Each look counts what was added since the last, and nothing twice."""
    tail, seen = Tail(log), []
    for more in (b"", entry(1), b"", NOISE, entry(2) + entry(3), b""):
        grow(log, more)
        seen.append(after(tail))

    assert seen == [0, 1, 1, 1, 3, 3]
    assert (tail.found.failed_attempts, tail.found.duplicates, tail.found.families) == (3, 0, 3)


def test_what_came_before_the_fix_is_not_counted(log: Path) -> None:
    """A log has what was rejected before, too; and what the fixed index rejects is as it should be."""
    grow(log, entry(0, at=SINCE - timedelta(hours=1)) + entry(1) + entry(2, fixed=True))

    assert after(Tail(log)) == 1


@pytest.mark.parametrize("cut", [1, 40, 90, 130])
def test_a_line_that_is_not_whole_waits(log: Path, cut: int) -> None:
    """The last line counts once it has its end."""
    tail, line = Tail(log), entry(1)
    assert line.index(b"\n") > cut
    grow(log, line[:cut])
    before = after(tail)
    grow(log, line[cut:])

    assert (before, after(tail), tail.found.families, dict(tail.found.not_understood)) == (0, 1, 1, {})


@given(st.lists(st.integers(1, 1500), max_size=8))
def test_in_whatever_pieces_it_comes(tmp_path_factory: pytest.TempPathFactory, pieces: list[int]) -> None:
    """Each rejection is counted once, in whatever pieces the log comes."""
    whole = NOISE + b"".join(map(entry, range(1, 5)))
    log = tmp_path_factory.mktemp("pieces") / "server.log"
    tail, written = Tail(log), 0
    for piece in (*pieces, len(whole)):
        written += piece
        log.write_bytes(whole[:written])
        tail.look()

    assert after(tail) == 4


@pytest.mark.parametrize("lines", [1, 2])
def test_an_entry_that_is_not_whole_waits(log: Path, lines: int) -> None:
    """Between the lines of an entry a look may fall: whose it is, and which unique index it was, is known nevertheless."""
    tail, parts = Tail(log), entry(1, fixed=True).splitlines(keepends=True)
    grow(log, b"".join(parts[:lines]))
    tail.look()
    grow(log, b"".join(parts[lines:]) + NOISE)

    assert (after(tail), tail.found.by_index, dict(tail.found.not_understood)) == (0, {"fixed": 1}, {})


def test_two_rejections_of_one_moment(log: Path) -> None:
    """One client may be rejected twice within what the clock tells apart, also where a look falls between."""
    grow(log, entry(1) + entry(1))
    tail = Tail(log)
    together = after(tail)
    grow(log, entry(2))
    tail.look()
    grow(log, entry(2))

    assert (together, after(tail)) == (2, 4)


def test_looks_leave_nothing_behind(log: Path) -> None:
    """However often one looks, a log is one file."""
    tail = Tail(log)
    for number in range(1, 4):
        grow(log, entry(number))
        tail.look()

    assert tail.found.files == ["server.log"]


def test_a_log_that_was_emptied_is_begun_anew(log: Path) -> None:
    """What a log held before it was emptied stays counted, what it holds since is added."""
    tail = Tail(log)
    grow(log, entry(1) + entry(2))
    before = after(tail)
    log.write_bytes(entry(3))

    assert (before, after(tail), after(tail)) == (2, 3, 3)


def test_a_longer_log_in_its_place_is_begun_anew(log: Path) -> None:
    """A new file is read from its beginning, also where it is longer already than the old one was."""
    tail = Tail(log)
    grow(log, entry(1))
    tail.look()
    log.rename(log.with_suffix(".1"))
    log.write_bytes(NOISE + b"".join(map(entry, range(2, 6))))

    assert after(tail) == 5


def test_a_log_that_went_away(log: Path) -> None:
    """A log that is not there any more is told of."""
    tail = Tail(log)
    tail.look()
    log.unlink()

    with pytest.raises(Failed) as raised:
        tail.look()

    assert str(raised.value) == (
        f"{log} cannot be read.\n"
        "  why:  No such file or directory.\n"
        "  next: Name a file that this user may read, or `-`."
    )


# The run that ended the incident


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs of this test alone."""
    folder = tmp_path / "runs"
    monkeypatch.setenv("INCIDENT_RUNS", str(folder))
    return folder


def begun(ended: datetime | None, *, how: str = "succeeded") -> RunRecord:
    """A run of staging that ended the incident then, or did not."""
    made = RunRecord.create("staging", "a test")
    if ended:
        made.set(incident_ended_at=to_iso(ended))
    made.finish(how)
    return made


def test_the_latest_run_that_ended_the_incident(runs: Path) -> None:
    """Of the runs of an environment it is the latest of those that ended the incident."""
    begun(SINCE - timedelta(days=1))
    right = begun(SINCE)
    begun(None, how="dry-run")

    assert run_that_fixed("staging") == (right.folder, SINCE)


NO_RUN = (
    "No run has applied the fix to 'staging'.\n"
    "  why:  Recovery is counted from the families that a run saw blocked, once it has ended the incident.\n"
    "  next: Begin one: incident run --env staging --confirm staging"
)


@pytest.mark.parametrize("runs_before", [0, 1])
def test_no_run_ended_the_incident(runs: Path, runs_before: int) -> None:
    """Where no run applied the fix, there is nothing to count from."""
    for _ in range(runs_before):
        begun(None, how="dry-run")

    with pytest.raises(UsageError) as raised:
        run_that_fixed("staging")

    assert str(raised.value) == NO_RUN


# incident watch


@pytest.fixture
def fixed(connection, staging, runs) -> RunRecord:
    """A run of staging that saw all families blocked for chat, and ended the incident."""
    for family in FAMILIES:
        add(connection, *family, created_at=SINCE - timedelta(days=1))
    record = begun(SINCE)
    list_blocked(staging, record.folder)
    connection.execute(f"DROP INDEX public.{INDEX_NAME}")
    return record


def watched(*words: str) -> tuple[int, str, str]:
    """Run `incident watch …`: its code, standard output, and standard error or the message."""
    done = CliRunner().invoke(cli, ["watch", *words], standalone_mode=False)
    if isinstance(done.exception, IncidentError):
        return done.exception.exit_code, done.stdout, str(done.exception)
    if done.exception:
        raise done.exception
    return done.return_value, done.stdout, done.stderr


TWO_OF_FIVE = "staging: 2 of 5 families that were blocked have a chat (40%); 3 not yet."


def test_one_look(connection, fixed) -> None:
    """With --once it looks once, says it in one line, and notes it in the record of that run and of no other."""
    other = begun(None, how="dry-run")
    for number in (0, 1):
        chat(connection, FAMILIES[number], SINCE + number * SECOND)

    assert watched("--env", "staging", "--once") == (0, f"{TWO_OF_FIVE}\n", "")
    told = fixed.read()["recovery"]
    assert (told["blocked"], told["recovered"], told["since"]) == (5, 2, "2025-10-13T12:00:00.000Z")
    assert told["over_time"] == [["2025-10-13T12:00:00.000Z", 1], ["2025-10-13T12:00:01.000Z", 2]]
    assert "recovery" not in other.read()
    assert not_yet(fixed.folder) == written(FAMILIES[2:])


def test_one_look_at_a_log_too(connection, fixed, log) -> None:
    """With a log it also says how many were rejected since."""
    for number in (0, 1):
        chat(connection, FAMILIES[number], SINCE)
    grow(log, entry(0, at=SINCE - timedelta(hours=1)) + entry(1) + entry(2))

    assert watched("--env", "staging", "--once", "--log", str(log)) == (
        0,
        f"{TWO_OF_FIVE} Rejected since the fix: 2.\n",
        "",
    )


def test_watching_where_no_run_ended_the_incident(staging, runs) -> None:
    """Without such a run it says what to do, as a wrong use."""
    assert watched("--env", "staging", "--once") == (2, "", NO_RUN)


def test_a_second_look_sees_more(connection, fixed, log) -> None:
    """Each look sees what came since the last, in the table and in the log; the record has the last."""
    looks = watch_recovery("staging", 0, log)
    first = next(looks)
    chat(connection, FAMILIES[4], SINCE)
    grow(log, entry(1) + entry(2)[:50])
    second = next(looks)
    grow(log, entry(2)[50:])
    third = next(looks)

    assert [(seen.recovery.recovered, seen.rejected) for seen in (first, second, third)] == [(0, 0), (1, 1), (1, 2)]
    assert fixed.read()["recovery"]["recovered"] == 1


def test_a_look_leaves_nothing_open(connection, fixed) -> None:
    """Between two looks no session of ours is there: an open transaction would hold others up."""
    next(watch_recovery("staging", 0))

    found = connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'incident_lib%%'"
        " AND datname = current_database()"
    ).fetchone()
    assert found == (0,)


def test_a_killed_run_stays_killed(fixed) -> None:
    """Whoever watches what a killed run has left does not bring it back to life."""
    text = json.loads(fixed.file.read_text("utf-8"))
    dead = text | {"status": "running", "heartbeat_at": "2025-10-13T12:00:05Z"}
    fixed.file.write_text(json.dumps(dead), "utf-8")
    next(watch_recovery("staging", 0))

    assert status_now(fixed.read()) == "killed"


def test_it_ends_by_ctrl_c(connection, fixed, log) -> None:
    """Ctrl-C ends it with 0 and the last line on standard output; on no terminal, standard error has nothing."""
    words = ["watch", "--env", "staging", "--every", "0.1", "--log", str(log)]
    command = [sys.executable, "-m", "incident_lib", *words]
    grow(log, entry(1))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        for number in (0, 1):
            chat(connection, FAMILIES[number], SINCE)
        while (fixed.read().get("recovery") or {}).get("recovered") != 2 and running.poll() is None:
            time.sleep(0.05)
        seen_at = fixed.read()["recovery"]["at"]
        while fixed.read()["recovery"]["at"] == seen_at and running.poll() is None:  # that look has been told
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)

    assert (running.returncode, out, err) == (0, f"{TWO_OF_FIVE} Rejected since the fix: 1.\n", "")
