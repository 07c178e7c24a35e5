"""Sessions that hold up a migration, deploys that wait for it, and waiting until the migration waits."""

import math
import threading
import time
from contextlib import contextmanager

import psycopg

from tests.support.scenes import SCENES


@contextmanager
def holding_up(environment, step, scene=SCENES["purpose"]):
    """Another session's open transaction that makes one step wait."""
    with psycopg.connect(environment.address, application_name=f"holds up {step}") as connection:
        connection.execute(scene.holding_up[step])
        yield
        connection.rollback()


@contextmanager
def old_snapshot(environment):
    """Another session's old snapshot: the last wait of a build waits for it, an ALTER TABLE does not."""
    with psycopg.connect(environment.address, application_name="old snapshot") as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT 1")
        yield connection
        connection.rollback()


class Deploys:
    """A deploy's session: whenever it sees that the migration waits, it alters the table, at most so many times.

    Attributes:
        waited: seconds that each ALTER TABLE took.
    """

    def __init__(self, environment, statement, times):
        self.waited = []
        self._environment, self._statement, self._times = environment, statement, times
        self._done, self._thread = threading.Event(), threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()

    def _run(self):
        with psycopg.connect(self._environment.address, autocommit=True, application_name="deploy") as connection:
            while len(self.waited) < self._times and wait_until_waiting(self._environment, self._done):
                began = time.monotonic()
                connection.execute(self._statement)
                self.waited.append(time.monotonic() - began)
                self._done.wait(0.5)


def wait_until_waiting(environment, done=None):
    """Wait until the migration's backend waits for a lock, or tries again to get one.

    False once the event `done` is set; without one it fails after eight seconds.
    """
    deadline = math.inf if done else time.monotonic() + 8
    done = done or threading.Event()
    with psycopg.connect(environment.address, autocommit=True) as connection:
        while time.monotonic() < deadline:
            found = connection.execute(
                "SELECT 1 FROM pg_stat_activity WHERE application_name = 'incident_lib migrate'"
                " AND datname = current_database() AND wait_event_type = 'Lock'"
            ).fetchone()
            if found:
                return True
            if done.wait(0.02):
                return False
    raise AssertionError("the migration never waited")
