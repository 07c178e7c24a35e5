"""Sessions that hold up a migration, deploys that wait for it, and waiting until the migration waits."""

import math
import threading
import time
from contextlib import contextmanager

import psycopg

from incident_lib.model.change import INDEX_NAME

# Deploys that queue behind a step. Reads and writes queue behind the first one, too; beside a reader that holds a drop
# up it would wait for the reader.
ALTER = "ALTER TABLE public.q_threads ALTER COLUMN name SET STATISTICS 50"
DEPLOYS = {"build": f"{ALTER}, ADD COLUMN IF NOT EXISTS added int", "swap": ALTER, "drop": ALTER}


@contextmanager
def holding_up(environment, step):
    """Another session's open transaction that makes one step wait: a writer's, a rename's, a reader's."""
    statement = {
        "build": "UPDATE public.q_threads SET message_count = 1"
        " WHERE row_id = (SELECT row_id FROM public.q_threads LIMIT 1)",
        "swap": f"COMMENT ON INDEX public.{INDEX_NAME} IS 'never committed'",
        "drop": "SELECT count(*) FROM public.q_threads",
    }[step]
    with psycopg.connect(environment.address, application_name=f"holds up {step}") as connection:
        connection.execute(statement)
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
