"""A client whose line swallows every packet is noticed by the server: its locks are gone within half a minute."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

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
def incidents(far):
    """Three databases with the incident there: of each the address at this end, and the one at the client's end."""
    _, served = far
    with ExitStack() as stack:
        names = [stack.enter_context(served.database()) for _ in range(3)]
        yield [
            (Environment("staging", "a test", clusters.at(served.admin, name)), served.url("owner", name))
            for name in names
        ]


def seconds_until_unlocked(environment):
    """Wait until no session of ours holds a lock; how many seconds that took."""
    began = time.monotonic()
    with psycopg.connect(environment.address, autocommit=True) as connection:
        while connection.execute(LOCKS).fetchone() != (0,):
            assert time.monotonic() < began + SECONDS
            time.sleep(0.1)
    return time.monotonic() - began


def holds_locks(environment):
    """Whether a session of ours holds a lock."""
    with psycopg.connect(environment.address, autocommit=True) as connection:
        return connection.execute(LOCKS).fetchone() != (0,)


def test_the_locks_of_lost_clients_are_released(far, incidents, capsys):
    """The packets of three clients are lost, and so are they: the server ends their sessions.

    Two wait in a step; the third is between two steps: idle, it holds the migration's advisory lock.
    """
    (there, _), (building, dropping, idle) = far, incidents
    command = [*there.within, sys.executable, "-c", HOLD, idle[1]]
    children = []
    with ExitStack() as stack:
        for step, (here, address) in (("build", building), ("drop", dropping)):
            stack.enter_context(holding_up(here, step))
            children.append(Migrator(address, within=there.within))
            assert children[-1].until(f"begin {step}")
            wait_until_waiting(here)
        client = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert client.stdout.readline() == "held\n"
        there.swallow()
        for child in children:
            child.process.kill()
        client.kill()
        assert [holds_locks(here) for here, _ in incidents] == [True] * 3
        with ThreadPoolExecutor() as pool:
            seconds = list(pool.map(seconds_until_unlocked, [here for here, _ in incidents]))
        for child in children:
            child.finish()
    there.pass_on()
    with capsys.disabled():
        told = ", ".join(f"{each:.1f} s" for each in seconds)
        print(f"\n  locks of lost clients in a build, in a drop, between two steps: gone after {told}")
    for here, _ in incidents:
        apply(here, confirm="staging")
