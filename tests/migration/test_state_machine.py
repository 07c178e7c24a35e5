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

from incident_lib.analysis import read_subject
from incident_lib.database import NewThread, clients, connections, read_catalog, reading
from incident_lib.migration import executor, monitor
from incident_lib.migration.executor import STEPPED_BACK, apply
from incident_lib.migration.plan import catalog_after, plan_change
from incident_lib.migration.preflight import run_preflight
from incident_lib.migration.script import migration_script
from incident_lib.model.catalog import IndexState
from incident_lib.model.change import PURPOSE, SIDES, IndexKind
from incident_lib.model.errors import Failed, Refused
from incident_lib.model.threads import Family
from tests.support.examples import SLACK, SOAK, rounds
from tests.support.psql import psql
from tests.support.scenes import SCENES
from tests.support.sessions import old_snapshot, wait_until_waiting

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

INDEXES = """
SELECT c.relname, array_length(string_to_array(i.indkey::text, ' '), 1), i.indisvalid, i.indisready, i.indislive
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = %s::regclass AND i.indisunique AND NOT i.indisprimary
"""


class Stopped(Exception):
    """A migration is stopped between two steps."""


@dataclass(frozen=True)
class Row:
    """A row of the model: its values by column, and whether the indexes cover it."""

    values: tuple[tuple[str, object], ...]
    active: bool = True

    def key(self, parts):
        """The values of a key."""
        values = dict(self.values)
        return tuple(values[part] for part in parts)


def thread(family, provider, purpose):
    """A thread."""
    return Row((*zip(PURPOSE.before.parts, family, strict=True), ("provider", provider), ("purpose", purpose)))


def product(tenant, slug):
    """A product of a shop."""
    return Row((("tenant_id", tenant), ("slug", slug)))


@dataclass(frozen=True)
class IndexSpec:
    """An index of the model."""

    kind: IndexKind
    valid: bool = True
    ready: bool = True
    live: bool = True


class Changed(RuleBasedStateMachine):
    """The table, its unique indexes and everybody who changes them; what is expected of them beside it."""

    def __init__(self, environment, mine, scene):
        super().__init__()
        self.environment, self.mine, self.scene, self.change = environment, mine, scene, scene.change
        self.sightless = replace(environment, address=environment.address.replace("//postgres:", f"//{ROLE}:"))
        assert ROLE in self.sightless.address
        self.rows: dict[object, Row] = {}
        self.indexes: dict[str, IndexSpec] = {self.change.index: IndexSpec(IndexKind.ORIGINAL)}

    @initialize()
    def reset(self):
        """Begin as before the change, without a row."""
        self.scene.reset(self.mine)
        self.mine.execute(f"COMMENT ON INDEX {self.change.schema}.{self.change.index} IS '{COMMENT}'")

    # The model

    def conflicts(self, row, kind):
        """The active rows, but this one itself, that have its key in an index of that kind."""
        key = self.change.key(kind)
        mine = row.key(key.parts)
        if None in mine and not key.nulls_not_distinct:
            return []
        return [
            other for other in self.rows.values() if other.active and other is not row and other.key(key.parts) == mine
        ]

    def admits(self, row):
        """Whether the enforced unique indexes admit this row."""
        return not any(self.conflicts(row, index.kind) for index in self.indexes.values() if index.ready)

    def fits(self, kind):
        """Whether the rows allow an index of that kind."""
        return not any(self.conflicts(row, kind) for row in self.rows.values() if row.active)

    def apply(self, environment=None, **options):
        """Make the change."""
        return apply(environment or self.environment, confirm=CONFIRM, change=self.change, **options)

    def steps(self, target):
        """The steps from here, and what stands in the catalog after each of them."""
        catalog = read_catalog(self.mine, self.change)
        for step in plan_change(catalog, target).steps:
            catalog = catalog_after(step, catalog)
            yield step, {i.name: IndexSpec(i.kind, i.valid, i.ready, i.live) for i in catalog.relevant_indexes}

    def stand_alone(self, kind):
        """A unique index of that kind alone, complete, under the official name."""
        self.indexes = {self.change.index: IndexSpec(kind)}

    # Migrations that end

    @rule(sees=st.booleans())
    def migrate(self, sees):
        """The migration ends in the fixed index alone, also by a role that does not see other sessions."""
        if not self.fits(IndexKind.FIXED):
            return
        with self.no_row_touched():
            self.apply(self.environment if sees else self.sightless)
        self.stand_alone(IndexKind.FIXED)

    @rule()
    def roll_back(self):
        """The rollback is refused where families coexist, and ends in the original index alone elsewhere."""
        with reading(self.environment) as connection:
            subject = read_subject(connection, self.change, CONFIRM)
            found = run_preflight(connection, self.environment, subject, IndexKind.ORIGINAL)
        if not self.fits(IndexKind.ORIGINAL):
            with pytest.raises(Refused):
                found.require(CONFIRM)
            return
        found.require(CONFIRM)
        with self.no_row_touched():
            self.apply(target=IndexKind.ORIGINAL)
        self.stand_alone(IndexKind.ORIGINAL)

    @rule(kind=ANY_KIND)
    def build_what_the_data_do_not_allow(self, kind):
        """A change or a rollback that nobody checked fails at its build, and leaves none of it behind."""
        if self.fits(kind):
            return
        for step, stands in self.steps(kind):
            if step.name == "build":
                break
            self.indexes = stands
        with self.no_row_touched(), pytest.raises(Failed) as failed:
            self.apply(target=kind)
        label = self.change.label(kind)
        assert failed.value.what == f"The step `build` failed: the data does not allow the {label} index."

    # Others who use the table at the same time

    @rule(kind=ANY_KIND, sees=st.booleans(), tried=SELDOM)
    def deploy_beside(self, kind, sees, tried):
        """A deploy's DDL queues behind a step: the migration steps back for it, and ends later."""
        name = next((step.name for step, _ in self.steps(kind) if step.name in {"build", "drop"}), None)
        if not tried or name is None or not self.fits(kind):
            return
        with (
            self.no_row_touched(),
            self.session("deploy") as deploy,
            (old_snapshot if name == "build" else self.reader)(self.environment) as holder,
            self.migrating(kind, sees) as migration,
        ):
            wait_until_waiting(self.environment)
            began = time.monotonic()
            deploy.execute(self.scene.deploys[name])
            assert time.monotonic() < began + MAX_BLOCK + SLACK
            holder.rollback()
        assert (name, STEPPED_BACK) in [(step.name, step.outcome) for step in migration.result().steps]
        self.stand_alone(kind)

    @precondition(lambda self: self.indexes[self.change.index].valid)
    @rule(kind=ANY_KIND, sees=st.booleans(), tried=SELDOM)
    def migrate_beside_a_reindex(self, kind, sees, tried):
        """Another session rebuilds the official index when the migration comes: it waits for that, and ends."""
        name = next((step.name for step, _ in self.steps(kind)), None)
        if not tried or name == "swap" or not self.fits(kind):  # a swap tries again: no step waits in the plan
            return
        with self.no_row_touched(), self.session("reindex") as other, ThreadPoolExecutor(1) as pool:
            with old_snapshot(self.environment) as snapshot:
                reindex = pool.submit(other.execute, self.reindex)
                self.until_blocked(other.info.backend_pid, snapshot)
                with self.migrating(kind, sees) as migration:
                    assert migration.waits.wait(10)
                    snapshot.rollback()
            reindex.result()
        assert migration.result().steps[0].name == "wait"
        self.stand_alone(kind)

    @precondition(lambda self: self.indexes[self.change.index].valid)
    @rule(kind=ANY_KIND, sees=st.booleans(), tried=SELDOM)
    def reindex_beside_the_migration(self, kind, sees, tried):
        """Another session wants to rebuild the official index while the migration builds: it goes first."""
        name = next((step.name for step, _ in self.steps(kind)), None)
        if not tried or name != "build" or not self.fits(kind):
            return
        with (
            self.no_row_touched(),
            self.session("reindex") as other,
            ThreadPoolExecutor(1) as pool,
            old_snapshot(self.environment) as snapshot,
            self.migrating(kind, sees) as migration,
        ):
            wait_until_waiting(self.environment)
            reindex = pool.submit(other.execute, self.reindex)
            self.until_blocked(other.info.backend_pid, snapshot)
            snapshot.rollback()
            reindex.result()
        assert migration.result().steps[0].outcome == STEPPED_BACK
        self.stand_alone(kind)

    @rule(kind=ANY_KIND, sees=st.booleans(), tried=SELDOM)
    def run_the_script_beside(self, kind, sees, tried):
        """An operator runs the emitted SQL by psql beside the migration: whoever fails, one more run ends."""
        if not tried or self.change.constraint or not self.fits(kind):
            return
        with self.no_row_touched():
            with ThreadPoolExecutor(1) as pool:
                operator = pool.submit(psql, self.environment, migration_script(kind, self.change))
                with suppress(Failed):
                    self.apply(target=kind, max_block=MAX_BLOCK)
                operator.result()
            self.apply(self.environment if sees else self.sightless, target=kind)
        self.stand_alone(kind)

    @contextmanager
    def migrating(self, kind, sees):
        """A migration in a thread of its own, which has ended at the end of the block."""
        with ThreadPoolExecutor(1) as pool:
            waits = threading.Event()
            environment = self.environment if sees else self.sightless
            future = pool.submit(
                self.apply,
                environment,
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
            connection.execute(f"LOCK TABLE {self.change.path} IN ACCESS SHARE MODE")
            yield connection
            connection.rollback()

    # Migrations that do not end

    @rule(kind=ANY_KIND, number=st.integers(1, 3))
    def stop_between_steps(self, kind, number):
        """A migration or rollback is stopped after some steps; the catalog is as its plan says."""
        if not self.fits(kind):
            return
        way = [stands for _, stands in self.steps(kind)][:number]

        def done(migration):
            if len(migration.steps) == number:
                raise Stopped

        with self.no_row_touched():
            if len(way) < number:
                self.apply(target=kind, done=done)
            else:
                with pytest.raises(Stopped):
                    self.apply(target=kind, done=done)
        if way:
            self.indexes = way[-1]

    @rule(kind=ANY_KIND, late=st.booleans())
    def kill_a_build(self, kind, late):
        """A build is killed before its first scan, or when all is indexed: not enforced, or enforcing."""
        step = next((step for step, _ in self.steps(kind)), None)
        if step is None or step.name != "build" or (late and not self.fits(kind)):
            return
        with psycopg.connect(self.environment.address) as other, self.no_row_touched():
            if late:
                other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                other.execute("SELECT 1")
            else:
                other.execute(f"LOCK TABLE {self.change.path} IN ROW EXCLUSIVE MODE")
            with self.killed(step.sql[0]) as pid:
                self.until_blocked(pid, other)
        self.indexes[step.builds.name] = IndexSpec(kind, valid=False, ready=late)

    @rule(kind=ANY_KIND, late=st.booleans())
    def kill_a_drop(self, kind, late):
        """A drop is killed in its first wait, or in its second: invalid and enforcing as before, or dead."""
        step = next((step for step, _ in self.steps(kind)), None)
        if step is None or step.name != "drop" or step.transaction:
            return
        before = self.indexes[step.drops]
        with (
            psycopg.connect(self.environment.address) as first,
            psycopg.connect(self.environment.address) as second,
            self.no_row_touched(),
        ):
            first.execute(f"LOCK TABLE {self.change.path} IN ACCESS SHARE MODE")
            with self.killed(step.sql[0]) as pid:
                self.until_blocked(pid, first)
                if late:
                    second.execute(f"LOCK TABLE {self.change.path} IN ACCESS SHARE MODE")
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
        before = self.mine.execute(self.versions).fetchall()
        yield
        assert self.mine.execute(self.versions).fetchall() == before

    @property
    def reindex(self):
        """Another session's statement that builds the official index again."""
        return f"REINDEX INDEX CONCURRENTLY {self.change.schema}.{self.change.index}"

    @property
    def versions(self):
        """A query of all versions of rows."""
        return f"SELECT ctid::text, xmin::text, xmax::text FROM {self.change.path} ORDER BY ctid"

    # What always holds

    @invariant()
    def indexs_are_those_of_the_model(self):
        """The catalog holds what the model holds, flags included, and some unique index is enforced."""
        kinds = {len(self.change.key(kind).parts): kind for kind in SIDES}
        rows = self.mine.execute(INDEXES, [self.change.path]).fetchall()
        found = {name: IndexSpec(kinds[columns], *flags) for name, columns, *flags in rows}
        assert found == self.indexes
        assert any(index.ready for index in found.values())

    @invariant()
    def the_state_is_one_that_is_possible(self):
        """The state is never `missing` or `unknown`, and blocks where an original index is enforced."""
        catalog = read_catalog(self.mine, self.change)
        assert catalog.state not in {IndexState.MISSING, IndexState.UNKNOWN}
        assert catalog.blocks is any(g.ready for g in self.indexes.values() if g.kind is IndexKind.ORIGINAL)

    @invariant()
    def the_official_index_keeps_its_comment(self):
        """Whatever unique index has the official name has the comment, once no swap is pending."""
        (comment,) = self.mine.execute(
            "SELECT obj_description(to_regclass(%s), 'pg_class')", [f"{self.change.schema}.{self.change.index}"]
        ).fetchone()
        assert comment == COMMENT

    @invariant()
    def no_key_twice(self):
        """No two rows have the same key, with no NULL in it, from after the change."""
        key = ", ".join(self.change.after.parts)
        whole = " AND ".join(f"{part} IS NOT NULL" for part in self.change.after.parts)
        rows = f"{self.change.path} WHERE {self.change.predicate or 'true'} AND {whole}"
        assert self.mine.execute(f"SELECT FROM {rows} GROUP BY {key} HAVING count(*) > 1").fetchall() == []

    @invariant()
    def rows_are_those_of_the_model(self):
        """The table holds the model's rows and no others."""
        assert self.held() == self.rows


class Incident(Changed):
    """The incident's table and its clients, for `purpose` and for `provider`."""

    def held(self):
        """The rows of the table."""
        query = "SELECT row_id, root_prompt_row_id, owner_id, provider, purpose, is_active FROM public.q_threads"
        return {
            row_id: replace(thread(Family(root, owner), provider, purpose), active=active)
            for row_id, root, owner, provider, purpose, active in self.mine.execute(query).fetchall()
        }

    @rule(family=ANY_FAMILY)
    def chat(self, family):
        """The chat client ends the family's chats, and then gets a new one where the unique indexes let it."""
        wanted = thread(family, "openai", "chat")
        if family.owner:
            for row_id, row in self.rows.items():
                if row.key(PURPOSE.after.parts) == wanted.key(PURPOSE.after.parts):
                    self.rows[row_id] = replace(row, active=False)
        if not self.admits(wanted):
            with pytest.raises(psycopg.errors.UniqueViolation):
                clients.create_chat(self.mine, NewThread(*family))
        else:
            self.rows[clients.create_chat(self.mine, NewThread(*family))] = wanted

    @rule(family=ANY_FAMILY, provider=st.sampled_from(["openai", "manus"]))
    def run(self, family, provider):
        """The run client finds its thread, or gets a new one where the unique indexes let it."""
        wanted = thread(family, provider, "run")
        new = NewThread(*family, provider=provider)
        found = [row_id for row_id, row in self.rows.items() if row == wanted and family.owner]
        if found:
            assert [clients.get_or_create_run(self.mine, new)] == found
        elif not self.admits(wanted):
            with pytest.raises(psycopg.errors.UniqueViolation):
                clients.get_or_create_run(self.mine, new)
        else:
            self.rows[clients.get_or_create_run(self.mine, new)] = wanted

    @precondition(lambda self: any(row.active for row in self.rows.values()))
    @rule(number=st.integers(0, 99))
    def delete(self, number):
        """Somebody deletes one of the active threads."""
        active = [row_id for row_id, row in self.rows.items() if row.active]
        row_id = active[number % len(active)]
        clients.delete_thread(self.mine, row_id)
        self.rows[row_id] = replace(self.rows[row_id], active=False)


class Shop(Changed):
    """A table that has nothing to do with the incident, and those who write it."""

    def held(self):
        """The rows of the table."""
        covered = f"({self.change.predicate or 'true'})"
        query = f"SELECT id, tenant_id, slug, {covered} FROM shop.products"
        return {
            number: replace(product(tenant, slug), active=active)
            for number, tenant, slug, active in self.mine.execute(query).fetchall()
        }

    @rule(tenant=st.integers(1, 3), slug=st.sampled_from(["a", "b", "c"]))
    def insert(self, tenant, slug):
        """A tenant's product is admitted where the unique indexes let it."""
        wanted = product(tenant, slug)
        query = "INSERT INTO shop.products (tenant_id, slug) VALUES (%s, %s) RETURNING id"
        if not self.admits(wanted):
            with pytest.raises(psycopg.errors.UniqueViolation):
                self.mine.execute(query, [tenant, slug])
        else:
            self.rows[self.mine.execute(query, [tenant, slug]).fetchone()[0]] = wanted

    @precondition(lambda self: any(row.active for row in self.rows.values()))
    @rule(number=st.integers(0, 99))
    def delete(self, number):
        """A product is taken out of the index, if that is partial; else it is deleted."""
        active = [row_id for row_id, row in self.rows.items() if row.active]
        row_id = active[number % len(active)]
        if self.change.predicate:
            self.mine.execute("UPDATE shop.products SET deleted_at = now() WHERE id = %s", [row_id])
            self.rows[row_id] = replace(self.rows[row_id], active=False)
        else:
            self.mine.execute("DELETE FROM shop.products WHERE id = %s", [row_id])
            del self.rows[row_id]


def execute(connection, statement, told):
    """Execute a statement that somebody is going to cancel, and note its SQLSTATE."""
    try:
        connection.execute(statement)
    except psycopg.Error as error:
        told.append(error.sqlstate)
    else:
        told.append("00000")


@pytest.mark.timeout(rounds(1200, soak=4 * 3600))
@pytest.mark.slow
@pytest.mark.parametrize("name", SCENES)
def test_in_any_order(environment, connection, monkeypatch, name):
    """Whatever comes in whatever order, no key is held twice, a unique index is enforced, no row is ours."""
    scene = SCENES[name]
    monkeypatch.setattr(executor, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(monitor, "SECONDS_BETWEEN_QUERIES", 0.02)
    monkeypatch.setattr(connections, "TICK", 0.02)
    connection.execute("INSERT INTO public.q_prompts VALUES (%s), (%s)", [UUID(int=1), UUID(int=2)])
    scene.begin(connection)
    connection.execute(f"DROP ROLE IF EXISTS {ROLE}; CREATE ROLE {ROLE} LOGIN")
    connection.execute(f"GRANT CREATE, USAGE ON SCHEMA {scene.change.schema} TO {ROLE}")
    connection.execute(f"ALTER TABLE {scene.change.path} OWNER TO {ROLE}")
    machine = Shop if scene.create else Incident
    run_state_machine_as_test(
        lambda: machine(environment, connection, scene),
        settings=settings(
            # The orders of `provider` are those of `purpose`: the same clients, another key.
            max_examples=rounds(4 if name == "provider" else 6, soak=600),
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
