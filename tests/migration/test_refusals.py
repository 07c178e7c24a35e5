"""What the preflight refutes, `rehearse` and `env check` do not assert."""

from __future__ import annotations

from contextlib import contextmanager
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import conninfo, sql

from incident_lib.analysis import check_access, investigate
from incident_lib.database import Environment, demo, reading
from incident_lib.experiments import rehearse
from incident_lib.migration import run_preflight
from incident_lib.model import INDEX_NAME, Failed, Status
from tests.conftest import add
from tests.migration.test_budget import no_standby
from tests.support.threads import UNREADABLE

pytestmark = pytest.mark.slow
EVENT_TRIGGER = """
CREATE TABLE public.ddl_log (tag text);
CREATE FUNCTION public.watch() RETURNS event_trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO public.ddl_log VALUES (tg_tag); END $$;
CREATE EVENT TRIGGER watch ON ddl_command_start EXECUTE FUNCTION public.watch()"""
ON_CONFLICT = """
CREATE FUNCTION public.upsert() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO public.q_threads (name) VALUES ('') ON CONFLICT (root_prompt_row_id, owner_id) WHERE is_active DO NOTHING;
END $$"""
PREPARED = {
    "event triggers": EVENT_TRIGGER,
    "ON CONFLICT": ON_CONFLICT,
    "indexes": UNREADABLE,
    "duplicates": f"DROP INDEX public.{INDEX_NAME}",
    "table owner": "GRANT SELECT ON public.q_threads TO {role}",
    "schema": "ALTER TABLE public.q_threads OWNER TO {role}; ALTER SCHEMA public OWNER TO postgres",
    "connections": "ALTER TABLE public.q_threads OWNER TO {role}; GRANT CREATE ON SCHEMA public TO {role};"
    " ALTER ROLE {role} CONNECTION LIMIT 2",
    "synchronous standbys": "SELECT 1",
}
AS_ROLE = {"table owner", "schema", "connections"}


@pytest.fixture(scope="module", autouse=True)
def embedded():
    """The running embedded server: a rehearsal neither starts nor stops it."""
    demo.maintenance(18)
    yield
    demo.stop()


@pytest.fixture
def role(server):
    """A role that sees every row, and what other roles do."""
    name = f"plain_{uuid4().hex[:8]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN BYPASSRLS IN ROLE pg_monitor")
        yield name
        connection.execute(f"DROP ROLE {name}")


@contextmanager
def refuting(reason, environment, connection, server, role):
    """The environment as a session finds it for which the preflight fails for this reason."""
    connection.execute(sql.SQL(PREPARED[reason]).format(role=sql.Identifier(role)))
    if reason == "duplicates":
        add(connection, UUID(int=1), UUID(int=7))
        add(connection, UUID(int=1), UUID(int=7))
    address = conninfo.make_conninfo(environment.address, **({"user": role} if reason in AS_ROLE else {}))
    try:
        if reason == "synchronous standbys":
            with no_standby(server):
                yield Environment("staging", "a test", address)
        else:
            yield Environment("staging", "a test", address)
    finally:
        connection.execute(
            sql.SQL("REASSIGN OWNED BY {0} TO CURRENT_USER; DROP OWNED BY {0}").format(sql.Identifier(role))
        )


@pytest.mark.parametrize("reason", PREPARED)
def test_what_the_preflight_refutes_nothing_else_asserts(reason, environment, connection, server, role):
    """A rehearsal says no, or names another command than apply; the rights of a role are not said to suffice."""
    with refuting(reason, environment, connection, server, role) as there:
        with reading(there) as session:
            refuted = run_preflight(session, there, investigate(session)).failures
        report = rehearse(there)
        access = {check.name: check for check in check_access(there)}["apply, rollback"]
    assert reason in {check.name for check in refuted}
    assert "incident apply" not in report.next
    for check in refuted:
        assert check.finding in {each.finding for each in report.waits}
    assert access.status is Status.WARN or access.finding.endswith("`incident plan --env staging` checks the rest")


def test_a_limit_that_leaves_no_connection_is_named(environment, connection, server, role):
    """A role that may not connect once more is told that its limit is reached, not that the server is full."""
    with refuting("connections", environment, connection, server, role) as there:
        connection.execute(sql.SQL("ALTER ROLE {} CONNECTION LIMIT 0").format(sql.Identifier(role)))
        with pytest.raises(Failed) as error, reading(there):
            pass
    assert error.value.why == "The CONNECTION LIMIT of the role or the database is reached."
