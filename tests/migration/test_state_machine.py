"""Clients, migrations, kills, deploys and other operators in any order on a real server, against a model."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg import sql

from incident_lib.analysis.investigate import investigate
from incident_lib.database import NewThread, clients, connections, read_catalog, reading
from incident_lib.migration import executor, monitor
from incident_lib.migration.executor import STEPPED_BACK, apply
from incident_lib.migration.plan import catalog_after, plan_change
from incident_lib.migration.preflight import run_preflight
from incident_lib.migration.script import migration_script
from incident_lib.model.catalog import IndexState
from incident_lib.model.change import INDEX_NAME, PREDICATE, PURPOSE, SIDES, IndexKind
from incident_lib.model.errors import Failed, Refused
from incident_lib.model.threads import Family
from tests.support.examples import SLACK, SOAK
from tests.support.psql import psql
from tests.support.sessions import DEPLOYS, old_snapshot, wait_until_waiting

CONFIRM = "staging"
MAX_BLOCK = 0.05
ROLE = "sightless"  # owns the table, and may not see what other roles' sessions do
COMMENT = "one active thread per prompt family and user"
FAMILIES = [
    Family(UUID(int=1), UUID(int=11)),
    Family(UUID(int=1), UUID(int=12)),
    Family(UUID(int=2), UUID(int=11)),
    Family(UUID(int=1), None),
]
ANY_FAMILY = st.sampled_from(FAMILIES)
ANY_KIND = st.sampled_from([IndexKind.FIXED, IndexKind.ORIGINAL])
# What takes a tenth of a second is tried in each fifth case, except in `make soak`.
SELDOM = st.just(True) if SOAK else st.sampled_from([False, False, False, False, True])
OPPOSITE = {IndexKind.FIXED: IndexKind.ORIGINAL, IndexKind.ORIGINAL: IndexKind.FIXED}

INDEXES = """
SELECT c.relname, array_length(string_to_array(i.indkey::text, ' '), 1), i.indisvalid, i.indisready, i.indislive
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = 'public.q_threads'::regclass AND i.indisunique AND NOT i.indisprimary
"""
DUPLICATES = """
SELECT root_prompt_row_id FROM public.q_threads
WHERE is_active AND root_prompt_row_id IS NOT NULL AND owner_id IS NOT NULL
GROUP BY root_prompt_row_id, owner_id, purpose HAVING count(*) > 1
"""
ROWS = "SELECT row_id, root_prompt_row_id, owner_id, provider, purpose, is_active FROM public.q_threads"
VERSIONS = "SELECT row_id, ctid::text, xmin::text, xmax::text FROM public.q_threads ORDER BY row_id"


REINDEX = f"REINDEX INDEX CONCURRENTLY public.{INDEX_NAME}"


class Stopped(Exception):
    """A migration is stopped between two steps."""


@dataclass(frozen=True)
class Thread:
    """A row of the model."""

    family: Family
    provider: str
    purpose: str
    active: bool = True


@dataclass(frozen=True)
class IndexSpec:
    """An index of the model."""

    kind: IndexKind
    valid: bool = True
    ready: bool = True
    live: bool = True


class Incident(RuleBasedStateMachine):
    """The table, its unique indexes and everybody who uses them; what is expected of them beside it."""

    def __init__(self, environment, mine):
        super().__init__()
        self.environment, self.mine = environment, mine
        self.sightless = replace(environment, address=environment.address.replace("//postgres:", f"//{ROLE}:"))
        assert ROLE in self.sightless.address
        self.rows: dict[UUID, Thread] = {}
        self.indexes: dict[str, IndexSpec] = {INDEX_NAME: IndexSpec(IndexKind.ORIGINAL)}

    @initialize()
    def reset(self):
        """Begin as the incident left it, without a thread."""
        for name, *_ in self.mine.execute(INDEXES).fetchall():
            self.mine.execute(sql.SQL("DROP INDEX public.{}").format(sql.Identifier(name)))
        self.mine.execute("TRUNCATE public.q_threads")
        key = ", ".join(PURPOSE.before.parts)
        self.mine.execute(f"CREATE UNIQUE INDEX {INDEX_NAME} ON public.q_threads ({key}) WHERE {PREDICATE}")
        self.mine.execute(f"COMMENT ON INDEX public.{INDEX_NAME} IS '{COMMENT}'")

    # The model

    def admits(self, family, purpose):
        """Whether the enforced unique indexes admit an active thread of that family and purpose."""
        active = {t.purpose for t in self.rows.values() if t.family == family and t.active}
        enforced = {index.kind for index in self.indexes.values() if index.ready}
        if family.owner is None:
            return True
        return not (active if IndexKind.ORIGINAL in enforced else active & {purpose})

    def coexist(self):
        """Whether a family holds several active threads."""
        active = [t.family for t in self.rows.values() if t.active and t.family.owner]
        return len(active) != len(set(active))

    def steps(self, target):
        """The steps from here, and what stands in the catalog after each of them."""
        catalog = read_catalog(self.mine)
        for step in plan_change(catalog, target).steps:
            catalog = catalog_after(step, catalog)
            yield step, {i.name: IndexSpec(i.kind, i.valid, i.ready, i.live) for i in catalog.relevant_indexes}

    def stand_alone(self, kind):
        """A unique index of that kind alone, complete, under the official name."""
        self.indexes = {INDEX_NAME: IndexSpec(kind)}

    # The clients

    @rule(family=ANY_FAMILY)
    def chat(self, family):
        """The chat client ends the family's chats, and then gets a new one where the unique indexes let it."""
        if family.owner:
            for row_id, thread in self.rows.items():
                if (thread.family, thread.purpose) == (family, "chat"):
                    self.rows[row_id] = replace(thread, active=False)
        if not self.admits(family, "chat"):
            with pytest.raises(psycopg.errors.UniqueViolation):
                clients.create_chat(self.mine, NewThread(*family))
        else:
            row_id = clients.create_chat(self.mine, NewThread(*family))
            self.rows[row_id] = Thread(family, "openai", "chat")

    @rule(family=ANY_FAMILY, provider=st.sampled_from(["openai", "manus"]))
    def run(self, family, provider):
        """The run client finds its thread, or gets a new one where the unique indexes let it."""
        wanted = Thread(family, provider, "run")
        new = NewThread(*family, provider=provider)
        found = [row_id for row_id, thread in self.rows.items() if thread == wanted and family.owner]
        if found:
            assert [clients.get_or_create_run(self.mine, new)] == found
        elif not self.admits(family, "run"):
            with pytest.raises(psycopg.errors.UniqueViolation):
                clients.get_or_create_run(self.mine, new)
        else:
            self.rows[clients.get_or_create_run(self.mine, new)] = wanted

    @precondition(lambda self: any(thread.active for thread in self.rows.values()))
    @rule(number=st.integers(0, 99))
    def delete(self, number):
        """Somebody deletes one of the active threads."""
        active = [row_id for row_id, thread in self.rows.items() if thread.active]
        row_id = active[number % len(active)]
        clients.delete_thread(self.mine, row_id)
        self.rows[row_id] = replace(self.rows[row_id], active=False)

    # Migrations that end

    @rule(sees=st.booleans())
    def migrate(self, sees):
        """The migration ends in the fixed index alone, also by a role that does not see other sessions."""
        with self.no_row_touched():
            apply(self.environment if sees else self.sightless, confirm=CONFIRM)
        self.stand_alone(IndexKind.FIXED)

    @rule()
    def roll_back(self):
        """The rollback is refused where families coexist, and ends in the original index alone elsewhere."""
        with reading(self.environment) as connection:
            found = run_preflight(connection, self.environment, investigate(connection), IndexKind.ORIGINAL)
        if self.coexist():
            with pytest.raises(Refused):
                found.require(CONFIRM)
            return
        found.require(CONFIRM)
        with self.no_row_touched():
            apply(self.environment, confirm=CONFIRM, target=IndexKind.ORIGINAL)
        self.stand_alone(IndexKind.ORIGINAL)

    @precondition(lambda self: self.coexist())
    @rule()
    def roll_back_too_late(self):
        """A rollback that nobody checked fails at its build, and leaves none of it behind."""
        for step, stands in self.steps(IndexKind.ORIGINAL):
            if step.name == "build":
                break
            self.indexes = stands
        with self.no_row_touched(), pytest.raises(Failed) as failed:
            apply(self.environment, confirm=CONFIRM, target=IndexKind.ORIGINAL)
        assert failed.value.what == "The step `build` failed: the data does not allow the original index."

    # Others who use the table at the same time

    @rule(kind=ANY_KIND, sees=st.booleans(), tried=SELDOM)
    def deploy_beside(self, kind, sees, tried):
        """A deploy's DDL queues behind a step: the migration steps back for it, and ends later."""
        name = next((step.name for step, _ in self.steps(kind) if step.name in {"build", "drop"}), None)
        if not tried or name is None or (kind is IndexKind.ORIGINAL and self.coexist()):
            return
        with (
            self.no_row_touched(),
            self.session("deploy") as deploy,
            (old_snapshot if name == "build" else self.reader)(self.environment) as holder,
            self.migrating(kind, sees) as migration,
        ):
            wait_until_waiting(self.environment)
            began = time.monotonic()
            deploy.execute(DEPLOYS[name])
            assert time.monotonic() < began + MAX_BLOCK + SLACK
            holder.rollback()
        assert (name, STEPPED_BACK) in [(step.name, step.outcome) for step in migration.result().steps]
        self.stand_alone(kind)

    @precondition(lambda self: self.indexes[INDEX_NAME].valid)
    @rule(kind=ANY_KIND, sees=st.booleans(), tried=SELDOM)
    def migrate_beside_a_reindex(self, kind, sees, tried):
        """Another session rebuilds the official index when the migration comes: it waits for that, and ends."""
        if not tried or (kind is IndexKind.ORIGINAL and self.coexist()):
            return
        with self.no_row_touched(), self.session("reindex") as other, ThreadPoolExecutor(1) as pool:
            with old_snapshot(self.environment) as snapshot:
                reindex = pool.submit(other.execute, REINDEX)
                self.until_blocked(other.info.backend_pid, snapshot)
                with self.migrating(kind, sees) as migration:
                    assert migration.waits.wait(10)
                    snapshot.rollback()
            reindex.result()
        assert migration.result().steps[0].name == "wait"
        self.stand_alone(kind)

    @precondition(lambda self: self.indexes[INDEX_NAME].valid)
    @rule(kind=ANY_KIND, sees=st.booleans(), tried=SELDOM)
    def reindex_beside_the_migration(self, kind, sees, tried):
        """Another session wants to rebuild the official index while the migration builds: it goes first."""
        name = next((step.name for step, _ in self.steps(kind)), None)
        if not tried or name != "build" or (kind is IndexKind.ORIGINAL and self.coexist()):
            return
        with (
            self.no_row_touched(),
            self.session("reindex") as other,
            ThreadPoolExecutor(1) as pool,
            old_snapshot(self.environment) as snapshot,
            self.migrating(kind, sees) as migration,
        ):
            wait_until_waiting(self.environment)
            reindex = pool.submit(other.execute, REINDEX)
            self.until_blocked(other.info.backend_pid, snapshot)
            snapshot.rollback()
            reindex.result()
        assert migration.result().steps[0].outcome == STEPPED_BACK
        self.stand_alone(kind)

    @rule(kind=ANY_KIND, sees=st.booleans(), tried=SELDOM)
    def run_the_script_beside(self, kind, sees, tried):
        """An operator runs the emitted SQL by psql beside the migration: whoever fails, one more run ends."""
        if not tried or (kind is IndexKind.ORIGINAL and self.coexist()):
            return
        with self.no_row_touched():
            with ThreadPoolExecutor(1) as pool:
                operator = pool.submit(psql, self.environment, migration_script(kind))
                with suppress(Failed):
                    apply(self.environment, confirm=CONFIRM, target=kind, max_block=MAX_BLOCK)
                operator.result()
            apply(self.environment if sees else self.sightless, confirm=CONFIRM, target=kind)
        self.stand_alone(kind)

    @contextmanager
    def migrating(self, kind, sees):
        """A migration in a thread of its own, which has ended at the end of the block."""
        with ThreadPoolExecutor(1) as pool:
            waits = threading.Event()
            environment = self.environment if sees else self.sightless
            future = pool.submit(
                apply,
                environment,
                confirm=CONFIRM,
                target=kind,
                max_block=MAX_BLOCK,
                budget=60,
                listener=lambda progress: waits.set() if progress.step == "wait" else None,
            )
            future.waits = waits
            yield future
            future.result()

    @contextmanager
    def session(self, name):
        """Another session, by name."""
        with psycopg.connect(self.environment.address, autocommit=True, application_name=name) as connection:
            yield connection

    @contextmanager
    def reader(self, environment):
        """Another session's lock of a reader: a drop waits for it."""
        with psycopg.connect(environment.address, application_name="reader") as connection:
            connection.execute("LOCK TABLE public.q_threads IN ACCESS SHARE MODE")
            yield connection
            connection.rollback()

    # Migrations that do not end

    @rule(kind=ANY_KIND, number=st.integers(1, 3))
    def stop_between_steps(self, kind, number):
        """A migration or rollback is stopped after some steps; the catalog is as its plan says."""
        if kind is IndexKind.ORIGINAL and self.coexist():
            return
        way = [stands for _, stands in self.steps(kind)][:number]

        def done(migration):
            if len(migration.steps) == number:
                raise Stopped

        with self.no_row_touched():
            if len(way) < number:
                apply(self.environment, confirm=CONFIRM, target=kind, done=done)
            else:
                with pytest.raises(Stopped):
                    apply(self.environment, confirm=CONFIRM, target=kind, done=done)
        if way:
            self.indexes = way[-1]

    @rule(kind=ANY_KIND, late=st.booleans())
    def kill_a_build(self, kind, late):
        """A build is killed before its first scan, or when all is indexed: not enforced, or enforcing."""
        step = next((step for step, _ in self.steps(kind)), None)
        if step is None or step.name != "build" or (late and kind is IndexKind.ORIGINAL and self.coexist()):
            return
        with psycopg.connect(self.environment.address) as other, self.no_row_touched():
            if late:
                other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                other.execute("SELECT 1")
            else:
                other.execute("LOCK TABLE public.q_threads IN ROW EXCLUSIVE MODE")
            with self.killed(step.sql[0]) as pid:
                self.until_blocked(pid, other)
        self.indexes[step.builds.name] = IndexSpec(kind, valid=False, ready=late)

    @rule(kind=ANY_KIND, late=st.booleans())
    def kill_a_drop(self, kind, late):
        """A drop is killed in its first wait, or in its second: invalid and enforcing as before, or dead."""
        step = next((step for step, _ in self.steps(kind)), None)
        if step is None or step.name != "drop":
            return
        before = self.indexes[step.drops]
        with (
            psycopg.connect(self.environment.address) as first,
            psycopg.connect(self.environment.address) as second,
            self.no_row_touched(),
        ):
            first.execute("LOCK TABLE public.q_threads IN ACCESS SHARE MODE")
            with self.killed(step.sql[0]) as pid:
                self.until_blocked(pid, first)
                if late:
                    second.execute("LOCK TABLE public.q_threads IN ACCESS SHARE MODE")
                    first.rollback()
                    self.until_blocked(pid, second)
        self.indexes[step.drops] = (
            replace(before, valid=False, ready=False, live=False) if late else replace(before, valid=False)
        )

    @contextmanager
    def killed(self, statement):
        """A statement in a session of its own, by its pid; cancelled at the end."""
        with psycopg.connect(self.environment.address, autocommit=True) as worker:
            told = []
            thread = threading.Thread(target=execute, args=[worker, statement, told])
            thread.start()
            yield worker.info.backend_pid
            self.mine.execute("SELECT pg_cancel_backend(%s)", [worker.info.backend_pid])
            thread.join()
        assert told == ["57014"]

    def until_blocked(self, pid, blocker):
        """Wait until a session waits for another one alone."""
        deadline = time.monotonic() + 10
        while self.mine.execute("SELECT pg_blocking_pids(%s)", [pid]).fetchone() != ([blocker.info.backend_pid],):
            assert time.monotonic() < deadline
            time.sleep(0.002)

    @contextmanager
    def no_row_touched(self):
        """No version of a row is made or ended in between."""
        before = self.mine.execute(VERSIONS).fetchall()
        yield
        assert self.mine.execute(VERSIONS).fetchall() == before

    # What always holds

    @invariant()
    def indexs_are_those_of_the_model(self):
        """The catalog holds what the model holds, flags included, and some unique index is enforced."""
        kinds = {len(columns): kind for kind, columns in SIDES.items()}
        found = {
            name: IndexSpec(kinds[columns], *flags) for name, columns, *flags in self.mine.execute(INDEXES).fetchall()
        }
        assert found == self.indexes
        assert any(index.ready for index in found.values())

    @invariant()
    def the_state_is_one_that_is_possible(self):
        """The state is never `missing` or `unknown`, and blocks where an original index is enforced."""
        catalog = read_catalog(self.mine)
        assert catalog.state not in {IndexState.MISSING, IndexState.UNKNOWN}
        assert catalog.blocks is any(g.ready for g in self.indexes.values() if g.kind is IndexKind.ORIGINAL)

    @invariant()
    def the_official_index_keeps_its_comment(self):
        """Whatever unique index has the official name has the comment, once no swap is pending."""
        (comment,) = self.mine.execute(
            "SELECT obj_description(to_regclass(%s), 'pg_class')", [f"public.{INDEX_NAME}"]
        ).fetchone()
        assert comment == COMMENT

    @invariant()
    def no_key_twice(self):
        """At most one active thread of each root, owner and purpose, where there is an owner."""
        assert self.mine.execute(DUPLICATES).fetchall() == []

    @invariant()
    def rows_are_those_of_the_model(self):
        """The table holds the model's rows and no others."""
        found = {
            row_id: Thread(Family(root, owner), provider, purpose, active)
            for row_id, root, owner, provider, purpose, active in self.mine.execute(ROWS).fetchall()
        }
        assert found == self.rows


def execute(connection, statement, told):
    """Execute a statement that somebody is going to cancel, and note its SQLSTATE."""
    try:
        connection.execute(statement)
    except psycopg.Error as error:
        told.append(error.sqlstate)
    else:
        told.append("00000")


@pytest.mark.slow
def test_in_any_order(environment, connection, monkeypatch):
    """Whatever comes in whatever order, no key is held twice, a unique index is enforced, no row is ours."""
    monkeypatch.setattr(executor, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(monitor, "SECONDS_BETWEEN_QUERIES", 0.02)
    monkeypatch.setattr(connections, "TICK", 0.02)
    connection.execute("INSERT INTO public.q_prompts VALUES (%s), (%s)", [UUID(int=1), UUID(int=2)])
    connection.execute(f"DROP ROLE IF EXISTS {ROLE}; CREATE ROLE {ROLE} LOGIN; GRANT CREATE ON SCHEMA public TO {ROLE}")
    connection.execute(f"ALTER TABLE public.q_threads OWNER TO {ROLE}")
    run_state_machine_as_test(
        lambda: Incident(environment, connection),
        settings=settings(
            max_examples=600 if SOAK else 40,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
    connection.execute(f"ALTER TABLE public.q_threads OWNER TO CURRENT_USER; DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")
