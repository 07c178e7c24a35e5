"""Other sessions that wait for the migration: it is cancelled for them, cleaned up, and tried again later."""

from __future__ import annotations

import re
import threading
import time
from contextlib import suppress

import psycopg
import pytest
from psycopg import conninfo

from incident_lib.database import Environment, connecting, connections, lock_holders, read_catalog
from incident_lib.migration import monitor
from incident_lib.migration.executor import STEPPED_BACK, _pauses, apply
from incident_lib.migration.plan import plan_change
from incident_lib.model.change import INDEX_NAME, PURPOSE, IndexKind
from incident_lib.model.errors import Failed
from tests.support.examples import SLACK
from tests.support.proxy import Proxy
from tests.support.sessions import holding_up, old_snapshot, wait_until_waiting

EVERY_VERSION = True
MAX_BLOCK = 0.5
DDL = "ALTER TABLE public.q_threads ALTER COLUMN name SET STATISTICS 50, ADD COLUMN IF NOT EXISTS added int"
BUILT = "SELECT indisready FROM pg_index WHERE indexrelid = to_regclass('public.{}')"


class Migration:
    """A migration in a thread of its own: its progress, result and error."""

    def __init__(self, environment, **options):
        self.notes, self.result, self.error = [], None, None
        self._thread = threading.Thread(target=self._run, args=[environment, options])

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._thread.join()

    def ends_within(self, seconds):
        """Whether it ends within so many seconds."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def until(self, phase):
        """Wait until the progress says so."""
        deadline = time.monotonic() + 10
        while not any(phase in progress.phase for progress in self.notes):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def _run(self, environment, options):
        try:
            self.result = apply(environment, confirm="staging", listener=self.notes.append, **options)
        except Failed as error:
            self.error = error


def alter(environment, connection, statement=DDL):
    """Wait until the migration waits, then alter the table; how many seconds that took."""
    wait_until_waiting(environment)
    began = time.monotonic()
    connection.execute(statement)
    return time.monotonic() - began


@pytest.fixture
def deploy(incident):
    """A deploy's session, by name."""
    with psycopg.connect(incident.address, autocommit=True, application_name="deploy") as connection:
        yield connection


def test_an_alter_table_that_waits_for_the_build_goes_first(incident, deploy):
    """An ALTER TABLE waits for the build no longer than max_block; the build is then done in a later try."""
    with Migration(incident, max_block=MAX_BLOCK) as migration:
        with old_snapshot(incident):
            seconds = alter(incident, deploy)
        assert MAX_BLOCK * 0.8 < seconds < MAX_BLOCK + SLACK
    outcomes = [(step.name, step.outcome) for step in migration.result.steps]
    assert outcomes[0] == ("build", STEPPED_BACK)
    assert outcomes[-3:] == [("build", "done"), ("swap", "done"), ("drop", "done")]
    assert plan_change(read_catalog(deploy)).steps == ()


@pytest.mark.newest
def test_the_session_that_waits_is_named(incident, deploy):
    """The progress names the session that waits for the step, and says when the step is tried again."""
    with Migration(incident, max_block=MAX_BLOCK) as migration, old_snapshot(incident):
        alter(incident, deploy)
    notes = [progress.note for progress in migration.notes]
    pid = deploy.info.backend_pid
    assert any(f"blocks pid {pid} (deploy, active, open" in note for note in notes)
    assert "another session waited for it for more than 0.5 s: it is tried again after a pause" in notes


def test_the_pauses_grow():
    """Each pause is about twice as long as the one before it, with jitter, until they last a minute."""
    usual = [1, 2, 4, 8, 16, 32, *[60] * 6]
    factors = [pause / seconds for pause, seconds in zip(_pauses(), usual, strict=False)]
    assert all(0.5 <= factor <= 1.5 for factor in factors)
    assert len(set(factors)) == len(usual)


def test_a_read_behind_the_alter_table_waits_no_longer(incident, deploy):
    """A read that queues behind the waiting ALTER TABLE is answered within max_block and a second."""
    longest, done = [0.0], threading.Event()

    def read():
        with psycopg.connect(incident.address, autocommit=True) as connection:
            while not done.is_set():
                began = time.monotonic()
                connection.execute("SELECT count(*) FROM public.q_threads WHERE is_active")
                longest.append(time.monotonic() - began)

    reader = threading.Thread(target=read)
    with Migration(incident, max_block=MAX_BLOCK):
        with old_snapshot(incident):
            wait_until_waiting(incident)
            reader.start()
            alter(incident, deploy)
        done.set()
        reader.join()
    assert max(longest) < MAX_BLOCK + SLACK


def test_a_step_that_steps_back_leaves_no_index_behind(incident, deploy):
    """While the build pauses, its invalid index is gone, and the original one is enforced."""
    with Migration(incident, max_block=MAX_BLOCK, budget=60), old_snapshot(incident):
        alter(incident, deploy)
        deadline = time.monotonic() + 10
        while (left := read_catalog(deploy).indexes) and PURPOSE.build_name in {index.name for index in left}:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert [index.name for index in read_catalog(deploy).relevant_indexes] == [INDEX_NAME]


@pytest.mark.newest
def test_the_cleanup_of_a_step_that_steps_back_may_take_time(incident, deploy, monkeypatch):
    """Over a slow line the cleanup is not cancelled together with the step."""
    monkeypatch.setattr(connections, "TICK", 0.0005)  # any statement takes longer
    with Migration(incident, max_block=MAX_BLOCK) as migration, old_snapshot(incident):
        alter(incident, deploy)
    assert migration.error is None
    assert plan_change(read_catalog(deploy)).steps == ()


def test_a_drop_steps_back_too(incident, deploy):
    """A VACUUM waits for the drop no longer than max_block; the drop is done in a later try."""
    deploy.execute("SET lock_timeout = 0")
    with Migration(incident, max_block=MAX_BLOCK) as migration:
        with psycopg.connect(incident.address, application_name="reader") as reader:
            reader.execute("SELECT count(*) FROM public.q_threads")
            seconds = alter(incident, deploy, "VACUUM public.q_threads")
            reader.rollback()
        assert seconds < MAX_BLOCK + SLACK
    assert ("drop", STEPPED_BACK) in [(step.name, step.outcome) for step in migration.result.steps]
    assert migration.result.ended_at is not None


@pytest.mark.newest
def test_the_budget_ends_the_tries(incident, deploy):
    """Where others wait again and again, the budget ends the tries; the message names who waited."""
    done = threading.Event()

    def alter_again():
        with psycopg.connect(incident.address, autocommit=True, application_name="deploy") as connection:
            while not done.is_set():
                connection.execute(DDL)

    with old_snapshot(incident):
        others = threading.Thread(target=alter_again)
        others.start()
        with Migration(incident, max_block=0.2, budget=2) as migration:
            pass
        done.set()
        others.join()
    # Most often it waited too long, or it and the step waited for each other.
    assert re.search(
        r"It stepped back before; the last time another session [^:]+: pid \d+ \(deploy, active, open",
        migration.error.why,
    )


@pytest.mark.newest
def test_a_step_that_cannot_see_who_waits_stops(incident, server):
    """Where the watching session is lost and cannot return, the step stops: it might block others."""
    name = conninfo.conninfo_to_dict(incident.address)["dbname"]
    with psycopg.connect(server, autocommit=True) as admin:
        with Migration(incident, max_block=MAX_BLOCK, budget=20) as migration, old_snapshot(incident):
            wait_until_waiting(incident)
            admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'incident_lib watch' AND datname = %s",
                [name],
            )
            ended = migration.ends_within(10)
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    assert ended
    assert migration.error.what == "The environment 'staging' cannot be reached."


def test_a_rollback_steps_back_without_blocking_chats(incident, deploy):
    """A rollback that steps back drops the index that it was building: it rejects no chat while it pauses."""
    apply(incident, confirm="staging")
    with Migration(incident, target=IndexKind.ORIGINAL, max_block=MAX_BLOCK, budget=60), old_snapshot(incident):
        alter(incident, deploy)
        deadline = time.monotonic() + 10
        while read_catalog(deploy).blocks:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert [index.kind for index in read_catalog(deploy).relevant_indexes] == [IndexKind.ORIGINAL]


@pytest.mark.newest
def test_a_watching_session_without_an_answer_stops_the_step(incident, monkeypatch):
    """Where the watching session's query hangs, without an error, the step stops, and is tried again later."""
    with Proxy(incident.address) as proxy:
        watched = Environment("staging", "a test", proxy.address)
        monkeypatch.setattr(monitor, "connecting", lambda _, activity: connecting(watched, activity))
        with Migration(incident, max_block=MAX_BLOCK, budget=60) as migration, holding_up(incident, "build"):
            wait_until_waiting(incident)
            proxy.frozen = True
            migration.until("could not be seen who waits")
            proxy.frozen = False
    assert migration.error is None
    assert (migration.result.steps[0].name, migration.result.steps[0].outcome) == ("build", STEPPED_BACK)


@pytest.mark.newest
def test_a_step_back_in_the_dark_names_nobody(incident, deploy, monkeypatch):
    """A session that waited for a moment is not said to be the reason where the step stopped for another one."""
    with Proxy(incident.address) as proxy:
        watched = Environment("staging", "a test", proxy.address)
        monkeypatch.setattr(monitor, "connecting", lambda _, activity: connecting(watched, activity))
        with Migration(incident, max_block=1.5, budget=6) as migration, old_snapshot(incident):
            wait_until_waiting(incident)
            deploy.execute("SET lock_timeout = '500ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                deploy.execute(DDL)
            proxy.frozen = True
            migration.until("could not be seen who waits")
            proxy.frozen = False
            assert migration.ends_within(12)
    assert any("deploy" in progress.note for progress in migration.notes)
    assert "It stepped back before; the last time for too long it could not be seen who waits for it." in (
        migration.error.why
    )


@pytest.mark.newest
def test_a_cancellation_that_outlasts_the_budget_keeps_its_reason(incident, deploy):
    """A step that stops for others, whose cancellation is answered after the budget, did not stop for the budget."""
    with Proxy(incident.address) as proxy:
        there = Environment(incident.name, incident.source, proxy.address)
        with Migration(there, max_block=MAX_BLOCK, budget=3) as migration, old_snapshot(incident):
            wait_until_waiting(incident)
            proxy.delay = 1.5
            deploy.execute("SET lock_timeout = '2s'")
            with suppress(psycopg.errors.LockNotAvailable):
                deploy.execute(DDL)
            assert migration.ends_within(10)
    assert migration.error.what.startswith("The step `build` was cancelled, because ")


REINDEX = "REINDEX INDEX CONCURRENTLY public.q_threads_pkey"


def test_a_reindex_that_runs_is_waited_for_without_a_deadlock(incident, deploy):
    """A REINDEX CONCURRENTLY that holds the table's lock is waited for outside its queue, and comes to its end."""
    deploy.execute("SET deadlock_timeout = '200ms'")
    with old_snapshot(incident) as snapshot:
        other = threading.Thread(target=deploy.execute, args=[REINDEX])
        other.start()
        wait_until_holding(incident)
        with Migration(incident, budget=60) as migration:
            migration.until("waits for the table's lock")
            time.sleep(1)
            snapshot.rollback()
    other.join()
    notes = [progress.note for progress in migration.notes]
    who = f"waits for REINDEX CONCURRENTLY, pid {deploy.info.backend_pid} (deploy, active"
    assert any(f"the table's lock; {who}" in note for note in notes)
    assert migration.error is None
    assert [step.outcome for step in migration.result.steps] == ["done"] * 3


def test_an_index_that_another_session_completes_is_not_dropped(incident, deploy):
    """Another session builds an index of the same name meanwhile: it stays, and a second run continues with it."""
    statement = (
        f"CREATE UNIQUE INDEX CONCURRENTLY {PURPOSE.build_name} ON public.q_threads"
        " (root_prompt_row_id, owner_id, purpose) WHERE is_active = true AND root_prompt_row_id IS NOT NULL"
    )
    with psycopg.connect(incident.address) as vacuum:
        vacuum.execute("LOCK TABLE public.q_threads IN SHARE UPDATE EXCLUSIVE MODE")
        other = threading.Thread(target=deploy.execute, args=[statement])
        other.start()
        with Migration(incident, budget=1.5) as migration:
            time.sleep(2)
            vacuum.rollback()
        other.join()
    assert "The budget ended before the step `build`." in migration.error.what
    assert [i.name for i in read_catalog(deploy).of(IndexKind.FIXED) if i.complete] == [PURPOSE.build_name]
    apply(incident, confirm="staging")
    assert plan_change(read_catalog(deploy)).steps == ()


def wait_until_holding(environment):
    """Wait until another session holds SHARE UPDATE EXCLUSIVE on the table."""
    with psycopg.connect(environment.address, autocommit=True) as connection:
        deadline = time.monotonic() + 8
        while not lock_holders(connection):
            assert time.monotonic() < deadline
            time.sleep(0.02)
