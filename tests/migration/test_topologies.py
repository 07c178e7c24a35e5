"""Sessions of other kinds that the migration meets: each is named as what it is, and none is harmed."""

from __future__ import annotations

import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import conninfo

from incident_lib.analysis import read_subject
from incident_lib.database import Environment, read_catalog, reading
from incident_lib.migration import run_preflight
from incident_lib.migration.executor import apply
from incident_lib.model import PURPOSE, Failed, IndexKind
from tests.support import clusters, standby
from tests.support.examples import SOAK
from tests.support.scenes import SCENES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from incident_lib.model import IndexChange
    from tests.support.scenes import Scene

pytestmark = pytest.mark.slow
SETTINGS = {
    "wal_level": "logical",
    "autovacuum_naptime": "1s",
    "max_prepared_transactions": "2",
}
# Only the vacuum that begins as soon as the table is old, and that lasts.
SLOW = """
ALTER TABLE public.q_threads SET (autovacuum_enabled = false, autovacuum_freeze_max_age = 100000,
                                  autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)"""
BURN = """
CREATE TEMP TABLE burnt (number int);
DO $$ BEGIN FOR i IN 1..110000 LOOP
  BEGIN INSERT INTO burnt VALUES (i); EXCEPTION WHEN division_by_zero THEN NULL; END;  -- a transaction id each
END LOOP; END $$"""


@pytest.fixture(scope="module")
def own_server() -> Iterator[str]:
    """A server for the tests of this module, with settings of its own."""
    server = clusters.start(Path(tempfile.mkdtemp(prefix="topologies-")) / "pg18", 18)
    with psycopg.connect(server.get_uri(), autocommit=True) as admin:
        for name, value in SETTINGS.items():
            admin.execute(f"ALTER SYSTEM SET {name} = '{value}'")
    server.stop()
    server.ensure_postgres_running()
    clusters.load_templates(str(server.get_uri()))
    yield str(server.get_uri())
    clusters.remove(server)


@pytest.fixture
def there(own_server: str) -> Iterator[Environment]:
    """The incident on that server."""
    with clusters.database(own_server, "incident_template") as address:
        yield Environment("staging", "INCIDENT_STAGING_URL", address)


# Each change in `make soak`'s numbers; else a unique index and a constraint.
@pytest.fixture(params=SCENES if SOAK else ["purpose", "constraint"])
def scene(request: pytest.FixtureRequest, there: Environment) -> Scene:
    """A change there, with the index from before it."""
    found = SCENES[request.param]
    with psycopg.connect(there.address, autocommit=True) as admin:
        found.begin(admin)
    return found


def findings(environment: Environment, change: IndexChange = PURPOSE) -> dict[str, str]:
    """The preflight's findings, by the name of the check."""
    with reading(environment) as connection:
        found = read_subject(connection, change, "staging")
        checks = run_preflight(connection, environment, found).checks
    return {check.name: f"{check.status}: {check.finding} {check.action}" for check in checks}


def test_a_walsender_that_exports_a_snapshot_is_named(there: Environment, scene: Scene) -> None:
    """The initial copy of a subscription holds a snapshot: the build waits for it, and it is named as a walsender."""
    with psycopg.connect(there.address, autocommit=True, replication="database") as walsender:
        command = b"CREATE_REPLICATION_SLOT copy TEMPORARY LOGICAL pgoutput (SNAPSHOT 'export')"
        result, pid = walsender.pgconn.exec_(command), walsender.info.backend_pid
        assert result.status == psycopg.pq.ExecStatus.TUPLES_OK, result.error_message
        time.sleep(1.1)  # a snapshot of less than a second holds nothing up
        assert "walsender" in findings(there, scene.change)["blocks the build"]
        with pytest.raises(Failed) as error:
            apply(there, confirm="staging", change=scene.change, budget=1.5)
    assert f"walsender, pid {pid} (" in error.value.why
    apply(there, confirm="staging", change=scene.change)


@contextmanager
def wraparound(environment: Environment) -> Iterator[int]:
    """An autovacuum against wraparound that runs on the table: its pid."""
    with psycopg.connect(environment.address, autocommit=True) as admin:
        admin.execute(SLOW)
        admin.execute(
            "INSERT INTO public.q_threads (purpose, name)"
            " SELECT 'run', repeat('x', 2000) FROM generate_series(1, 20000)"
        )
        admin.execute(BURN)
        question = (
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND query LIKE 'autovacuum: VACUUM%q_threads (to prevent wraparound)'"
        )
        deadline = time.monotonic() + 60
        while not (row := admin.execute(question).fetchone()):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield row[0]


def test_an_autovacuum_against_wraparound_is_named(there: Environment) -> None:
    """It yields to no other session: the preflight names it, and a budget that ends while it runs names it, too."""
    with wraparound(there) as pid:
        assert f"autovacuum to prevent wraparound, pid {pid} (" in findings(there)["blocks the build"]
        with pytest.raises(Failed) as error:
            apply(there, confirm="staging", budget=1.5)
        assert f"autovacuum to prevent wraparound, pid {pid} (" in error.value.why


def test_a_reindex_by_another_role_is_not_harmed(there: Environment, scene: Scene) -> None:
    """A role that cannot see what others do waits for a REINDEX CONCURRENTLY of another role; both finish."""
    with psycopg.connect(there.address, autocommit=True) as admin:
        admin.execute("DROP ROLE IF EXISTS plain_owner")
        admin.execute("CREATE ROLE plain_owner LOGIN BYPASSRLS")
        admin.execute(f"ALTER TABLE {scene.change.path} OWNER TO plain_owner")
        admin.execute(f"GRANT CREATE, USAGE ON SCHEMA {scene.change.schema} TO plain_owner")
    address = conninfo.make_conninfo(there.address, user="plain_owner")
    errors: list[BaseException] = []

    def run(action: object) -> threading.Thread:
        def guarded() -> None:
            try:
                action()
            except BaseException as error:  # noqa: BLE001 - whatever it is, the test shows it
                errors.append(error)

        thread = threading.Thread(target=guarded)
        thread.start()
        return thread

    def reindex() -> None:
        with psycopg.connect(there.address, autocommit=True) as other:
            other.execute(f"REINDEX INDEX CONCURRENTLY {scene.change.schema}.{scene.change.index}")

    with psycopg.connect(there.address) as snapshot, psycopg.connect(there.address, autocommit=True) as admin:
        snapshot.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        snapshot.execute("SELECT 1")
        first = run(reindex)
        deadline = time.monotonic() + 10
        while len(read_catalog(admin, scene.change).of(IndexKind.ORIGINAL)) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        second = run(
            lambda: apply(Environment("staging", "a role", address), confirm="staging", change=scene.change, budget=60)
        )
        time.sleep(2)
        snapshot.rollback()
        first.join(60)
        second.join(60)
        assert errors == []
        assert [(i.name, i.kind) for i in read_catalog(admin, scene.change).relevant_indexes] == [
            (scene.change.index, IndexKind.FIXED)
        ]


def test_a_prepared_transaction_is_waited_for(there: Environment, scene: Scene) -> None:
    """A prepared transaction that wrote the table is named while the build waits for it."""
    with psycopg.connect(there.address, autocommit=True) as other:
        other.execute("BEGIN")
        other.execute(f"UPDATE {scene.change.path} SET {scene.touched}")
        other.execute("PREPARE TRANSACTION 'order of user 12345678'")
        with pytest.raises(Failed) as error:
            apply(there, confirm="staging", change=scene.change, budget=1.5)
        other.execute("ROLLBACK PREPARED 'order of user 12345678'")
    assert "prepared transaction" in error.value.why
    assert "12345678" not in str(error.value)


SEEN = 60.0  # seconds: a checkpoint has to be fifteen seconds old, and a standby reports now and then


FEEDBACK = {"hot_standby_feedback": "on", "wal_receiver_status_interval": "1s"}


@pytest.fixture(scope="module")
def servers() -> Iterator[standby.Pair]:
    """A primary and its standby, which reports its readers."""
    with standby.streaming(**FEEDBACK) as servers:
        yield servers


def replicas(environment: Environment, *parts: str) -> None:
    """Wait until the finding about replicas has all of these parts."""
    deadline = time.monotonic() + SEEN
    while not all(part in (found := findings(environment)["replicas"]) for part in parts):
        assert time.monotonic() < deadline, found
        time.sleep(0.5)


def test_a_long_reader_on_a_standby_is_seen(servers: standby.Pair) -> None:
    """A standby with hot_standby_feedback reports its readers, by walsender or slot: an old one is a warning."""
    with standby.another(servers, "with_a_slot", **FEEDBACK) as other:
        other.use_slot("a_slot")
        here, there, beside = (
            clusters.at(address, "incident_template") for address in (servers.primary, servers.standby, other.standby)
        )
        environment = Environment("staging", "a primary", here)
        with (
            psycopg.connect(here, autocommit=True) as primary,
            psycopg.connect(there) as reader,
            psycopg.connect(beside) as reader_by_slot,
        ):
            for each in (reader, reader_by_slot):
                each.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                each.execute("SELECT count(*) FROM public.q_threads")
            primary.execute("SELECT pg_current_xact_id()")
            primary.execute("UPDATE public.q_threads SET message_count = 1 WHERE purpose = 'chat'")
            primary.execute("CHECKPOINT")
            replicas(environment, "info: ")
            replicas(
                environment, "warn: ", "a long transaction reads on ", f"{standby.NAME} (at least ", "with_a_slot (at"
            )
            reader.rollback()
            reader_by_slot.rollback()
            replicas(environment, "info: ")


def test_a_missing_synchronous_standby_stops(servers: standby.Pair) -> None:
    """Where commits wait for a standby that is stopped, the preflight fails; apply would hang."""
    servers.synchronize(standby.NAME)
    address = clusters.at(servers.primary, "incident_template")
    environment = Environment("staging", "a primary", address)
    assert findings(environment)["synchronous standbys"].startswith("pass: ")
    servers.control("-m", "immediate", "stop")
    assert findings(environment)["synchronous standbys"].startswith("fail: ")
    servers.synchronize("")
