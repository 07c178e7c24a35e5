"""Did users recover: the first chat since the fix, the log that is followed, and `incident watch`."""

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
from incident_lib.model.catalog import INDEX_NAME
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
    """A run's folder, whose families were blocked for chat when it looked; the unique index is gone since."""
    for family in FAMILIES:
        add(connection, *family, created_at=SINCE - timedelta(days=1))
    list_blocked(environment, tmp_path)
    connection.execute(f"DROP INDEX public.{INDEX_NAME}")
    return tmp_path


def list_blocked(environment: Environment, folder: Path) -> None:
    """Write the list of blocked families, as a run does that looks."""
    with reading(environment) as reader:
        write_blocked(reader, read_catalog(reader), folder / "blocked.csv")


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
        "  next: Name the folder of a run that took a snapshot before the fix."
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
    points = told.over_time
    counts = [count for _, count in points]

    assert len(points) <= MOST_POINTS
    assert counts == sorted(set(counts))
    assert points == [(found.first_chats[count - 1], count) for count in counts]
    assert counts[-1:] == ([len(offsets)] if offsets else [])
    assert counts[:1] == ([-(-len(offsets) // MOST_POINTS)] if offsets else [])
    assert (told.blocked, told.recovered) == (len(offsets) + others, len(offsets))
    assert (told.since, told.at) == (SINCE, SINCE + timedelta(days=9))
    assert msgspec.json.decode(msgspec.json.encode(told), type=RecoveryCount) == told


def test_a_record_carries_no_id(connection, environment, run) -> None:
    """What a run record carries of a recovery names nobody."""
    chat(connection, FAMILIES[0], SINCE)

    assert not AN_ID.search(to_json(look(environment, run).as_record()))
