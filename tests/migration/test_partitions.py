"""A partitioned table: each partition gets an index, all are attached, and no duplicate gets in meanwhile."""

import itertools
import random
import threading
import time
from uuid import UUID, uuid4

import psycopg
import pytest

from incident_lib.analysis.investigate import investigate
from incident_lib.database import read_catalog, reading
from incident_lib.migration.executor import apply
from incident_lib.migration.plan import catalog_after, plan_change
from incident_lib.migration.preflight import run_preflight
from incident_lib.migration.script import migration_files
from incident_lib.migration.verify import holds, verify_catalog
from incident_lib.model.catalog import IndexState
from incident_lib.model.change import INDEX_NAME, PURPOSE, IndexKind
from incident_lib.model.checks import Status
from incident_lib.model.errors import Failed
from tests.support.command import shell
from tests.support.examples import SLACK, SOAK, rounds
from tests.support.migrator import Migrator
from tests.support.pgbench import pgbench
from tests.support.sessions import old_snapshot, wait_until_waiting

EVERY_VERSION = True
ACTIVE = "WHERE is_active = true AND root_prompt_row_id IS NOT NULL"
KEYS = {"original": "root_prompt_row_id, owner_id", "fixed": "root_prompt_row_id, owner_id, purpose"}
PARTITIONED = f"""
ALTER TABLE public.q_threads RENAME TO threads_before;
DROP INDEX public.{INDEX_NAME};
CREATE TABLE public.q_threads (LIKE public.threads_before INCLUDING DEFAULTS) PARTITION BY HASH (owner_id);
CREATE SCHEMA parts;
CREATE TABLE public.q_threads_0 PARTITION OF public.q_threads FOR VALUES WITH (MODULUS 4, REMAINDER 0);
CREATE TABLE parts.q_threads_1 PARTITION OF public.q_threads FOR VALUES WITH (MODULUS 4, REMAINDER 1);
CREATE TABLE public."Threads of the third partition, with a name of 63 bytes, äöüß" PARTITION OF public.q_threads
    FOR VALUES WITH (MODULUS 4, REMAINDER 2);
CREATE TABLE public.q_threads_3 PARTITION OF public.q_threads FOR VALUES WITH (MODULUS 4, REMAINDER 3)
    PARTITION BY HASH (root_prompt_row_id);
CREATE TABLE public.q_threads_3_0 PARTITION OF public.q_threads_3 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE public.q_threads_3_1 PARTITION OF public.q_threads_3 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE UNIQUE INDEX {INDEX_NAME} ON public.q_threads (root_prompt_row_id, owner_id) {ACTIVE};
COMMENT ON INDEX public.{INDEX_NAME} IS 'one active thread per family';
INSERT INTO public.q_threads SELECT * FROM public.threads_before;
"""
PARTITIONED_ALONE = f"""
CREATE TABLE public.q_threads (row_id uuid, root_prompt_row_id uuid, owner_id uuid, provider text, purpose text,
    is_active boolean, created_at timestamptz) PARTITION BY HASH (owner_id);
CREATE UNIQUE INDEX {INDEX_NAME} ON public.q_threads (root_prompt_row_id, owner_id) {ACTIVE};
"""
LEAVES = 5
MOST = [IndexKind.FIXED, IndexKind.ORIGINAL] if SOAK else [IndexKind.FIXED]  # for what takes seconds in both directions
PLAN = ["create", "build", "build", "build", "create", "build", "build", *["attach"] * 6, "swap", "drop"]
INDEXES = """
SELECT c.relname, i.indisvalid, i.indisready, pg_partition_root(c.oid)::regclass::text, pg_get_indexdef(c.oid)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indisunique AND i.indrelid IN (SELECT relid FROM pg_partition_tree('public.q_threads'))
"""


@pytest.fixture
def parted(incident):
    """An environment whose table is partitioned, one partition of it, too; with the demo's threads."""
    with psycopg.connect(incident.address, autocommit=True) as connection:
        connection.execute(PARTITIONED)
    return incident


@pytest.fixture
def session(parted):
    """A session of the table's owner."""
    with psycopg.connect(parted.address, autocommit=True, application_name="somebody") as connection:
        yield connection


def is_complete(session, kind):
    """Whether each unique index of table and partitions is of this kind, valid, and attached to the official one."""
    rows = session.execute(INDEXES).fetchall()
    assert {(valid, ready) for _, valid, ready, _, _ in rows} == {(True, True)}
    assert {root for *_, root, _ in rows} == {INDEX_NAME}
    assert all(f"({KEYS[kind]})" in definition for *_, definition in rows)
    return len(rows) == LEAVES + 2


class Writers:
    """Sessions that create chats and runs, each twice, so that a duplicate gets in where no index prevents it."""

    def __init__(self, environment, purposes, count=3):
        self._purposes = purposes
        self.longest, self.errors, self.rejected = 0.0, [], 0
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=[environment]) for _ in range(count)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _run(self, environment):
        with psycopg.connect(environment.address, autocommit=True, application_name="writer") as connection:
            for number in itertools.count():
                if self._done.is_set():
                    return
                family = [UUID(int=number % 50), UUID(int=number % 7)]
                for purpose in self._purposes:
                    self._insert(connection, [*family, purpose])
                if number % 5 == 0:
                    self._send(
                        connection, "UPDATE public.q_threads SET is_active = false WHERE owner_id = %s", family[1:]
                    )
                self._done.wait(0.005)

    def _insert(self, connection, values):
        text = (
            "INSERT INTO public.q_threads (root_prompt_row_id, owner_id, purpose, is_active) VALUES (%s, %s, %s, true)"
        )
        try:
            self._send(connection, text, values)
        except psycopg.errors.UniqueViolation:
            self.rejected += 1

    def _send(self, connection, text, values):
        began = time.monotonic()
        try:
            connection.execute(text, values)
        except psycopg.errors.UniqueViolation:
            raise
        except psycopg.Error as error:
            self.errors.append(error)
        finally:
            self.longest = max(self.longest, time.monotonic() - began)


def until_canceled(connection, statement):
    """Execute a statement that another session is going to cancel."""
    with pytest.raises(psycopg.errors.QueryCanceled):
        connection.execute(statement)


def duplicates(session, kind):
    """How many keys of this kind several active threads share."""
    return session.execute(
        f"SELECT count(*) FROM (SELECT FROM public.q_threads {ACTIVE} AND owner_id IS NOT NULL"
        f" GROUP BY {KEYS[kind]} HAVING count(*) > 1) AS t"
    ).fetchone()[0]


class Killed(Exception):
    """Stands for a process that ends after a step."""


def killed_after(environment, count, **options):
    """Apply, and stop once so many steps are done; whether it was stopped."""

    def done(result):
        if len(result.steps) == count:
            raise Killed

    try:
        apply(environment, confirm="staging", done=done, **options)
    except Killed:
        return True
    return False


# The plan


def test_the_plan_of_a_partitioned_table(session):
    """The index of the table, one for each partition, the attaching, the swap, the drop."""
    plan = plan_change(read_catalog(session))
    assert [step.name for step in plan.steps] == PLAN
    assert plan.steps[0].sql == (
        f'CREATE UNIQUE INDEX "{PURPOSE.build_name}" ON ONLY "public"."q_threads"'
        f' ("root_prompt_row_id", "owner_id", "purpose") {ACTIVE}',
    )
    assert plan.steps[1].sql[0].startswith('CREATE UNIQUE INDEX CONCURRENTLY "q_threads_1_')
    assert plan.steps[-1].sql == (f'DROP INDEX "public"."{PURPOSE.retired_name}"',)


def test_the_steps_say_their_locks(session):
    """Where reads or writes wait for a lock, the step says how long; where they do not, it says that."""
    locks = {step.name: step.lock for step in plan_change(read_catalog(session)).steps}
    assert locks["build"].startswith("SHARE UPDATE EXCLUSIVE on public.q_threads_3_1: no read or write waits")
    assert locks["attach"] == (
        "ACCESS EXCLUSIVE on this index of public.q_threads_3: its reads and writes wait, "
        "at most 200 ms per try, then a pause"
    )
    assert locks["drop"] == (
        "ACCESS EXCLUSIVE on public.q_threads and its partitions: reads and writes wait, "
        "at most 500 ms per try, then a pause"
    )
    created = plan_change(read_catalog(session)).steps[0].lock
    assert created == "SHARE on public.q_threads alone: writes through it wait, at most 200 ms per try, then a pause"


def test_names_of_partition_indexes(session):
    """They are at most 63 bytes long, differ, and follow from the partition."""
    plans = [plan_change(read_catalog(session)) for _ in range(2)]
    names = [step.builds.name for step in plans[0].steps if step.builds]
    assert len(set(names)) == len(names) == LEAVES + 2
    assert max(len(name.encode()) for name in names) <= 63
    assert plans[0] == plans[1]


def test_each_plan_is_its_first_step_and_the_plan_from_there(parted, session):
    """After each step the catalog is what the plan expected: the rest of the plan stays the same."""
    planned = [(step.name, step.sql) for step in plan_change(read_catalog(session)).steps]
    left = []

    def done(result):
        rest = [(step.name, step.sql) for step in plan_change(result.after).steps]
        if len(rest) != len(planned) - len(left):
            left.append(rest)

    apply(parted, confirm="staging", done=done)
    assert left == [planned[number:] for number in range(1, len(planned) + 1)]


def test_a_simulated_plan_keeps_an_enforced_index(session):
    """In each catalog that the plan passes through a complete unique index of the table is there."""
    catalog = read_catalog(session)
    for step in plan_change(catalog).steps:
        catalog = catalog_after(step, catalog)
        assert any(index.usable for index in catalog.indexes)
    assert catalog.state is IndexState.FIXED


# Preflight and commands


def test_the_preflight_warns(parted):
    """The preflight does not fail; it says what reads and writes wait for, and sums over the partitions."""
    with reading(parted) as connection:
        checks = run_preflight(connection, parted, investigate(connection))
    found = {check.name: check for check in checks.checks}
    assert checks.safe
    assert found["not partitioned"].status is Status.WARN
    assert "at most half a second per try" in found["not partitioned"].finding
    assert checks.estimate.table_bytes > 0


@pytest.mark.newest
def test_the_commands(parted, monkeypatch):
    """plan, apply, verify and rollback work as on an ordinary table."""
    monkeypatch.setenv("INCIDENT_STAGING_URL", parted.address)

    def ran(*words):
        return shell(*words, "--env", "staging")

    assert ran("investigate").returncode == 0
    planned = ran("plan")
    assert planned.returncode == 0, planned.stderr
    assert planned.stdout.count("ATTACH PARTITION") == LEAVES + 1
    assert ran("verify").returncode == 1
    applied = ran("apply", "--confirm", "staging")
    assert applied.returncode == 0, applied.stderr
    verified = ran("verify", "--probe", "--confirm", "staging")
    assert verified.returncode == 0, verified.stderr
    undone = ran("rollback", "--confirm", "staging")
    assert undone.returncode == 0, undone.stderr
    assert ran("verify").returncode == 1


# Under writers


@pytest.mark.parametrize("target", [IndexKind.FIXED, IndexKind.ORIGINAL])
def test_under_writers(parted, session, target):
    """No duplicate gets in, no writer waits for a second, and one valid index with all partitions is left."""
    if target is IndexKind.ORIGINAL:
        apply(parted, confirm="staging")
    purposes = ("run", "run", "chat") if target is IndexKind.FIXED else ("run", "run")
    with Writers(parted, purposes) as writers:
        time.sleep(0.2)
        result = apply(parted, confirm="staging", target=target, budget=60)
        time.sleep(0.2)
    assert is_complete(session, target)
    assert duplicates(session, target) == 0
    assert writers.rejected > 0
    assert writers.errors == []
    assert writers.longest < SLACK
    assert result.ended_at is not None
    assert session.execute(f"SELECT obj_description('public.{INDEX_NAME}'::regclass)").fetchone() == (
        "one active thread per family",
    )


FAMILY = r"""
\set root random(1, 50)
\set owner random(1, 7)
"""
OF_FAMILY = "lpad(to_hex(:root), 32, '0')::uuid, lpad(to_hex(:owner), 32, '0')::uuid"
CREATES = {
    purpose: FAMILY + "INSERT INTO public.q_threads (root_prompt_row_id, owner_id, purpose, is_active)"
    f" VALUES ({OF_FAMILY}, '{purpose}', true) ON CONFLICT DO NOTHING;"
    for purpose in ("run", "chat")
}
ENDS = FAMILY + f"UPDATE public.q_threads SET is_active = false WHERE (root_prompt_row_id, owner_id) = ({OF_FAMILY});"


@pytest.mark.newest
@pytest.mark.slow
@pytest.mark.parametrize("target", MOST)
def test_under_pgbench(parted, session, target, capsys):
    """Under pgbench no transaction fails or waits for long, and no duplicate gets in."""
    creates = [CREATES["run"], *([CREATES["chat"]] if target is IndexKind.FIXED else [])]
    if target is IndexKind.ORIGINAL:
        apply(parted, confirm="staging")
    with pgbench(parted.address, *creates, ENDS) as taken:
        time.sleep(1)
        apply(parted, confirm="staging", target=target, budget=60)
    assert is_complete(session, target)
    assert duplicates(session, target) == 0
    assert len(taken) > 500
    assert max(taken) < SLACK
    with capsys.disabled():
        print(f"\n  pgbench while a partitioned table got the {target} index: {len(taken)} transactions, ", end="")
        print(f"the longest took {max(taken) * 1000:.0f} ms")


@pytest.mark.newest
def test_a_long_transaction_lets_writers_through(parted, session):
    """While a transaction that has read the table stays open, the drop is tried again; each try is short."""
    killed_after(parted, len(PLAN) - 1)
    with psycopg.connect(parted.address, application_name="reader") as reader:
        reader.execute("SELECT count(*) FROM public.q_threads")
        with Writers(parted, ("run", "run", "chat")) as writers:
            threading.Timer(1.5, reader.rollback).start()
            result = apply(parted, confirm="staging", budget=60)
    assert [step.outcome for step in result.steps] == ["done"]
    assert result.steps[0].seconds > 1
    assert writers.longest < SLACK
    assert is_complete(session, "fixed")


# Interrupted


@pytest.mark.parametrize("target", MOST)
def test_resumed_after_each_step(parted, session, target):
    """Stopped after each step and run again, it goes on from the catalog; a complete index is there at all times."""
    if target is IndexKind.ORIGINAL:
        apply(parted, confirm="staging")
    runs = 0
    while killed_after(parted, 1, target=target):
        runs += 1
        assert any(index.usable for index in read_catalog(session).indexes)
    assert runs == len(PLAN)
    assert is_complete(session, target)


# All, or: after the first index, a first build, an inner table's index, the first and the last attach, the swap.
STOPS = range(1, len(PLAN)) if SOAK else (1, 2, 5, 8, 13, 14)


def test_undone_after_each_step(parted, session):
    """A migration that was stopped anywhere can be undone instead: what is left is what was there before."""
    for count in STOPS:
        assert killed_after(parted, count), count
        apply(parted, confirm="staging", target=IndexKind.ORIGINAL)
        assert is_complete(session, "original"), count


@pytest.mark.slow
def test_killed_under_writers(parted, session):
    """Killed at random instants under writers and run again until it ends: no duplicate, and nothing left over."""
    with Writers(parted, ("run", "run", "chat")) as writers:
        for how in ("SIGKILL", "SIGINT", "terminate"):
            rng = random.Random(how)
            for _ in range(rounds(1, soak=4)):
                migrator = Migrator(parted.address)
                step = rng.choice(["create", "build", "attach", "swap", "drop"])
                if migrator.until(f"begin {step}"):
                    time.sleep(rng.uniform(0, 0.05))
                    migrator.kill(how, parted.address)
                migrator.finish()
                assert any(index.usable for index in read_catalog(session).indexes)
        apply(parted, confirm="staging", budget=60)
    assert is_complete(session, "fixed")
    assert duplicates(session, "fixed") == 0
    assert (writers.errors, writers.longest < 1) == ([], True)


def test_an_invalid_leftover_of_a_partition_is_replaced(parted, session):
    """What a killed build has left on a partition is dropped and built again."""
    killed_after(parted, 1)
    build = plan_change(read_catalog(session)).steps[0].sql[0]
    with old_snapshot(parted), psycopg.connect(parted.address, autocommit=True) as worker:
        pid = worker.info.backend_pid
        thread = threading.Thread(target=until_canceled, args=[worker, build])
        thread.start()
        while session.execute("SELECT pg_blocking_pids(%s)", [pid]).fetchone() == ([],):
            time.sleep(0.01)
        session.execute("SELECT pg_cancel_backend(%s)", [pid])
        thread.join()
    steps = plan_change(read_catalog(session)).steps
    assert [step.name for step in steps] == ["drop", *PLAN[1:]]
    assert steps[0].sql[0].startswith("DROP INDEX CONCURRENTLY")
    apply(parted, confirm="staging")
    assert is_complete(session, "fixed")


@pytest.mark.newest
def test_a_build_steps_back_for_ddl(parted, session):
    """An ALTER TABLE that waits for a partition's build goes first; the leftover of the build is dropped."""
    killed_after(parted, 1)
    results = []
    with old_snapshot(parted):
        run = threading.Thread(target=lambda: results.append(apply(parted, confirm="staging", max_block=0.5)))
        run.start()
        wait_until_waiting(parted)
        began = time.monotonic()
        session.execute("ALTER TABLE parts.q_threads_1 ALTER COLUMN name SET STATISTICS 50")
        assert time.monotonic() - began < 2
    run.join()
    assert [step.outcome for step in results[0].steps][:2] == ["stepped back", "done"]
    assert is_complete(session, "fixed")


def test_a_partition_that_comes_meanwhile(parted, session):
    """A partition that is created between two steps gets its index, too."""
    session.execute("DROP TABLE public.q_threads_0")
    killed_after(parted, 3)
    session.execute(
        "CREATE TABLE public.q_threads_0 PARTITION OF public.q_threads FOR VALUES WITH (MODULUS 4, REMAINDER 0)"
    )
    apply(parted, confirm="staging")
    assert is_complete(session, "fixed")


def test_an_index_of_a_partition_alone_counts(parted, session):
    """An original index that one partition has by itself blocks its chats: verify sees it, apply drops it."""
    apply(parted, confirm="staging")
    session.execute(f"CREATE UNIQUE INDEX own ON parts.q_threads_1 ({KEYS['original']}) {ACTIVE}")
    catalog = read_catalog(session)
    assert catalog.blocks
    assert not holds(verify_catalog(catalog))
    (step,) = plan_change(catalog).steps
    assert step.sql == ('DROP INDEX CONCURRENTLY "parts"."own"',)
    apply(parted, confirm="staging")
    assert holds(verify_catalog(read_catalog(session)))


def test_properties_are_carried_over(parted, session):
    """The storage parameters and INCLUDE columns of each index stay, those of one partition, too."""
    session.execute(f"DROP INDEX public.{INDEX_NAME}")
    session.execute(
        f"CREATE UNIQUE INDEX {INDEX_NAME} ON public.q_threads ({KEYS['original']}) INCLUDE (provider)"
        f" WITH (fillfactor = 80) {ACTIVE}"
    )
    session.execute("ALTER INDEX parts.q_threads_1_root_prompt_row_id_owner_id_provider_idx SET (fillfactor = 70)")
    apply(parted, confirm="staging")
    assert is_complete(session, "fixed")
    rows = session.execute(INDEXES).fetchall()
    assert all("INCLUDE (provider)" in definition for *_, definition in rows)
    assert sorted("fillfactor='70'" in definition for *_, definition in rows) == [False] * (len(rows) - 1) + [True]
    assert all("fillfactor='" in definition for *_, definition in rows)


def test_no_partitions(environment, connection):
    """A partitioned table without partitions: the index of the table is valid at once."""
    connection.execute("DROP TABLE public.q_threads CASCADE")
    connection.execute(PARTITIONED_ALONE)
    apply(environment, confirm="staging")
    assert holds(verify_catalog(read_catalog(connection)))


def test_no_index(parted, session):
    """A partitioned table that has lost its index gets the fixed one."""
    session.execute(f"DROP INDEX public.{INDEX_NAME}")
    assert read_catalog(session).state is IndexState.MISSING
    apply(parted, confirm="staging")
    assert is_complete(session, "fixed")


def test_threads_without_an_owner(parted, session):
    """Threads without an owner are in one partition, and the original and the fixed index ignore them."""
    session.execute(
        "INSERT INTO public.q_threads (root_prompt_row_id, purpose, is_active) SELECT %s, 'run', true"
        " FROM generate_series(1, 2)",
        [uuid4()],
    )
    apply(parted, confirm="staging")
    assert is_complete(session, "fixed")


def test_a_rollback_that_fails_says_what_it_leaves(parted, session):
    """The data of the last partition does not allow the original index: what the others have is named."""
    apply(parted, confirm="staging")
    session.execute("UPDATE public.q_threads SET is_active = false")
    owner = session.execute("SELECT owner_id FROM public.q_threads_3_1 WHERE owner_id IS NOT NULL LIMIT 1").fetchone()[
        0
    ]
    roots = (uuid4() for _ in itertools.count())
    while not session.execute("SELECT 1 FROM public.q_threads_3_1 WHERE is_active").fetchone():
        session.execute(
            "INSERT INTO public.q_threads (root_prompt_row_id, owner_id, purpose, is_active)"
            " VALUES (%(root)s, %(owner)s, 'run', true), (%(root)s, %(owner)s, 'chat', true)",
            {"root": next(roots), "owner": owner},
        )
        session.execute("UPDATE public.q_threads_3_0 SET is_active = false")
    with pytest.raises(Failed) as failed:
        apply(parted, confirm="staging", target=IndexKind.ORIGINAL)
    assert "(SQLSTATE 23505)" in failed.value.why
    assert (
        f"Enforced now: {INDEX_NAME} (fixed, valid), original indexes of 4 partitions alone; "
        "chats are rejected beside runs. `incident apply --env staging --confirm staging` ends that."
    ) in failed.value.why
    apply(parted, confirm="staging")
    assert is_complete(session, "fixed")
    assert not read_catalog(session).blocks


@pytest.mark.newest
def test_the_budget_ends_the_tries(parted, session):
    """Where the drop gets no lock until the budget ends, the message names who held it up."""
    killed_after(parted, len(PLAN) - 1)
    with psycopg.connect(parted.address, application_name="reader") as reader:
        reader.execute("SELECT count(*) FROM public.q_threads")
        began = time.monotonic()
        with pytest.raises(Failed) as failed:
            apply(parted, confirm="staging", budget=2)
        assert time.monotonic() - began < 2 + 5
    assert failed.value.what == "The step `drop` took longer than the budget, and was cancelled."
    assert "(reader" in failed.value.why


@pytest.mark.newest
def test_a_small_max_block(parted, session):
    """A session that waits longer than max_block during a short try: the step steps back, and is done later."""
    killed_after(parted, len(PLAN) - 1)
    with psycopg.connect(parted.address, application_name="reader") as reader:
        reader.execute("SELECT count(*) FROM public.q_threads")
        with Writers(parted, ("run", "run", "chat")) as writers:
            threading.Timer(1.5, reader.rollback).start()
            apply(parted, confirm="staging", budget=60, max_block=0.1)
    assert writers.longest < SLACK
    assert is_complete(session, "fixed")


@pytest.mark.parametrize("target", [IndexKind.FIXED, IndexKind.ORIGINAL])
def test_the_sql_files_refuse(session, target):
    """The SQL files are for an ordinary table: the first one stops, and names the command that can do it."""
    (_, text), *_ = migration_files(target)
    with pytest.raises(psycopg.errors.RaiseException, match="use the incident command"):
        session.execute(text)


@pytest.mark.newest
def test_the_plan_of_a_table_with_many_partitions(parted, session):
    """With many more partitions the migration still comes to an end."""
    session.execute("DROP TABLE public.q_threads_0")
    session.execute(
        "CREATE TABLE public.q_threads_0 PARTITION OF public.q_threads FOR VALUES WITH (MODULUS 4, REMAINDER 0)"
        " PARTITION BY HASH (owner_id)"
    )
    count = rounds(8, soak=20)
    for number in range(count):
        session.execute(
            f"CREATE TABLE public.q_threads_0_{number} PARTITION OF public.q_threads_0"
            f" FOR VALUES WITH (MODULUS {count}, REMAINDER {number})"
        )
    result = apply(parted, confirm="staging")
    assert [step.outcome for step in result.steps] == ["done"] * (len(PLAN) + 2 * count)
    assert holds(verify_catalog(read_catalog(session)))
