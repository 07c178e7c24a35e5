"""Whatever cuts a migration off, at whatever step: one more run ends it, and nothing stays behind."""

from __future__ import annotations

import threading
import time
from itertools import product

import psycopg
import pytest

from incident_lib.database import fetch_all, fetch_one, read_catalog
from incident_lib.migration.executor import apply
from incident_lib.migration.lock import LOCK_KEY
from incident_lib.migration.plan import plan_change
from incident_lib.model.change import INDEX_NAME, IndexKind
from incident_lib.model.errors import Failed, Refused
from tests.support.examples import SOAK
from tests.support.migrator import Migrator
from tests.support.proxy import Proxy
from tests.support.sessions import holding_up, wait_until_waiting

EVERY_VERSION = True
pytestmark = pytest.mark.slow
COMMENT = "one active thread per prompt family and user"


def held_locks(environment):
    """How many sessions hold the lock of migrations."""
    with psycopg.connect(environment.address, autocommit=True) as connection:
        return len(fetch_all(connection, "migration/lock_holder", {"key": LOCK_KEY}))


def catalog_of(environment):
    with psycopg.connect(environment.address, autocommit=True) as connection:
        return read_catalog(connection)


def checksum(environment):
    with psycopg.connect(environment.address, autocommit=True) as connection:
        return fetch_one(connection, "analysis/checksum")


def interrupt(environment, how, step):
    """Cut a migration off inside a step, and let go of what held it up; its exit code and message."""
    with holding_up(environment, step):
        child = Migrator(environment.address)
        assert child.until(f"begin {step}")
        wait_until_waiting(environment)
        child.kill(how, environment.address)
        return child.finish()


ALL_CUTS = list(product(("build", "swap", "drop"), ("SIGKILL", "SIGINT", "terminate")))
# Each step and each way; in soak's numbers each step in each way.
CUTS = ALL_CUTS if SOAK else [*ALL_CUTS[::4], ("build", "terminate"), ("drop", "SIGKILL")]


@pytest.mark.parametrize(("step", "how"), CUTS)
def test_one_more_run_finishes_a_migration_that_was_cut_off(incident, how, step):
    """Killed client, Ctrl-C, terminated backend, inside any step: one more run ends in the fixed index alone."""
    before = checksum(incident)
    code, _ = interrupt(incident, how, step)
    assert code != 0
    assert any(index.enforced for index in catalog_of(incident).relevant_indexes)
    apply(incident, confirm="staging")
    after = catalog_of(incident)
    assert [(i.name, i.kind, i.usable, i.comment) for i in after.relevant_indexes] == [
        (INDEX_NAME, IndexKind.FIXED, True, COMMENT)
    ]
    assert (held_locks(incident), checksum(incident)) == (0, before)


@pytest.mark.parametrize("step", ["build", "drop"])
def test_one_more_run_finishes_a_migration_whose_connection_was_cut(incident, step):
    """A connection that is cut between client and server is told of as lost, and one more run finishes."""
    with Proxy(incident.address) as proxy, holding_up(incident, step):
        child = Migrator(proxy.address)
        assert child.until(f"begin {step}")
        wait_until_waiting(incident)
        proxy.cut()
        code, message = child.finish()
    assert (code, "The connection was lost." in message) == (3, True)
    apply(incident, confirm="staging")
    assert plan_change(catalog_of(incident)).steps == ()


@pytest.mark.newest
def test_a_second_run_may_refuse(incident):
    """While another migration is running, `wait=False` refuses, and names who holds the lock."""
    with holding_up(incident, "build"):
        child = Migrator(incident.address)
        assert child.until("begin build")
        wait_until_waiting(incident)
        with pytest.raises(Refused) as refused:
            apply(incident, confirm="staging", wait=False)
    assert child.finish()[0] == 0
    assert refused.value.what == "Another migration is running."
    assert "(incident_lib migrate, active, open " in refused.value.why


@pytest.mark.newest
@pytest.mark.parametrize("step", ["build", "drop"])
def test_the_locks_of_a_client_that_was_killed_are_released(incident, step):
    """While a step is held up, the server notices that its client is gone: nobody waits for what nobody watches."""
    with holding_up(incident, step):
        child = Migrator(incident.address)
        assert child.until(f"begin {step}")
        wait_until_waiting(incident)
        child.kill("SIGKILL", incident.address)
        child.finish()
        deadline = time.monotonic() + 2
        while held_locks(incident):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    apply(incident, confirm="staging")
    assert plan_change(catalog_of(incident)).steps == ()


@pytest.mark.newest
def test_a_second_run_watches_the_first_and_then_goes_on(incident):
    """With waiting allowed, a second run tells how far the first one is, and ends in the fixed index."""
    told = []
    with holding_up(incident, "build"):
        first = Migrator(incident.address)
        assert first.until("begin build")
        wait_until_waiting(incident)
        second = Migrator(incident.address)
        time.sleep(0.6)
    assert first.finish()[0] == 0
    assert second.finish()[0] == 0
    apply(incident, confirm="staging", listener=told.append)
    assert (told, plan_change(catalog_of(incident)).steps) == ([], ())


def test_a_build_by_psql_is_waited_for(incident):
    """A build under our name that somebody else's session runs is waited for, and then used."""
    statement = plan_change(catalog_of(incident)).steps[0].sql[0]
    with psycopg.connect(incident.address, autocommit=True, application_name="psql") as other:
        building = threading.Thread(target=other.execute, args=[statement])
        with holding_up(incident, "build"):
            building.start()
            time.sleep(0.5)
            assert [step.name for step in plan_change(catalog_of(incident)).steps] == ["wait", "swap", "drop"]
            with pytest.raises(Refused) as refused:
                apply(incident, confirm="staging", wait=False)
        done = apply(incident, confirm="staging")
        building.join()
    assert "still building idx_q_threads_family_unique_build" in refused.value.why
    assert [step.name for step in done.steps][-2:] == ["swap", "drop"]


@pytest.mark.parametrize(
    ("step", "left"),
    [
        ("build", "idx_q_threads_family_unique_build is left behind: invalid, not enforced."),
        ("drop", "idx_q_threads_family_unique_retired is left behind: invalid, still enforced."),
    ],
)
def test_giving_up_names_who_was_in_the_way_and_what_is_left(incident, step, left):
    """When the budget runs out, the message names the blocker, and what its transaction keeps us from cleaning up."""
    with holding_up(incident, step), pytest.raises(Failed) as failed:
        apply(incident, confirm="staging", budget=2.0)
    assert failed.value.what == f"The step `{step}` took longer than the budget, and was cancelled."
    assert f"(holds up {step}, idle in transaction, open " in failed.value.why
    assert failed.value.why.endswith(f" The index {left}")
    assert failed.value.next == (
        "Ask their owners to end these transactions, or allow more with --budget."
        " Run the same command again: it continues from the catalog."
    )
    apply(incident, confirm="staging")
    assert plan_change(catalog_of(incident)).steps == ()


@pytest.mark.newest
def test_a_swap_that_cannot_have_its_lock_tries_again(incident):
    """A lock on the index that is held for a second delays the swap, and fails nothing."""
    child = Migrator(incident.address)
    with holding_up(incident, "swap"):
        assert child.until("begin swap")
        time.sleep(1)
    assert child.finish() == (0, "")


@pytest.mark.newest
def test_the_incident_ends_when_the_retired_index_stops_rejecting(incident):
    """`ended_at` lies between the reader's end, which the drop waited for, and the end of the drop."""
    with psycopg.connect(incident.address, autocommit=True) as clock:
        with holding_up(incident, "drop"):
            child = Migrator(incident.address)
            assert child.until("begin drop")
            wait_until_waiting(incident)
            (released,) = clock.execute("SELECT clock_timestamp()").fetchone()
        assert child.finish()[0] == 0
        apply(incident, confirm="staging", target=IndexKind.ORIGINAL)
        done = apply(incident, confirm="staging")
        (after,) = clock.execute("SELECT clock_timestamp()").fetchone()
    assert released < done.ended_at < after


@pytest.mark.newest
def test_a_killed_migration_prints_no_address(incident):
    """What a killed migration prints holds no part of the address."""
    _, message = interrupt(incident, "terminate", "build")
    assert incident.address.split("@")[1] not in message
