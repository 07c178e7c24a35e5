"""The budget is a bound: whatever does not answer, the migration ends, and says what it leaves behind."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import psycopg
import pytest
from psycopg import conninfo

from incident_lib.analysis.probe import probe_families
from incident_lib.database import (
    Environment,
    bounded,
    connecting,
    fetch_all,
    is_transaction_pooled,
    read_catalog,
    reading,
    sending,
)
from incident_lib.database.connections import KEEPALIVE, OutOfTime
from incident_lib.experiments import rehearse
from incident_lib.migration import holds, verify_catalog, verify_commits
from incident_lib.migration.executor import UNCONFIRMED, apply
from incident_lib.migration.plan import plan_change
from incident_lib.model import Status
from incident_lib.model.change import IndexKind
from incident_lib.model.errors import Failed
from incident_lib.model.threads import Family
from tests.conftest import add
from tests.support.command import shell
from tests.support.proxy import Proxy
from tests.support.scratch import scratch_databases
from tests.support.sessions import holding_up, old_snapshot, wait_until_waiting

EVERY_VERSION = True
BUDGET, OVER = 1.5, 5.0
START = 3.0  # seconds that a slow machine takes to start Python


@contextmanager
def ends_in_time():
    """The block ends within the budget and five seconds more."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < BUDGET + OVER


def through(environment, proxy):
    return Environment(environment.name, environment.source, proxy.address)


@pytest.mark.parametrize("step", ["build", "swap", "drop"])
def test_a_step_that_has_to_wait_ends_in_time(incident, step):
    """A step that another session blocks is cancelled at the end of the budget; then our sessions hold no lock."""
    with holding_up(incident, step), ends_in_time(), pytest.raises(Failed):
        apply(incident, confirm="staging", budget=BUDGET)
    with psycopg.connect(incident.address, autocommit=True) as connection:
        ours = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE application_name ~ '^incident'"
        assert connection.execute(ours).fetchone() == (0,)
        assert fetch_all(connection, "migration/waits", {"schema": "public", "table": "q_threads"}) == []


@pytest.mark.newest
def test_a_line_that_swallows_everything_ends_in_time(incident):
    """Where nothing comes back any more, the message says that the step may still run; one more run finishes."""
    with Proxy(incident.address) as proxy, holding_up(incident, "build"), ends_in_time():

        def swallow():
            wait_until_waiting(incident)
            proxy.frozen = True

        threading.Thread(target=swallow).start()
        with pytest.raises(Failed) as error:
            apply(through(incident, proxy), confirm="staging", budget=BUDGET)
    assert error.value.what == (
        "The step `build` took longer than the budget, and the server did not confirm its cancellation."
    )
    assert "may still run the step there" in error.value.why
    apply(incident, confirm="staging")  # waits for what the lost connection left running
    with psycopg.connect(incident.address, autocommit=True) as connection:
        assert plan_change(read_catalog(connection)).steps == ()


def test_a_rollback_whose_line_is_lost_says_that_chats_are_rejected(incident):
    """A rollback whose connection is cut while the original index is enforced reads the catalog anew, and says so."""
    apply(incident, confirm="staging")
    with Proxy(incident.address) as proxy, old_snapshot(incident):

        def cut():
            wait_until_waiting(incident)
            with psycopg.connect(incident.address, autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'incident_lib migrate' AND datname = current_database()"
                )

        threading.Thread(target=cut).start()
        with pytest.raises(Failed) as error:
            apply(through(incident, proxy), confirm="staging", target=IndexKind.ORIGINAL)
    assert "The index idx_q_threads_family_unique_build is left behind: invalid, still enforced." in error.value.why
    assert "chats are rejected beside runs. `incident apply --env staging" in error.value.why


@pytest.mark.newest
def test_no_step_begins_after_the_budget(incident):
    """A budget that ends between two steps begins no further one, and says so."""

    def slow(progress):
        if (progress.step, progress.phase) == ("build", "done"):
            time.sleep(BUDGET)

    with pytest.raises(Failed) as error:
        apply(incident, confirm="staging", budget=BUDGET, listener=slow)
    assert error.value.what == "The budget ended before the step `swap`."


@contextmanager
def no_standby(server):
    """Synchronous replication to a standby that does not exist: every commit hangs."""
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'missing'")
        admin.execute("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            admin.execute("ALTER SYSTEM RESET synchronous_standby_names")
            admin.execute("SELECT pg_reload_conf()")


@pytest.mark.slow
def test_commits_that_no_standby_confirms_end_in_time(incident, server):
    """A build whose commits hang ends in time, although a cancellation only moves it on to its next commit."""
    done = []
    with no_standby(server), ends_in_time(), suppress(Failed):  # it may even come to its end, cancelled on and on
        apply(incident, confirm="staging", budget=BUDGET, done=done.append)
    assert any(UNCONFIRMED in step.outcome or step.outcome == "failed" for step in done[-1].steps)
    apply(incident, confirm="staging")
    with psycopg.connect(incident.address, autocommit=True) as connection:
        assert plan_change(read_catalog(connection)).steps == ()


CANCEL = """
SELECT pg_cancel_backend(pid) FROM pg_stat_activity
WHERE application_name = 'incident_lib migrate' AND datname = %s AND wait_event = 'SyncRep'"""


@pytest.mark.slow
def test_commits_that_no_standby_confirmed_are_no_plain_success(incident, server):
    """An operator cancels the waits for a standby: the fix is applied, and a warning names what may be undone."""
    done, name = threading.Event(), conninfo.conninfo_to_dict(incident.address)["dbname"]

    def cancel():
        with psycopg.connect(server, autocommit=True) as admin:
            while not done.wait(0.05):
                admin.execute(CANCEL, [name])

    operator = threading.Thread(target=cancel)
    with no_standby(server):
        operator.start()
        try:
            result = apply(incident, confirm="staging", budget=60)
        finally:
            done.set()
            operator.join()
    (check,) = verify_commits(result.steps)
    assert check.status is Status.WARN
    assert check.finding.startswith("no synchronous standby confirmed the commit of build, swap, drop: ")
    assert holds(verify_catalog(result.after))


@pytest.mark.newest
def test_a_read_is_bounded_too(incident):
    """A statement of a snapshot is cancelled at the end of an outer budget."""
    with ends_in_time(), bounded(BUDGET), pytest.raises(OutOfTime) as error, reading(incident, seconds=0) as connection:
        connection.execute("SELECT pg_sleep(60)")
    assert error.value.what == "The environment 'staging' did not answer before the budget ended."
    assert error.value.answered


@pytest.mark.newest
def test_a_connection_is_bounded_too(incident):
    """A server that accepts and never answers is given up at the end of the budget."""
    with Proxy(incident.address) as proxy:
        proxy.frozen = True
        with ends_in_time(), bounded(BUDGET), pytest.raises(Failed), reading(through(incident, proxy)):
            pass


@pytest.mark.newest
def test_without_a_budget_nothing_is_cancelled(incident):
    """Without a budget a statement takes as long as it takes."""
    with connecting(incident, "test") as connection:
        assert connection.execute("SELECT 1 FROM pg_sleep(0.5)").fetchone() == (1,)


@pytest.mark.newest
def test_a_probe_over_a_slow_line_blocks_no_client(environment, connection):
    """Over a line of 0.3 s a probe is one message: a client's update of the same family waits far shorter than that."""
    family = Family(*(connection.execute("SELECT gen_random_uuid(), gen_random_uuid()").fetchone()))
    add(connection, *family, purpose="chat")
    longest, done = [0.0], threading.Event()

    def write():
        with psycopg.connect(environment.address, autocommit=True) as client:
            while not done.is_set():
                began = time.monotonic()
                client.execute("UPDATE public.q_threads SET message_count = 1 WHERE purpose = 'chat'")
                longest.append(time.monotonic() - began)

    with Proxy(environment.address, delay=0.3) as proxy:
        writer = threading.Thread(target=write)
        with sending(through(environment, proxy), "probe") as slow:
            writer.start()
            answers = [probe_families(slow, [family]) for _ in range(3)]
        done.set()
        writer.join()
    assert {answer.attempts for answer in answers} == {1}
    assert max(longest) < 0.5


@pytest.mark.newest
def test_a_dead_line_is_noticed_at_both_ends(incident):
    """Keepalives and the TCP user timeout are set for client and server; what the address sets stays."""
    address = f"{incident.address}&keepalives_idle=77"
    with connecting(Environment("staging", "a test", address), "test") as connection:
        set_ = conninfo.conninfo_to_dict(connection.info.dsn)
        assert {name: int(set_[name]) for name in KEEPALIVE} == KEEPALIVE | {"keepalives_idle": 77}


@pytest.mark.slow
def test_the_transaction_of_the_check_for_a_pooler_ends(incident):
    """Where the line dies while it is open, the server ends it after a few seconds."""
    open_ = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'incident_lib pooler check'"
        " AND datname = current_database() AND xact_start IS NOT NULL AND xact_start < now()"
    )
    with (
        Proxy(incident.address, delay=0.1) as proxy,
        psycopg.connect(incident.address, autocommit=True) as admin,
        ThreadPoolExecutor() as pool,
    ):
        check = pool.submit(is_transaction_pooled, through(incident, proxy))
        deadline = time.monotonic() + 10
        try:
            while admin.execute(f"{open_} AND state = 'idle in transaction'").fetchone() == (0,):
                assert time.monotonic() < deadline
            proxy.frozen = True
            while admin.execute(open_).fetchone() != (0,):
                assert time.monotonic() < deadline
                time.sleep(0.1)
        finally:
            proxy.cut()
        with pytest.raises(Failed):
            check.result()


@pytest.mark.newest
@pytest.mark.slow
@pytest.mark.parametrize("command", ["apply", "rollback", "verify --probe"])
def test_a_command_ends_in_time(incident, command):
    """A command whose line swallows everything from the start ends in time, with a message and exit code 3."""
    with Proxy(incident.address) as proxy:
        proxy.frozen = True
        words = [*command.split(), "--env", "staging", "--confirm", "staging", "--budget", str(BUDGET)]
        began = time.monotonic()
        ran = shell(*words, INCIDENT_STAGING_URL=proxy.address)
        assert time.monotonic() - began < BUDGET + OVER + START
    assert (ran.returncode, "incident: The environment 'staging' cannot be reached." in ran.stderr) == (3, True)


@pytest.mark.newest
@pytest.mark.slow
def test_a_rehearsal_ends_in_time(incident):
    """A rehearsal whose source does not answer any more ends in time, and leaves no scratch database."""
    before = scratch_databases()
    with Proxy(incident.address, delay=0.4) as proxy:
        threading.Timer(1, setattr, [proxy, "frozen", True]).start()
        with ends_in_time(), pytest.raises(Failed):
            rehearse(through(incident, proxy), budget=BUDGET)
    assert scratch_databases() == before
