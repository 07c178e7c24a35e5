"""Recovery: the first chat of each blocked family since the fix."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest
from hypothesis import example as with_example
from hypothesis import given
from hypothesis import strategies as st

from incident_lib.analysis import recovery
from incident_lib.analysis.investigate import write_blocked
from incident_lib.analysis.recovery import MOST_POINTS, Recovery, read_recovery
from incident_lib.database import read_catalog, reading
from incident_lib.model.change import INDEX_NAME
from incident_lib.model.errors import UsageError
from incident_lib.model.records import RecoveryCount
from incident_lib.model.threads import Family
from incident_lib.records import to_json
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
    """A run folder whose snapshot has all families blocked for chat; the unique index was dropped afterwards."""
    for family in FAMILIES:
        add(connection, *family, created_at=SINCE - timedelta(days=1))
    list_blocked(environment, tmp_path)
    connection.execute(f"DROP INDEX public.{INDEX_NAME}")
    return tmp_path


def list_blocked(environment: Environment, folder: Path) -> None:
    """Write the list of blocked families, as a run's snapshot does."""
    with reading(environment) as reader:
        write_blocked(reader, read_catalog(reader), folder / "blocked.csv")


def recover(environment: Environment, run: Path, since: datetime = SINCE) -> Recovery:
    """The recovery of the run's families."""
    with reading(environment) as reader:
        return read_recovery(reader, run, since)


def chat(connection: psycopg.Connection, family: Family, at: datetime, **columns: object) -> None:
    """Insert a chat of a family with this time."""
    add(connection, *family, purpose="chat", created_at=at, **columns)


def not_yet(run: Path) -> str:
    """The contents of not_recovered.csv."""
    return (run / "not_recovered.csv").read_text("utf-8")


def written(families: list[Family]) -> str:
    """The expected contents of not_recovered.csv for these families."""
    return HEADER + "".join(f"{family.root},{family.owner}\n" for family in families)


# The recovery


def test_the_first_chat_of_each_family_counts(connection, environment, run) -> None:
    """For each blocked family only its first chat since the fix counts; the times are sorted."""
    for family, at in [(0, 5), (0, 1), (0, 3), (2, 0)]:
        chat(connection, FAMILIES[family], SINCE + at * SECOND, is_active=at != 1)

    found = recover(environment, run)

    assert (found.blocked, found.recovered, found.share) == (5, 2, 0.4)
    assert found.first_chats == (SINCE, SINCE + SECOND)


def test_a_chat_before_the_fix_does_not_count(connection, environment, run) -> None:
    """A chat from before the fix does not count; one at the exact time of the fix does."""
    chat(connection, FAMILIES[0], SINCE - timedelta(microseconds=1))
    chat(connection, FAMILIES[1], SINCE)

    assert recover(environment, run).first_chats == (SINCE,)


def test_threads_other_than_chats_do_not_count(connection, environment, run) -> None:
    """A run, a thread of another purpose, and a chat of unknown age do not count."""
    for purpose in ("run", "eval"):
        add(connection, *FAMILIES[0], purpose=purpose, created_at=SINCE + SECOND)
    chat(connection, FAMILIES[0], SINCE)
    connection.execute("UPDATE public.q_threads SET created_at = NULL WHERE purpose = 'chat'")

    assert recover(environment, run).recovered == 0


@pytest.mark.parametrize("created_at", ODD_MOMENTS)
def test_a_chat_with_a_timestamp_outside_pythons_range_does_not_count(
    connection, environment, run, created_at: str
) -> None:
    """A chat with a timestamp outside Python's range does not count."""
    chat(connection, FAMILIES[0], SINCE)
    connection.execute("UPDATE public.q_threads SET created_at = %s", [created_at])

    assert recover(environment, run).recovered == 0


def test_a_chat_that_was_ended_counts(connection, environment, run) -> None:
    """A chat that is no longer active counts."""
    chat(connection, FAMILIES[3], SINCE + SECOND, is_active=False)

    assert recover(environment, run).first_chats == (SINCE + SECOND,)


def test_chats_of_other_families_do_not_count(connection, environment, run) -> None:
    """A chat of the same root with another owner, or of the same owner with another root, does not count."""
    chat(connection, Family(FAMILIES[0].root, uuid4()), SINCE)
    chat(connection, Family(uuid4(), FAMILIES[0].owner), SINCE)
    chat(connection, Family(FAMILIES[0].root, None), SINCE)

    assert (recover(environment, run).recovered, not_yet(run)) == (0, written(FAMILIES))


def test_families_blocked_for_run_are_not_queried(connection, environment, tmp_path) -> None:
    """Only families that were blocked for chat are read from the list."""
    add(connection, *FAMILIES[0], purpose="chat", created_at=SINCE + SECOND)
    add(connection, *FAMILIES[1])
    list_blocked(environment, tmp_path)

    assert (recover(environment, tmp_path).blocked, not_yet(tmp_path)) == (1, written(FAMILIES[1:2]))


@pytest.mark.parametrize("size", [1, 2, 5])
def test_families_are_queried_in_batches(connection, environment, run, monkeypatch, size) -> None:
    """The result does not depend on the batch size of the query."""
    monkeypatch.setattr(recovery, "BATCH", size)
    for number in (0, 3, 4):
        chat(connection, FAMILIES[number], SINCE + number * SECOND)

    found = recover(environment, run)

    assert (found.blocked, found.first_chats) == (5, tuple(SINCE + number * SECOND for number in (0, 3, 4)))
    assert not_yet(run) == written(FAMILIES[1:3])


def test_not_recovered_csv_is_private(connection, environment, run) -> None:
    """not_recovered.csv has exactly the families without a chat; only its owner can read it, also when replaced."""
    (run / "not_recovered.csv").touch(mode=0o644)
    chat(connection, FAMILIES[2], SINCE)
    recover(environment, run)

    assert not_yet(run) == written([*FAMILIES[:2], *FAMILIES[3:]])
    assert oct((run / "not_recovered.csv").stat().st_mode & 0o777) == "0o600"


def test_the_clock_is_the_servers(connection, environment, run) -> None:
    """The time of the result is the server's clock."""
    (before,) = connection.execute("SELECT clock_timestamp()").fetchone()
    found = recover(environment, run)
    (after,) = connection.execute("SELECT clock_timestamp()").fetchone()

    assert before <= found.at <= after
    assert found.since == SINCE


def test_without_a_blocked_family(connection, environment, tmp_path) -> None:
    """If no family was blocked, no family is left to recover."""
    list_blocked(environment, tmp_path)

    found = recover(environment, tmp_path)

    assert (found.blocked, found.recovered, found.share, not_yet(tmp_path)) == (0, 0, 1.0, HEADER)
    assert str(found) == "0 of 0 families that were blocked have a chat (100%); 0 not yet."


@pytest.mark.parametrize("text", [None, "odd\n1\n", "root_prompt_row_id,owner_id,blocked_for\nx,y,chat\n", "\xff"])
def test_without_a_list_of_blocked_families(environment, tmp_path, text) -> None:
    """If blocked.csv is missing or cannot be read, an error says so; an older not_recovered.csv is unchanged."""
    (tmp_path / "not_recovered.csv").write_text("old")
    if text is not None:
        (tmp_path / "blocked.csv").write_text(text, "latin-1")

    with pytest.raises(UsageError) as raised:
        recover(environment, tmp_path)

    assert str(raised.value) == (
        f"{tmp_path.name} lists no blocked families.\n"
        "  why:  Its blocked.csv is missing, or cannot be read.\n"
        "  next: Name the folder of a run that took a snapshot before the fix."
    )
    assert not_yet(tmp_path) == "old"


# Its text


def recovered(blocked: int, offsets: list[int]) -> Recovery:
    """A recovery with first chats at these milliseconds after the fix."""
    chats = tuple(sorted(SINCE + timedelta(milliseconds=offset) for offset in offsets))
    return Recovery(blocked, SINCE, SINCE + timedelta(days=9), chats)


def test_the_text_of_a_recovery() -> None:
    """The text has the number of recovered families, the share, and the number of the others."""
    assert str(recovered(1250, list(range(1000)))) == (
        "1,000 of 1,250 families that were blocked have a chat (80%); 250 not yet."
    )


@pytest.mark.parametrize(("back", "never"), [(1087, "(100%)"), (1, "(0%)")])
def test_a_share_is_not_rounded_to_100_or_0_percent(back: int, never: str) -> None:
    """The share is below 100% while a family has no chat, and above 0% once one family has one."""
    assert never not in str(recovered(1088, list(range(back))))


@given(st.lists(st.integers(0, 10**9), max_size=200), st.integers(0, 50))
@with_example(list(range(59)), 0)
@with_example(list(range(60)), 0)
@with_example(list(range(61)), 0)
def test_a_record_has_the_sum_over_time(offsets: list[int], others: int) -> None:
    """A record has a limited number of points, each a cumulative sum at a first chat; the last is the total."""
    found = recovered(len(offsets) + others, offsets)
    record = found.as_record()
    points = record.over_time
    counts = [count for _, count in points]

    assert len(points) <= MOST_POINTS
    assert counts == sorted(set(counts))
    assert points == [(found.first_chats[count - 1], count) for count in counts]
    assert counts[-1:] == ([len(offsets)] if offsets else [])
    assert counts[:1] == ([-(-len(offsets) // MOST_POINTS)] if offsets else [])
    assert (record.blocked, record.recovered) == (len(offsets) + others, len(offsets))
    assert (record.since, record.at) == (SINCE, SINCE + timedelta(days=9))
    assert msgspec.json.decode(msgspec.json.encode(record), type=RecoveryCount) == record


def test_a_record_has_no_id(connection, environment, run) -> None:
    """A record of a recovery has no id."""
    chat(connection, FAMILIES[0], SINCE)

    assert not AN_ID.search(to_json(recover(environment, run).as_record()))
