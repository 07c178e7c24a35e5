"""The preflight's checks of the server: settings, limits, standbys, slots and event triggers, some on a real server."""

from __future__ import annotations

from contextlib import contextmanager
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from incident_lib.database import Environment, fetch_all, fetch_one, read_catalog, reading
from incident_lib.migration import apply, server_checks
from incident_lib.model.change import INDEX_NAME, PURPOSE, IndexKind
from incident_lib.model.checks import Check, Status
from incident_lib.model.plan import Plan, Step

EVERY_VERSION = True
AROUND = {"schema": "public", "table": "q_threads", "columns": ["owner_id", "root_prompt_row_id"], "is_exact": True}
NOTHING = Plan(PURPOSE, IndexKind.FIXED, ())
DROP = Plan(PURPOSE, IndexKind.FIXED, (Step("drop", (), "none", transaction=False, why="why", drops="an_index"),))


def facts(**seen):
    """A server without any limit or odd setting, but for what is given; as `sql/server.sql` has it."""
    usual = {
        "read_only": False,
        "synchronous_commit": "on",
        "transaction_timeout": "0",
        "synchronous_standbys": "",
        "synchronous": 0,
        "free_slots": 90,
        "free_of_role": None,
        "free_of_database": None,
    }
    return usual | seen


def named(name, found):
    """The only check of that name."""
    (only,) = [check for check in found if check.name == name]
    return only


# Settings


def test_usual_settings():
    """A server with the usual settings passes."""
    assert tuple(server_checks.settings(facts(), DROP)) == (
        Check("read only", Status.PASS, "transactions may write by default"),
        Check("synchronous standbys", Status.PASS, "no commit of this role waits for a standby"),
        Check("transaction timeout", Status.PASS, "none is set"),
    )


def test_read_only():
    """A role or database that is read-only by default may have been frozen on purpose."""
    assert named("read only", server_checks.settings(facts(read_only=True), DROP)) == Check(
        "read only",
        Status.WARN,
        "default_transaction_read_only is on for this role or database; "
        "the migration's own session turns it off, since --confirm names the environment",
        "If the database was frozen on purpose, do not apply.",
    )


@pytest.mark.parametrize(("value", "status"), [(None, Status.PASS), ("0", Status.PASS), ("5s", Status.INFO)])
def test_transaction_timeout(value, status):
    """A transaction_timeout is noted; before PostgreSQL 17 there is none."""
    assert named("transaction timeout", server_checks.settings(facts(transaction_timeout=value), DROP)).status is status


@pytest.mark.parametrize(
    ("names", "needed"),
    [
        ("", 0),
        (" ", 0),
        ("a", 1),
        ("*", 1),
        ("a, b", 1),
        ("2 (a, b, c)", 2),
        ("FIRST 1 (a, b)", 1),
        ("first 3(a, b, c)", 3),
        ("ANY 2 (a, b, c)", 2),
        ('"FIRST"', 1),
    ],
)
def test_needed_standbys(names, needed):
    """How many standbys have to confirm a commit follows from the setting."""
    assert server_checks.needed_standbys(names) == needed


@pytest.mark.parametrize("commit", ["on", "remote_write", "remote_apply"])
def test_missing_standbys_stop(commit):
    """Where fewer standbys are connected than each commit waits for, every commit of a migration would hang."""
    seen = facts(synchronous_standbys="ANY 2 (a, b)", synchronous=1, synchronous_commit=commit)
    assert named("synchronous standbys", server_checks.settings(seen, DROP)) == Check(
        "synchronous standbys",
        Status.FAIL,
        "each commit waits for synchronous standbys: 2 needed, 1 connected; the commits of a migration would wait, too",
        "Start the standbys, or change synchronous_standby_names, first.",
    )


@pytest.mark.parametrize("commit", ["off", "local"])
def test_commits_that_wait_for_no_standby(commit):
    """A role whose commits do not wait for standbys is not stopped by their absence."""
    seen = facts(synchronous_standbys="a", synchronous=0, synchronous_commit=commit)
    assert named("synchronous standbys", server_checks.settings(seen, DROP)).status is Status.PASS


def test_standbys_that_may_not_be_seen():
    """A role that may not see the standbys is told so, and what shows them."""
    seen = facts(synchronous_standbys="a", synchronous=None)
    assert named("synchronous standbys", server_checks.settings(seen, DROP)) == Check(
        "synchronous standbys",
        Status.WARN,
        "not known: whether the standbys are connected that each commit waits for (1 needed)",
        "GRANT pg_read_all_stats (or pg_monitor) TO the role of this environment.",
    )


@pytest.mark.parametrize(("commit", "status"), [("on", Status.PASS), ("remote_apply", Status.WARN)])
def test_remote_apply(commit, status):
    """With remote_apply, commits wait for readers on the standby."""
    seen = facts(synchronous_standbys="a", synchronous=1, synchronous_commit=commit)
    assert named("synchronous standbys", server_checks.settings(seen, DROP)).status is status


# Connections


def test_connections():
    """The smallest limit is told."""
    assert server_checks.connections(facts(free_of_role=5)) == Check(
        "connections", Status.PASS, "5 connections can be opened, 3 are needed"
    )


def test_too_few_connections_stop():
    """Each limit that leaves fewer than three connections is named."""
    assert server_checks.connections(facts(free_slots=2, free_of_role=-1, free_of_database=3)) == Check(
        "connections",
        Status.FAIL,
        "a migration needs 3 connections, and max_connections leaves 2 and the role's CONNECTION LIMIT leaves 0",
        "Close other connections, or raise the limit.",
    )


# Replication slots


def slot(**seen):
    """A slot that is in use and keeps nothing, but for what is given."""
    usual = {"name": "s", "active": True, "wal_status": "reserved", "safe_wal_size": None, "kept": 100, "xmin": False}
    return usual | seen


@pytest.mark.parametrize(
    ("row", "status", "text"),
    [
        (slot(), Status.PASS, "1 slot, all in use"),
        (slot(xmin=True), Status.INFO, "s keeps old row versions from VACUUM"),
        (slot(active=False, kept=2_500_000), Status.WARN, "s is not in use, and keeps 2.5 MB of WAL"),
        (slot(active=False, kept=None), Status.WARN, "s is not in use"),
        (slot(wal_status="unreserved"), Status.WARN, "s has the WAL status unreserved"),
        (slot(active=False, wal_status="lost"), Status.WARN, "s has the WAL status lost"),
        (slot(safe_wal_size=1000), Status.PASS, "1 slot, all in use"),
        (
            slot(safe_wal_size=999),
            Status.WARN,
            "s may be lost after 999 bytes of WAL, and the build writes about 1.0 kB",
        ),
    ],
)
def test_slot(row, status, text):
    """A slot that keeps WAL or old rows, or that the build's WAL may invalidate, is named."""
    found = server_checks.slots([row], 1000, DROP)
    assert (found.status, found.finding) == (status, text)


def test_no_slots():
    """A server without slots passes."""
    assert server_checks.slots([], 1000, DROP) == Check("replication slots", Status.PASS, "there are none")


def test_a_plan_without_steps_invalidates_no_slot():
    """Where nothing is left to do, no WAL is written."""
    assert server_checks.slots([slot(safe_wal_size=1)], 1000, NOTHING).status is Status.PASS


# Event triggers


def trigger(**seen):
    """An event trigger that only watches, but for what is given."""
    usual = {"name": "t", "event": "ddl_command_start", "owner": "o", "function": "f()", "drops": True}
    return usual | {"writes": False, "raises": False} | seen


@pytest.mark.parametrize(
    ("row", "status", "text"),
    [
        (trigger(), Status.INFO, "fires"),
        (
            trigger(writes=True),
            Status.FAIL,
            "writes before DROP INDEX CONCURRENTLY, which then fails each time (SQLSTATE 0A000)",
        ),
        (trigger(writes=True, drops=False), Status.INFO, "fires"),
        (trigger(writes=True, event="ddl_command_end"), Status.INFO, "fires"),
        (trigger(raises=True), Status.WARN, "fires, and may raise an error"),
        (
            trigger(writes=None, raises=None),
            Status.WARN,
            "fires; what it does is not known: its source is not in the database",
        ),
    ],
)
def test_event_trigger(row, status, text):
    """An event trigger is named with its owner and function; one that writes before the drop stops."""
    found = server_checks.event_triggers([row], DROP)
    assert (found.status, found.finding) == (status, f"t ({row['event']}, of o, f()) {text}")


def test_the_worst_event_trigger_decides():
    """Of several event triggers the worst decides, and the action names it."""
    found = server_checks.event_triggers([trigger(name="a"), trigger(name="b", writes=True)], DROP)
    assert (found.status, found.action) == (
        Status.FAIL,
        "Ask the owner to restrict b with WHEN TAG IN (…), or to disable it for the migration.",
    )


def test_no_drop_no_failure():
    """Where the plan drops nothing, a trigger that writes makes nothing fail."""
    assert server_checks.event_triggers([trigger(writes=True)], NOTHING).status is Status.INFO


# On a real server


@pytest.fixture
def role(server):
    """A role without any right but that to log in."""
    name = f"plain_{uuid4().hex[:8]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
        yield name
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def as_role(environment, role):
    """The same database for another role."""
    address = psycopg.conninfo.make_conninfo(environment.address, user=role)
    return Environment(environment.name, environment.source, address)


@contextmanager
def altered(connection, what, setting):
    """A setting of a role or a database for a while."""
    connection.execute(f"ALTER {what} SET {setting}")
    yield
    connection.execute(f"ALTER {what} RESET {setting.partition(' ')[0]}")


def seen(environment):
    """What is seen of the server there."""
    with reading(environment) as connection:
        return fetch_one(connection, "migration/server")


def test_a_usual_server(environment):
    """The tests' server has no odd setting and no limit, and connections are left."""
    found = seen(environment)
    usual = facts(transaction_timeout=found["transaction_timeout"], free_slots=found["free_slots"])
    assert (found, found["free_slots"] > 3) == (usual, True)


def test_a_role_that_sees_little(environment, role):
    """A plain role is told that it may not see which standbys confirm commits."""
    assert seen(as_role(environment, role))["synchronous"] is None


def test_the_role_is_read_only(environment, connection, role):
    """A role that is read-only by default is recognized."""
    with altered(connection, f"ROLE {role}", "default_transaction_read_only = on"):
        assert seen(as_role(environment, role))["read_only"]


def test_what_is_set_for_a_role_comes_first(environment, connection, role):
    """What is set for the role comes before what is set for the database."""
    with (
        altered(connection, f"DATABASE {connection.info.dbname}", "default_transaction_read_only = on"),
        altered(connection, f"ROLE {role}", "default_transaction_read_only = off"),
    ):
        assert [seen(environment)["read_only"], seen(as_role(environment, role))["read_only"]] == [True, False]


def test_the_roles_limit(environment, connection, role):
    """Of a role's connection limit, what is left is counted, with our own connection as free."""
    connection.execute(f"ALTER ROLE {role} CONNECTION LIMIT 4")
    with psycopg.connect(as_role(environment, role).address):
        assert seen(as_role(environment, role))["free_of_role"] == 3


def test_the_databases_limit(environment, connection, role):
    """Of a database's connection limit, what is left is counted."""
    connection.execute(f"ALTER DATABASE {connection.info.dbname} CONNECTION LIMIT 10")
    assert seen(as_role(environment, role))["free_of_database"] == 9  # `connection` has the tenth


def triggers(environment):
    """The check of the event triggers there."""
    with reading(environment) as connection:
        tags = ["CREATE INDEX", "ALTER INDEX", "DROP INDEX", "COMMENT"]
        return server_checks.event_triggers(fetch_all(connection, "migration/event_triggers", {"tags": tags}), DROP)


def event_trigger(connection, body, event="ddl_command_start", when=""):
    """An event trigger of that function body."""
    connection.execute(
        "CREATE TABLE public.ddl_log (at timestamptz, tag text);"
        f"CREATE FUNCTION public.watch() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$;"
        f"CREATE EVENT TRIGGER watch ON {event} {when} EXECUTE FUNCTION public.watch()"
    )


LOG = "INSERT INTO public.ddl_log VALUES (now(), tg_tag);"


def test_no_event_triggers(environment):
    """Where there is none, none fires."""
    assert triggers(environment) == Check("event triggers", Status.PASS, "none fires for the plan's statements")


def test_an_event_trigger_that_writes(environment, connection):
    """One that writes a log before each statement stops, and really makes the drop fail."""
    event_trigger(connection, LOG)
    found = triggers(environment)
    assert (found.status, found.finding) == (
        Status.FAIL,
        f"watch (ddl_command_start, of {connection.info.user}, public.watch()) "
        "writes before DROP INDEX CONCURRENTLY, which then fails each time (SQLSTATE 0A000)".replace("public.", ""),
    )
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        connection.execute("DROP INDEX CONCURRENTLY public.idx_q_threads_family_unique")


@pytest.mark.parametrize(
    ("body", "event", "when", "status"),
    [
        (LOG, "ddl_command_end", "", Status.INFO),
        (LOG, "sql_drop", "", Status.INFO),
        (LOG, "ddl_command_start", "WHEN TAG IN ('CREATE INDEX')", Status.INFO),
        (LOG, "ddl_command_start", "WHEN TAG IN ('CREATE TABLE')", Status.PASS),
        (LOG, "ddl_command_start", "WHEN TAG IN ('CREATE TABLE', 'DROP INDEX')", Status.FAIL),
        ("-- INSERT is not what it does\n NULL;", "ddl_command_start", "", Status.INFO),
        ("/* COPY\n */ RAISE NOTICE 'x';", "ddl_command_start", "", Status.INFO),
        ("RAISE EXCEPTION 'frozen';", "ddl_command_start", "WHEN TAG IN ('DROP INDEX')", Status.WARN),
    ],
)
def test_other_event_triggers(environment, connection, body, event, when, status):
    """What an event trigger does to a migration depends on its event, its tags and its source."""
    event_trigger(connection, body, event, when)
    found = triggers(environment).status
    connection.execute("DROP EVENT TRIGGER watch")
    assert found is status


def test_a_disabled_event_trigger(environment, connection):
    """One that is disabled does not fire."""
    event_trigger(connection, LOG)
    connection.execute("ALTER EVENT TRIGGER watch DISABLE")
    assert triggers(environment).status is Status.PASS


def test_an_event_trigger_is_seen_by_every_role(environment, connection, role):
    """Which event triggers there are, and what they do, every role sees."""
    event_trigger(connection, LOG)
    assert triggers(as_role(environment, role)).status is Status.FAIL


def test_an_unused_slot(environment, connection):
    """A slot that is not in use is named."""
    name = f"slot_{uuid4().hex[:8]}"
    connection.execute("SELECT pg_create_physical_replication_slot(%s, true)", [name])
    with reading(environment) as reader:
        rows = [row for row in fetch_all(reader, "migration/replication_slots") if row["name"] == name]
    connection.execute("SELECT pg_drop_replication_slot(%s)", [name])
    found = server_checks.slots(rows, 1000, DROP)
    assert (found.status, found.finding.startswith(f"{name} is not in use, and keeps ")) == (Status.WARN, True)


# The properties of the index


@pytest.fixture
def tablespace(server):
    """A tablespace of the server; it has to be made before the database that uses it."""
    name = f"fast_{uuid4().hex[:8]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("SET allow_in_place_tablespaces = on")
        connection.execute(f"CREATE TABLESPACE {name} LOCATION ''")
        yield name
        connection.execute(f"DROP TABLESPACE {name}")


def special_index(connection, tablespace):
    """The incident's index with a tablespace, a storage parameter and INCLUDE columns."""
    connection.execute(
        f"DROP INDEX public.{INDEX_NAME}; CREATE UNIQUE INDEX {INDEX_NAME} ON public.q_threads"
        " (root_prompt_row_id, owner_id) INCLUDE (purpose, name) WITH (fillfactor = 70)"
        f" TABLESPACE {tablespace} WHERE is_active = true AND root_prompt_row_id IS NOT NULL"
    )


def test_the_new_index_takes_over_properties(tablespace, environment, connection):
    """Tablespace, storage parameters and INCLUDE columns of the old index are those of the new one."""
    special_index(connection, tablespace)
    apply(environment, confirm="staging")
    (index,) = read_catalog(connection).relevant_indexes
    assert (index.kind, index.tablespace, index.storage, index.include) == (
        IndexKind.FIXED,
        tablespace,
        ("fillfactor=70",),
        ("name",),
    )


def test_a_closed_tablespace(tablespace, environment, connection, role):
    """A role that may not create in the index's tablespace is stopped by the preflight."""
    special_index(connection, tablespace)
    with psycopg.connect(as_role(environment, role).address) as plain:
        found = fetch_one(plain, "migration/surroundings", AROUND)
    assert found["closed_tablespaces"] == [tablespace]
