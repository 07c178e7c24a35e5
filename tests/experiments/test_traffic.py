"""The traffic generator: synthetic clients around a change, and the statistics of their calls."""

from __future__ import annotations

import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from incident_lib.database import Environment
from incident_lib.experiments import traffic
from incident_lib.experiments.synthetic import fill_threads
from incident_lib.experiments.traffic import (
    BIN,
    LOST,
    NAME,
    Call,
    Client,
    TrafficResult,
    families_without_chat,
    longest_by_bin,
    run_clients,
)
from tests.support import clusters

if TYPE_CHECKING:
    from collections.abc import Iterator

EVERY, ANSWERS = 0.01, 4


@pytest.fixture(scope="module")
def environment(server: str) -> Iterator[Environment]:
    """A database of this module with synthetic threads, under the original index."""
    with clusters.database(server, "empty_template") as address:
        made = Environment("staging", "INCIDENT_STAGING_URL", address)
        fill_threads(made, 80)
        yield made


@pytest.fixture
def clients(environment: Environment) -> list[Client]:
    """One client that creates chats and runs, and one that creates chats only."""
    with psycopg.connect(environment.address, autocommit=True) as connection:
        families = families_without_chat(connection, 10)
    return [Client({"chat": traffic.chat, "run": traffic.run}, families[::2]), Client({"chat": traffic.chat}, families)]


def test_each_client_has_answers_before_and_after_the_change(environment: Environment, clients: list[Client]) -> None:
    """Each client gets the wanted number of answers to calls due before the change, and to calls due after it."""
    with run_clients(environment, clients, every=EVERY, answers=ANSWERS) as running:
        before = [len(sent) for sent in running._sent]
        with running.change():
            pass
    result = running.result()

    assert min(before) >= ANSWERS
    assert sum(call.due < 0 for call in result.calls) >= sum(before)
    assert all(
        sum(call.kind == kind and call.due > result.end for call in result.calls) >= answers
        for kind, answers in {"chat": ANSWERS + ANSWERS // 2, "run": ANSWERS // 2}.items()
    )


def test_calls_are_answered_by_the_unique_index(environment: Environment, clients: list[Client]) -> None:
    """Under the original index, runs are found and admitted, and chats are rejected."""
    with run_clients(environment, clients, every=EVERY, answers=ANSWERS) as running, running.change():
        pass
    result = running.result()

    assert (result.admitted.keys(), result.rejected.keys(), result.rejected_after.keys(), result.errors) == (
        {"run"},
        {"chat"},
        {"chat"},
        {},
    )


def test_calls_are_due_at_equal_intervals(environment: Environment, clients: list[Client]) -> None:
    """Calls are due at equal intervals, even while a client waits for a lock; the calls due meanwhile are late."""
    with (
        psycopg.connect(environment.address) as blocking,
        run_clients(environment, clients[:1], every=EVERY, answers=ANSWERS) as running,
    ):
        blocking.execute("LOCK public.q_threads")
        with running.change():
            time.sleep(10 * EVERY)
        blocking.rollback()
    result = running.result()
    delayed = [call for call in result.calls if 0 < call.due < result.end]

    assert [b.due - a.due for a, b in pairwise(result.calls)] == pytest.approx([EVERY] * (len(result.calls) - 1))
    assert len(delayed) >= 9
    assert all(call.due + call.seconds > result.end for call in delayed)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_change_that_fails_stops_the_clients(
    environment: Environment, clients: list[Client], error: type[BaseException]
) -> None:
    """If the change raises an error, the error is raised, and no thread and no session of a client is left."""
    with (
        pytest.raises(error),
        run_clients(environment, clients, every=EVERY, answers=ANSWERS) as running,
        running.change(),
    ):
        raise error
    with psycopg.connect(environment.address) as connection:
        sessions = connection.execute(
            "SELECT application_name FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name LIKE 'incident_lib%' AND state <> 'idle'"
        ).fetchall()

    assert sessions == []
    assert [thread for thread in threading.enumerate() if thread.name.startswith(NAME)] == []


def test_a_lost_connection_is_counted(environment: Environment, clients: list[Client]) -> None:
    """A client whose connection is lost stops, and its last calls have that answer; no time is spent waiting."""
    with (
        psycopg.connect(environment.address, autocommit=True) as connection,
        run_clients(environment, clients, every=EVERY, answers=ANSWERS) as running,
        running.change(),
    ):
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE application_name = 'incident_lib client' AND datname = current_database()"
        )
    result = running.result()

    assert result.errors.total() == len(clients)
    assert result.errors.keys() <= {"57P01", LOST}


def test_a_client_that_cannot_connect_is_counted(environment: Environment, clients: list[Client]) -> None:
    """A client that cannot connect has one call, whose answer says so."""
    nowhere = Environment("staging", "INCIDENT_STAGING_URL", "host=/nowhere dbname=nothing")
    with run_clients(nowhere, clients[:1], every=EVERY, answers=ANSWERS) as running, running.change():
        pass

    assert [(call.kind, call.answer) for call in running.result().calls] == [("chat", LOST)]


# Statistics


def test_the_longest_call_is_one_that_the_change_can_delay() -> None:
    """A call that was answered before the change, or was due after it, does not count as delayed by it."""
    calls = (
        Call("chat", -0.3, 0.25, ""),
        Call("chat", -0.02, 0.4, ""),
        Call("run", 0.1, 0.2, "23505"),
        Call("run", 1.1, 0.9, ""),
    )
    result = TrafficResult(calls, end=1.0)

    assert (result.longest, result.longest_before) == (0.4, 0.25)


def test_without_calls_the_longest_is_0() -> None:
    """Without a call the longest duration is 0 seconds."""
    assert (TrafficResult((), 1.0).longest, TrafficResult((), 1.0).longest_before) == (0.0, 0.0)


def test_calls_are_counted_by_kind_answer_and_time() -> None:
    """Rejected calls are counted by whether they were due before or after the change; other answers are errors."""
    calls = (
        Call("chat", -0.1, 0.0, "23505"),
        Call("chat", 0.5, 0.0, "23505"),
        Call("chat", 1.0, 0.0, "23505"),
        Call("run", 1.1, 0.0, ""),
        Call("run", 1.2, 0.0, "40P01"),
        Call("run", -1.2, 0.0, LOST),
    )
    result = TrafficResult(calls, end=1.0)

    assert (result.admitted, result.rejected, result.rejected_after) == ({"run": 1}, {"chat": 2}, {"chat": 1})
    assert result.errors == {"40P01": 1, LOST: 1}


SECONDS = st.floats(0, 100, allow_nan=False)
CALLS = st.lists(st.tuples(st.floats(-100, 100, allow_nan=False), SECONDS), max_size=200)


@given(CALLS)
def test_no_call_is_longer_than_its_bin(calls: list[tuple[float, float]]) -> None:
    """Each call is in a bin and took no longer than the bin's value."""
    longest = dict(longest_by_bin(calls))

    assert all(round(seconds * 1000, 1) <= longest[due * 1000 // BIN * BIN / 1000] for due, seconds in calls)


@given(CALLS)
def test_each_bin_has_the_duration_of_a_call(calls: list[tuple[float, float]]) -> None:
    """Each bin has the duration of a call that was due in it; no bin is empty."""
    taken = {(due * 1000 // BIN * BIN / 1000, round(seconds * 1000, 1)) for due, seconds in calls}

    assert set(longest_by_bin(calls)) <= taken


@given(CALLS)
def test_bins_are_in_order(calls: list[tuple[float, float]]) -> None:
    """The bins are sorted: one for each 50 ms in which a call was due."""
    begins = [begin for begin, _ in longest_by_bin(calls)]

    assert begins == sorted({due * 1000 // BIN * BIN / 1000 for due, _ in calls})


@given(CALLS, st.randoms())
def test_bins_do_not_depend_on_the_order(calls: list[tuple[float, float]], random) -> None:
    """The order of the calls of several clients does not change the bins."""
    assert longest_by_bin(random.sample(calls, len(calls))) == longest_by_bin(calls)


@given(CALLS, CALLS)
def test_more_calls_make_no_bin_lower(calls: list[tuple[float, float]], more: list[tuple[float, float]]) -> None:
    """A bin with more calls has at least the same value."""
    fewer, all_of_them = (dict(longest_by_bin(each)) for each in (calls, calls + more))

    assert all(all_of_them[begin] >= longest for begin, longest in fewer.items())
