"""What blocks families and since when, compared with a count in Python, on a real server."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from incident_lib.analysis.blockers import LONGEST, MOST_BLOCKERS, MOST_POINTS, _growth, summarize_blockers
from incident_lib.analysis.investigate import count_threads
from incident_lib.database import read_catalog, reading
from incident_lib.model.catalog import Catalog, IndexState
from tests.conftest import ODD_MOMENTS
from tests.support.threads import (
    FIXED,
    INDEXES,
    ORIGINAL,
    ROOTS,
    START,
    STILL_ENFORCING,
    Thread,
    admitted,
    any_example,
    blocking,
    demo_threads,
    threads,
    with_indexes,
)

if TYPE_CHECKING:
    import psycopg

    from incident_lib.database import Environment

PURPOSES = ("chat", "run")
SINCE = datetime(2025, 9, 1, 2, 30, tzinfo=UTC)
NOTHING: dict[str, Any] = {"blocked_by": [], "blocked_since": {"chat": [], "run": []}}


def oldest(found: list[Thread], purpose: str) -> list[Thread]:
    """The thread that blocks each blocked family for a purpose; the oldest one if there are several."""
    held = blocking(found, purpose).values()
    return [min(others, key=lambda t: (t.created_at is not None, t.created_at or START, t.row_id)) for others in held]


def kinds(found: list[Thread], purpose: str) -> list[dict[str, Any]]:
    """The kinds of threads that block families for a purpose, most families first."""
    counted = Counter((thread.purpose, thread.provider) for thread in oldest(found, purpose))
    order = sorted(counted.items(), key=lambda kind: (-kind[1], kind[0][0], kind[0][1] is None, kind[0][1] or ""))
    return [
        {"blocked_for": purpose, "families": families, "purpose": of, "provider": provider}
        for (of, provider), families in order
    ]


def growth(found: list[Thread], purpose: str, purpose_since: datetime | None) -> list[tuple[datetime, int]]:
    """The cumulative number of families blocked for a purpose, at the last `since` of each hour that has one."""
    created = [thread.created_at for thread in oldest(found, purpose)]
    since = sorted(max(at, purpose_since) for at in created if at and purpose_since)
    ends = sorted({max(at for at in since if at.replace(minute=0, second=0) == hour) for hour in map(_hour, since)})
    return [(end.replace(microsecond=0), sum(at <= end for at in since)) for end in ends]


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0)


def expected(found: list[Thread], purpose_since: datetime | None) -> dict[str, Any]:
    """The summary that the design defines."""
    return {
        "blocked_by": [kind for purpose in PURPOSES for kind in kinds(found, purpose)],
        "blocked_since": {purpose: growth(found, purpose, purpose_since) for purpose in PURPOSES},
    }


def summed(connection: psycopg.Connection, purpose_since: datetime | None = None) -> dict[str, Any]:
    """The summary of these threads in the table."""
    return summary(connection, read_catalog(connection), purpose_since)


def summary(connection: psycopg.Connection, catalog: Catalog, purpose_since: datetime | None) -> dict[str, Any]:
    """The summary as plain values."""
    kinds, since = summarize_blockers(connection, catalog, purpose_since)
    return {
        "blocked_by": kinds and [msgspec.structs.asdict(kind) for kind in kinds] if kinds is not None else None,
        "blocked_since": since and msgspec.structs.asdict(since),
    }


AGES = st.lists(st.none() | st.integers(0, 400), min_size=25, max_size=25)
MOMENTS = st.none() | st.just(SINCE) | st.integers(-60, 500).map(lambda minutes: START + timedelta(minutes=minutes))


@pytest.mark.parametrize("state", [IndexState.ORIGINAL, IndexState.OVERLAPPING])
def test_what_blocks_and_since_when(connection: psycopg.Connection, state: IndexState) -> None:
    """The sums equal the definition for any threads, ages and `purpose_since`."""
    with_indexes(connection, INDEXES[state])

    @any_example
    @given(threads(), AGES, MOMENTS)
    def holds(wanted: list[Thread], ages: list[int | None], purpose_since: datetime | None) -> None:
        aged = [
            thread._replace(created_at=None if age is None else START + timedelta(minutes=age, seconds=age % 60))
            for thread, age in zip(wanted, ages, strict=False)
        ]
        found = admitted(connection, aged)
        assert summed(connection, purpose_since) == expected(found, purpose_since)

    holds()


@any_example
@given(threads(), st.none() | st.just(SINCE))
def test_the_sums_equal_the_counts(
    connection: psycopg.Connection, wanted: list[Thread], purpose_since: datetime | None
) -> None:
    """The kinds sum to the number of blocked families; the number with a known `since` is not larger."""
    admitted(connection, [thread for thread in wanted if thread.root is None or thread.root in _prompts(connection)])
    counts = count_threads(connection, read_catalog(connection)).blocked
    found = summed(connection, purpose_since)

    for purpose in PURPOSES:
        families = [kind["families"] for kind in found["blocked_by"] if kind["blocked_for"] == purpose]
        assert sum(families) == getattr(counts, purpose)
        assert max((count for _, count in found["blocked_since"][purpose]), default=0) <= sum(families)


def _prompts(connection: psycopg.Connection) -> set[UUID]:
    rows = [[root] for root in ROOTS]
    connection.cursor().executemany("INSERT INTO public.q_prompts VALUES (%s) ON CONFLICT DO NOTHING", rows)
    return set(ROOTS)


def thread(
    number: int, family: int, minutes: float | None = None, *, purpose: str = "run", provider: str | None = "openai"
) -> Thread:
    """An active thread, of purpose `run` by default."""
    created_at = None if minutes is None else START + timedelta(minutes=minutes)
    return Thread(UUID(int=number), ROOTS[0], UUID(int=1000 + family), provider, purpose, True, created_at)


def test_the_demo_has_the_numbers_of_the_example(incident: Environment) -> None:
    """The demo's summary equals a count over its file, reduced to the points that a chart can show."""
    since = datetime(2025, 9, 22, 6, tzinfo=UTC)
    with reading(incident) as connection:
        found = summed(connection, since)
    whole = expected(demo_threads(), since)

    assert found["blocked_by"] == whole["blocked_by"]
    for purpose in PURPOSES:
        points, every = found["blocked_since"][purpose], whole["blocked_since"][purpose]
        assert [point for point in points if point not in every] == []
        assert (points[0], points[-1], len(points) <= MOST_POINTS) == (every[0], every[-1], True)


@pytest.mark.parametrize("purpose_since", [None, SINCE])
@pytest.mark.parametrize("state", [IndexState.FIXED, IndexState.MISSING])
def test_without_a_blocking_index_the_sums_are_empty(
    connection: psycopg.Connection, state: IndexState, purpose_since: datetime | None
) -> None:
    """With the fixed index alone, or without a unique index, no thread blocks: the sums are empty, not unknown."""
    with_indexes(connection, INDEXES[state])
    admitted(connection, [thread(1, 1, 5)])

    assert summed(connection, purpose_since) == NOTHING


def test_an_index_that_cannot_be_read_makes_the_sums_unknown(connection: psycopg.Connection) -> None:
    """If a unique index cannot be read, the sums are unknown, not empty."""
    with_indexes(connection, INDEXES[IndexState.UNKNOWN])
    admitted(connection, [thread(1, 1, 5)])

    assert summed(connection, SINCE) == {"blocked_by": None, "blocked_since": None}


def test_an_invalid_original_index_still_blocks(connection: psycopg.Connection) -> None:
    """An original index that is invalid and still enforced blocks families."""
    with_indexes(connection, [ORIGINAL, FIXED, STILL_ENFORCING])
    admitted(connection, [thread(1, 1, 5)])

    assert summed(connection)["blocked_by"] == [
        {"blocked_for": "chat", "families": 1, "purpose": "run", "provider": "openai"}
    ]


def test_an_empty_table_has_no_blocked_family(connection: psycopg.Connection) -> None:
    """An empty table has no blocked family."""
    assert summed(connection) == NOTHING


def test_without_purpose_since_no_family_has_a_since(connection: psycopg.Connection) -> None:
    """Without `purpose_since`, the time since when families are blocked is unknown."""
    with_indexes(connection, [ORIGINAL])
    admitted(connection, [thread(n, n, n) for n in range(1, 9)])

    assert summed(connection)["blocked_since"] == {"chat": [], "run": []}


def test_threads_of_unknown_age_are_not_in_the_sums_over_time(connection: psycopg.Connection) -> None:
    """A thread of unknown age blocks its family and is not counted in the sums over time."""
    with_indexes(connection, [ORIGINAL])
    admitted(connection, [thread(1, 1, 200), thread(2, 2), thread(3, 3, 205)])
    found = summed(connection, START)

    assert found["blocked_by"][0]["families"] == 3
    assert found["blocked_since"] == {"chat": [(datetime(2025, 9, 1, 3, 25, tzinfo=UTC), 2)], "run": []}


def test_no_family_is_blocked_since_before_the_column(connection: psycopg.Connection) -> None:
    """Threads that are older than the column block since the column was added."""
    with_indexes(connection, [ORIGINAL])
    admitted(connection, [thread(1, 1, 0), thread(2, 2, 60), thread(3, 3, 300)])

    assert summed(connection, SINCE)["blocked_since"]["chat"] == [
        (SINCE, 2),
        (datetime(2025, 9, 1, 5, tzinfo=UTC), 3),
    ]


def test_the_smallest_kinds_are_summed_as_others(connection: psycopg.Connection) -> None:
    """If there are too many kinds, those that block most are named; the rest is one sum for each purpose."""
    with_indexes(connection, [ORIGINAL])
    wanted, number = [], 0
    for kind in range(1, MOST_BLOCKERS + 4):
        for _ in range(kind):
            number += 1
            wanted.append(thread(number, number, provider=f"p{kind:02d}"))
    admitted(connection, wanted)
    found = summed(connection)["blocked_by"]

    assert [kind["families"] for kind in found] == [*range(MOST_BLOCKERS + 3, 3, -1), 1 + 2 + 3]
    assert found[-1] == {"blocked_for": "chat", "purpose": "others", "provider": "others", "families": 6}
    assert sum(kind["families"] for kind in found) == number


def test_without_further_kinds_there_are_no_others(connection: psycopg.Connection) -> None:
    """If all kinds are named, there is no sum of others."""
    with_indexes(connection, [ORIGINAL])
    admitted(connection, [thread(n, n, provider=f"p{n:02d}") for n in range(1, MOST_BLOCKERS + 1)])

    assert [kind["provider"] for kind in summed(connection)["blocked_by"]] == [
        f"p{n:02d}" for n in range(1, MOST_BLOCKERS + 1)
    ]


@pytest.mark.parametrize("length", [LONGEST - 1, LONGEST, LONGEST + 1, 10_000])
def test_long_values_are_cut(connection: psycopg.Connection, length: int) -> None:
    """A purpose or provider that is too long for a record is cut, and the cut is marked."""
    with_indexes(connection, [ORIGINAL])
    admitted(connection, [thread(1, 1, provider="é" * length, purpose="p" * length)])
    kind = summed(connection)["blocked_by"][0]
    whole = length <= LONGEST

    assert kind["provider"] == ("é" * length if whole else "é" * (LONGEST - 1) + "…")
    assert kind["purpose"] == ("p" * length if whole else "p" * (LONGEST - 1) + "…")


@pytest.mark.parametrize("hours", [*range(1, 4), *range(28, 33), 45, *range(58, 63), 89, 90, 91, 600])
def test_points_are_reduced_to_what_a_chart_can_show(hours: int) -> None:
    """Points are reduced to the number that a chart can show, in order, with the first and the last."""
    rows = [{"since": START + timedelta(hours=hour), "families": 1} for hour in range(hours)]
    points = _growth(rows)
    every = [(START + timedelta(hours=hour), hour + 1) for hour in range(hours)]

    assert len(points) <= MOST_POINTS
    assert len(points) >= min(hours, MOST_POINTS // 2)
    assert (points[0], points[-1]) == (every[0], every[-1])
    assert points == sorted(set(points))
    assert set(points) <= set(every)


def test_without_a_since_there_is_no_point() -> None:
    """If no `since` is known, there is no point."""
    assert _growth([]) == []


def test_without_indexes_no_family_is_blocked(connection: psycopg.Connection) -> None:
    """Without a unique index in the catalog, the table is not queried."""
    assert summary(connection, Catalog(()), None) == NOTHING


@pytest.mark.parametrize("created_at", ODD_MOMENTS)
def test_a_timestamp_outside_pythons_range_is_an_unknown_age(connection: psycopg.Connection, created_at: str) -> None:
    """A timestamp that PostgreSQL allows and Python does not makes the thread's age unknown."""
    with_indexes(connection, [ORIGINAL])
    admitted(connection, [thread(1, 1, 5), thread(2, 2, 5)])
    connection.execute("UPDATE public.q_threads SET created_at = %s WHERE row_id = %s", [created_at, UUID(int=1)])
    found = summed(connection, START)

    assert found["blocked_by"][0]["families"] == 2
    assert found["blocked_since"]["chat"][-1][0] == datetime(2025, 9, 1, 0, 5, tzinfo=UTC)
