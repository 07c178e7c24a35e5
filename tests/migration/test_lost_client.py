"""A client whose line swallows every packet is noticed by the server: its locks are gone within half a minute."""

from __future__ import annotations

import subprocess
import sys
import time

import psycopg
import pytest

from incident_lib.database import Environment
from incident_lib.migration.executor import apply
from tests.support import clusters, tcp
from tests.support.line import NETWORK, SERVER, line
from tests.support.migrator import Migrator
from tests.support.sessions import holding_up, wait_until_waiting

pytestmark = pytest.mark.slow
SECONDS = 30.0  # until the locks of a lost client are gone
SESSIONS = "FROM pg_stat_activity WHERE application_name ~ '^incident_lib' AND datname = current_database()"
LOCKS = f"SELECT count(*) FROM pg_locks WHERE pid IN (SELECT pid {SESSIONS})"
# Holds the lock of a migration, and sends nothing: a client between two steps.
HOLD = """
import sys, time
from incident_lib.database import Environment, connecting
from incident_lib.migration.lock import migration_lock
with (
    connecting(Environment("staging", "a test", sys.argv[1]), "migrate") as connection,
    migration_lock(connection, time.monotonic() + 60, lambda _: None, wait=False),
):
    print("held", flush=True)
    time.sleep(120)
"""


@pytest.fixture(scope="module")
def far():
    """A client's network, and a server that listens there."""
    with line() as there, tcp.serving(SERVER, NETWORK) as served:
        yield there, served


@pytest.fixture
def incident(far):
    """The incident there: its address at this end, and the one at the client's end."""
    _, served = far
    with served.database() as name:
        here = Environment("staging", "a test", clusters.at(served.admin, name))
        yield here, served.url("owner", name)


def seconds_until_unlocked(environment):
    """Wait until no session of ours holds a lock; how many seconds that took."""
    began = time.monotonic()
    with psycopg.connect(environment.address, autocommit=True) as connection:
        assert connection.execute(LOCKS).fetchone() != (0,)
        while connection.execute(LOCKS).fetchone() != (0,):
            assert time.monotonic() < began + SECONDS
            time.sleep(0.1)
    return time.monotonic() - began


@pytest.mark.parametrize("step", ["build", "drop"])
def test_the_locks_of_a_lost_client_in_a_step_are_released(far, incident, step, capsys):
    """While a step waits, its client's packets are lost, and so is the client: the server ends its sessions."""
    (there, _), (here, address) = far, incident
    with holding_up(here, step):
        child = Migrator(address, within=there.within)
        assert child.until(f"begin {step}")
        wait_until_waiting(here)
        there.swallow()
        child.kill("SIGKILL", here.address)
        seconds = seconds_until_unlocked(here)
        child.finish()
    there.pass_on()
    with capsys.disabled():
        print(f"\n  locks of a lost client in the step {step}: gone after {seconds:.1f} s")
    apply(here, confirm="staging")


def test_the_lock_of_a_lost_client_between_two_steps_is_released(far, incident, capsys):
    """A session that is idle, and holds the migration's advisory lock, ends as well."""
    (there, _), (here, address) = far, incident
    command = [*there.within, sys.executable, "-c", HOLD, address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout.readline() == "held\n"
        there.swallow()
        client.kill()
        seconds = seconds_until_unlocked(here)
    there.pass_on()
    with capsys.disabled():
        print(f"\n  lock of a lost client between two steps: gone after {seconds:.1f} s")
    apply(here, confirm="staging")
