"""Two questions to one snapshot: at the same time by two connections, or by one where there is no second."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from threading import Barrier, Thread
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from incident_lib.analysis import count_threads
from incident_lib.database import Environment, bounded, read_catalog, reading, set_local, side_by_side
from incident_lib.model import Failed
from tests.conftest import add
from tests.support.threads import enlarged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from incident_lib.database import Connection

MOMENT = 5.0  # seconds


@pytest.fixture
def large(incident: Environment) -> Environment:
    """The demo's threads, with statistics that say it were millions."""
    return enlarged(incident)


def backend(connection: Connection) -> int:
    """The process of a connection in the server."""
    return connection.info.backend_pid


def threads(connection: Connection) -> int:
    """How many threads this connection sees."""
    (number,) = connection.execute("SELECT count(*) FROM public.q_threads").fetchone() or (0,)
    return int(number)


def sleeping(environment: Environment) -> list[str]:
    """What sleeps in the database, each by its application."""
    query = """SELECT application_name FROM pg_stat_activity
               WHERE datname = current_database() AND wait_event = 'PgSleep'"""
    with psycopg.connect(environment.address) as connection:
        return [name for (name,) in connection.execute(query)]


def asked_by_two(environment: Environment) -> bool:
    """Whether two questions are asked by two connections, given the time for a second one."""
    with reading(environment) as connection:
        one, other = side_by_side(connection, lambda c: (time.sleep(0.5), backend(c))[1], backend)
    return one != other


def assert_asked_at_once(environment: Environment) -> None:
    """Each of the questions waits until the other one is being asked."""
    both = Barrier(2, timeout=MOMENT)
    with reading(environment) as connection:
        assert side_by_side(connection, lambda _: both.wait(), lambda _: both.wait()) in [(0, 1), (1, 0)]


def test_a_large_table_is_asked_at_the_same_time(large: Environment) -> None:
    """It takes as long as the longer question."""
    assert_asked_at_once(large)


def test_both_questions_see_one_snapshot(large: Environment) -> None:
    """What is committed after the snapshot was taken is seen by neither."""
    both = Barrier(2, timeout=MOMENT)

    def after_an_insert(connection: Connection) -> int:
        with psycopg.connect(large.address, autocommit=True) as client:
            add(client, uuid4(), uuid4())
        both.wait()
        return threads(connection)

    def meanwhile(connection: Connection) -> int:
        both.wait()
        return threads(connection)

    with reading(large) as connection:
        before = threads(connection)
        assert side_by_side(connection, after_an_insert, meanwhile) == (before, before)


def test_the_second_connection_writes_nothing(large: Environment) -> None:
    """It is read-only, too, and has the settings of the first one."""
    both = Barrier(2, timeout=MOMENT)

    def settings(connection: Connection) -> list[tuple[str, str]]:
        both.wait()
        names = [
            "transaction_read_only",
            "transaction_isolation",
            "statement_timeout",
            "jit",
            "search_path",
            "TimeZone",
        ]
        query = "SELECT name, setting FROM pg_settings WHERE name = ANY (%s) ORDER BY name"
        return connection.execute(query, [names]).fetchall()

    with reading(large, seconds=7) as connection:
        one, other = side_by_side(connection, settings, settings)
    assert dict(one) == dict(other)
    assert (dict(other)["transaction_read_only"], dict(other)["statement_timeout"]) == ("on", "7000")


def test_two_processes_are_enough(large: Environment) -> None:
    """While both questions are asked no other process helps; afterwards PostgreSQL decides, as before."""
    both = Barrier(2, timeout=MOMENT)

    def workers(connection: Connection) -> str:
        both.wait()
        return shown(connection)

    def shown(connection: Connection) -> str:
        (value,) = connection.execute("SHOW max_parallel_workers_per_gather").fetchone() or ("",)
        return str(value)

    with reading(large) as connection:
        before = shown(connection)
        assert side_by_side(connection, workers, workers) == ("0", "0")
        assert (shown(connection), before) == (before, "2")


def test_a_small_table_is_asked_by_one_connection(incident: Environment) -> None:
    """A second connection would take longer than it saves."""
    assert not asked_by_two(incident)


def test_the_partitions_of_a_table_count(environment: Environment) -> None:
    """The size of a partitioned table is that of its partitions."""
    with psycopg.connect(environment.address, autocommit=True) as connection:
        connection.execute("""
            DROP TABLE public.q_threads;
            CREATE TABLE public.q_threads (purpose text, row_id uuid) PARTITION BY LIST (purpose);
            CREATE TABLE public.chats PARTITION OF public.q_threads FOR VALUES IN ('chat');
            CREATE TABLE public.runs PARTITION OF public.q_threads FOR VALUES IN ('run');
            UPDATE pg_class SET reltuples = 6e5 WHERE relname IN ('chats', 'runs')""")
    assert_asked_at_once(environment)


def test_the_counts_are_the_same_either_way(incident: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many connections count makes no difference."""
    with reading(incident) as connection:
        by_one = count_threads(connection, read_catalog(connection))
    both, counted = Barrier(2, timeout=MOMENT), set()

    def at_once(connection: Connection, *questions: Callable[[Connection], Any]) -> tuple[Any, Any]:
        def waiting(ask: Callable[[Connection], Any]) -> Callable[[Connection], Any]:
            def asked(connection: Connection) -> Any:
                both.wait()  # the demo's counts are done before a second connection is open
                counted.add(backend(connection))
                return ask(connection)

            return asked

        first, second = map(waiting, questions)
        return side_by_side(connection, first, second)

    monkeypatch.setattr(import_module("incident_lib.analysis.investigate"), "side_by_side", at_once)
    with reading(enlarged(incident)) as connection:
        assert count_threads(connection, read_catalog(connection)) == by_one
    assert len(counted) == 2


@pytest.fixture
def limited(large: Environment) -> Iterator[Environment]:
    """The environment of a role that may connect once."""
    role = f"once_{uuid4().hex[:8]}"
    with psycopg.connect(large.address, autocommit=True) as connection:
        name = sql.Identifier(role)
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN CONNECTION LIMIT 1").format(name))
        connection.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}").format(name))
        yield Environment("staging", "INCIDENT_STAGING_URL", large.address.replace("postgres:@", f"{role}:@"))
        connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(name))


def test_a_role_that_may_connect_once(limited: Environment) -> None:
    """It asks one question after the other."""
    assert not asked_by_two(limited)


def test_a_role_that_may_export_no_snapshot(large: Environment, limited: Environment) -> None:
    """It is not tried: an error would end the transaction."""
    with psycopg.connect(large.address, autocommit=True) as connection:
        connection.execute("REVOKE EXECUTE ON FUNCTION pg_export_snapshot() FROM public")
    assert not asked_by_two(limited)


def test_another_server_is_not_asked(large: Environment, server: str) -> None:
    """Where the second connection meets another database, it is left: the snapshot is not there."""
    elsewhere = Environment(large.name, large.source, server)
    with reading(large) as connection:
        connection.again = lambda exported: reading(elsewhere, snapshot=exported)
        mine = backend(connection)
        assert side_by_side(connection, lambda c: (time.sleep(0.5), backend(c))[1], backend) == (mine, mine)


def test_another_snapshot_is_not_used(large: Environment) -> None:
    """Where the second connection sees something else, it is left."""
    with reading(large) as connection, psycopg.connect(large.address, autocommit=True) as client:
        mine = backend(connection)
        connection.execute("SELECT")  # takes the snapshot
        add(client, uuid4(), uuid4())
        connection.again = lambda _: reading(large)
        assert side_by_side(connection, lambda c: (time.sleep(0.5), backend(c))[1], backend) == (mine, mine)


def test_who_is_done_before_the_connection_is_open_does_not_wait_for_it(large: Environment) -> None:
    """The second question is asked by the first connection then, and once."""
    asked = []
    with reading(large) as connection:
        slow = connection.again
        assert slow is not None
        connection.again = lambda exported: (time.sleep(0.5), slow(exported))[1]
        one, other = side_by_side(connection, backend, lambda c: (asked.append(1), backend(c))[1])
        assert one == other
        time.sleep(1)
    assert asked == [1]


def test_a_session_that_waits_for_the_first_connection_does_not_stop_the_second_question(large: Environment) -> None:
    """A second connection would wait behind a session that waits for the first one: the first one asks both."""
    waits = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'public.q_threads'::regclass"

    def lock() -> None:
        with psycopg.connect(large.address) as other:
            other.execute("LOCK TABLE public.q_threads IN ACCESS EXCLUSIVE MODE")

    with ThreadPoolExecutor(1) as pool, reading(large) as connection:
        before = threads(connection)
        locked = pool.submit(lock)
        with psycopg.connect(large.address, autocommit=True) as observer:
            while observer.execute(waits).fetchone() is None:
                time.sleep(0.02)
        assert side_by_side(connection, lambda c: (time.sleep(0.5), threads(c))[1], threads) == (before, before)
    locked.result(timeout=MOMENT)


def test_a_partition_elsewhere_is_asked_by_one_connection(environment: Environment) -> None:
    """Two connections would take two snapshots of another server."""
    with psycopg.connect(environment.address, autocommit=True) as connection:
        connection.execute("""
            DROP TABLE public.q_threads;
            CREATE TABLE public.q_threads (purpose text, row_id uuid) PARTITION BY LIST (purpose);
            CREATE TABLE public.runs PARTITION OF public.q_threads FOR VALUES IN ('run');
            CREATE FOREIGN DATA WRAPPER elsewhere;
            CREATE SERVER elsewhere FOREIGN DATA WRAPPER elsewhere;
            CREATE FOREIGN TABLE public.chats PARTITION OF public.q_threads FOR VALUES IN ('chat') SERVER elsewhere;
            UPDATE pg_class SET reltuples = 2e6 WHERE relname = 'runs'""")
    assert not asked_by_two(environment)


def test_an_interrupt_right_after_the_begin_ends_the_second_question(
    large: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No instant is left in which Ctrl-C leaves the second question running."""

    class Interrupted(Thread):
        def start(self) -> None:
            super().start()
            time.sleep(0.5)
            raise KeyboardInterrupt

    monkeypatch.setattr("incident_lib.database.parallel.Thread", Interrupted)
    with reading(large) as connection, pytest.raises(KeyboardInterrupt):
        side_by_side(connection, threads, lambda c: c.execute("SELECT pg_sleep(60)"))
    assert sleeping(large) == []


def test_an_interrupted_question_ends_the_other_one(large: Environment) -> None:
    """After Ctrl-C nothing runs on in the server."""

    def interrupted(_: Connection) -> None:
        deadline = time.monotonic() + MOMENT
        while not sleeping(large) and time.monotonic() < deadline:
            time.sleep(0.02)
        raise KeyboardInterrupt

    began = time.monotonic()
    with reading(large) as connection, pytest.raises(KeyboardInterrupt):
        side_by_side(connection, interrupted, lambda c: c.execute("SELECT pg_sleep(60)"))
    assert sleeping(large) == []
    assert time.monotonic() - began < MOMENT


def test_an_error_of_the_second_question_is_raised(large: Environment) -> None:
    """As if the first connection had asked it, with the environment's name and without a value."""
    failed = r"A query failed in the environment 'staging' \(SQLSTATE 22012\)\."
    with pytest.raises(Failed, match=failed), reading(large) as connection:
        side_by_side(connection, lambda _: time.sleep(0.5), lambda c: c.execute("SELECT 1 / 0"))


def test_a_deadline_ends_the_second_question(large: Environment) -> None:
    """The budget holds for both connections."""
    began = time.monotonic()
    late = "did not answer before the budget ended"
    with pytest.raises(Failed, match=late), bounded(1), reading(large) as connection:
        side_by_side(connection, lambda _: time.sleep(0.5), lambda c: c.execute("SELECT pg_sleep(60)"))
    assert time.monotonic() - began < MOMENT


def test_who_waits_for_the_second_question_is_not_idle(large: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server would end the first connection's transaction after a minute."""
    monkeypatch.setattr("incident_lib.database.parallel.ALIVE_SECONDS", 0.3)

    def slept(connection: Connection) -> str:
        connection.execute("SELECT pg_sleep(2.5)")
        return "slept"

    with reading(large) as connection:
        set_local(connection, "idle_in_transaction_session_timeout", "1s")
        assert side_by_side(connection, lambda _: time.sleep(0.5), slept) == (None, "slept")
        assert threads(connection) > 0
