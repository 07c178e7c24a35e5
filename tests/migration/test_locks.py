"""What a migration locks, and whom it makes wait: seen from outside, all the while."""

from __future__ import annotations

import threading

import psycopg
import pytest

from incident_lib.database import clients
from incident_lib.migration.executor import apply
from incident_lib.model.change import IndexKind

EVERY_VERSION = True
ALLOWED = {"AccessShareLock", "RowShareLock", "RowExclusiveLock", "ShareUpdateExclusiveLock"}

SAMPLE = """
SELECT l.mode, l.granted, a.application_name
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.relation = 'public.q_threads'::regclass AND a.datname = current_database()
  AND a.application_name LIKE 'incident_lib%%'
"""
WAITING = """
SELECT count(*) FROM pg_stat_activity w
WHERE w.datname = current_database() AND w.application_name = 'client' AND w.wait_event_type = 'Lock'
  AND EXISTS (SELECT FROM unnest(pg_blocking_pids(w.pid)) AS b (pid) JOIN pg_stat_activity a ON a.pid = b.pid
              WHERE a.application_name LIKE 'incident_lib%%')
"""


class Sampler:
    """Looks at the locks as fast as it can, while clients write."""

    def __init__(self, address: str) -> None:
        self.address, self.modes, self.waiting, self.looks, self.written = address, set(), 0, 0, 0
        self._done = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._look, self._write)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _look(self):
        with psycopg.connect(self.address, autocommit=True) as connection:
            while not self._done.is_set():
                self.modes |= {row[0] for row in connection.execute(SAMPLE)}
                self.waiting += connection.execute(WAITING).fetchone()[0]
                self.looks += 1

    def _write(self):
        with psycopg.connect(self.address, autocommit=True, application_name="client") as connection:
            (root,) = connection.execute("SELECT row_id FROM public.q_prompts LIMIT 1").fetchone()
            while not self._done.is_set():
                row_id = clients.insert_thread(connection, clients.NewThread(root, None))
                clients.delete_thread(connection, row_id)
                self.written += 1


@pytest.fixture
def sampled(incident):
    """What was seen while the fix was applied, rolled back and applied again, five times, under writes."""
    with Sampler(incident.address) as sampler:
        for _ in range(5):
            apply(incident, confirm="staging")
            apply(incident, confirm="staging", target=IndexKind.ORIGINAL)
        apply(incident, confirm="staging")
    return sampler


def test_no_lock_on_the_table_that_a_read_or_a_write_waits_for(sampled):
    """SHARE UPDATE EXCLUSIVE is seen on the table, and nothing stronger; no client ever waits for us."""
    assert (sampled.modes - ALLOWED, sampled.waiting) == (set(), 0)
    assert "ShareUpdateExclusiveLock" in sampled.modes
    assert sampled.looks > 20
    assert sampled.written > 20
