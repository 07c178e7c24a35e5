"""Settings of role, database and client do not change what is read or done: every session sets its own."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import conninfo, sql

from incident_lib.database import Environment, connecting, reading
from incident_lib.database.connections import KEEPALIVE, engine
from tests.support.command import shell
from tests.support.examples import SOAK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Long enough for a busy machine to send its first statement: until then a session has these.
TIMEOUTS = {
    "transaction_timeout": "1s",
    "statement_timeout": "1s",
    "lock_timeout": "1s",
    "idle_in_transaction_session_timeout": "1s",
    "idle_session_timeout": "1s",
}
DATABASE = {
    "datestyle": "SQL, DMY",
    "timezone": "Asia/Kolkata",
    "intervalstyle": "iso_8601",
    "quote_all_identifiers": "on",
    "search_path": "evil, pg_catalog, public",
    **TIMEOUTS,
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "standard_conforming_strings": "off",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "client_encoding": "SQL_ASCII",
    "jit_above_cost": "0",
    "row_security": "off",
    "enable_indexscan": "off",
}
CLIENT = {
    "PGTZ": "Asia/Kolkata",
    "PGDATESTYLE": "German",
    "PGCLIENTENCODING": "SQL_ASCII",
    "PGOPTIONS": "-c transaction_timeout=1s -c default_transaction_read_only=on",
}
EVIL = """
CREATE SCHEMA evil;
CREATE FUNCTION evil.to_regclass(text) RETURNS regclass LANGUAGE sql AS 'SELECT NULL::pg_catalog.regclass';
CREATE FUNCTION evil.current_database() RETURNS name LANGUAGE sql AS $$SELECT 'evil'::pg_catalog.name$$;
CREATE FUNCTION evil.pg_get_expr(pg_node_tree, oid) RETURNS text LANGUAGE sql AS $$SELECT 'evil'::pg_catalog.text$$;
CREATE FUNCTION evil.pg_try_advisory_lock(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT false';
"""


def answers(environment: Environment, **variables: str) -> tuple[object, ...]:
    """What investigate, apply and verify answer, without times and definitions that differ by name."""
    variables |= {"INCIDENT_STAGING_URL": environment.address}
    read = shell("investigate", "--env", "staging", "--format", "json", "--limit", "5", **variables)
    plan = shell("plan", "--env", "staging", **variables)
    applied = shell("apply", "--env", "staging", "--confirm", "staging", **variables)
    verified = shell("verify", "--env", "staging", **variables)
    codes = [ran.returncode for ran in (read, plan, applied, verified)]
    told = {key: value for key, value in json.loads(read.stdout).items() if key != "at"}
    steps = re.findall(r"^(\w+)\t[\d.]+\t(\w+)$", applied.stdout, re.MULTILINE)
    return codes, told, verified.stdout, steps


@pytest.fixture(scope="module")
def usual(server: str) -> tuple[object, ...]:
    """The answers without any of these settings."""
    from tests.support import clusters

    with clusters.database(server, "incident_template") as address:
        return answers(Environment("staging", "INCIDENT_STAGING_URL", address))


@pytest.fixture
def owned(incident: Environment) -> Iterator[tuple[Environment, psycopg.Connection]]:
    """The incident, and an administrator's session in it."""
    with psycopg.connect(incident.address, autocommit=True) as admin:
        yield incident, admin


def groups(names: Iterable[str], size: int) -> list[tuple[str, ...]]:
    """So many names at once; each alone in `make soak`, which tells which of them it was."""
    each, step = [*names], 1 if SOAK else size
    return [tuple(each[first : first + step]) for first in range(0, len(each), step)]


@pytest.mark.slow
@pytest.mark.parametrize("settings", groups(DATABASE, 4), ids="+".join)
def test_settings_of_the_database_change_no_answer(owned, usual, settings):
    """Investigate, plan, apply and verify answer the same as without the settings."""
    environment, admin = owned
    admin.execute(EVIL)
    name = conninfo.conninfo_to_dict(environment.address)["dbname"]
    for setting in settings:
        value = sql.SQL(DATABASE[setting]) if setting == "search_path" else sql.Literal(DATABASE[setting])
        made = sql.SQL("ALTER DATABASE {} SET {} = {}")
        admin.execute(made.format(sql.Identifier(name), sql.Identifier(setting), value))
    assert answers(environment) == usual
    assert usual[0] == [0, 0, 0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("variables", groups(CLIENT, 2), ids="+".join)
def test_variables_of_the_client_change_no_answer(incident, usual, variables):
    """Investigate, plan, apply and verify answer the same as without libpq's variables."""
    assert answers(incident, **{variable: CLIENT[variable] for variable in variables}) == usual


@pytest.mark.parametrize("opened", [reading, lambda environment: connecting(environment, "test")])
def test_no_timeout_of_the_database_is_kept(owned, opened):
    """A session has its own timeouts, or none, whatever the database sets."""
    environment, admin = owned
    name = sql.Identifier(conninfo.conninfo_to_dict(environment.address)["dbname"])
    for setting, value in TIMEOUTS.items():
        admin.execute(
            sql.SQL("ALTER DATABASE {} SET {} = {}").format(name, sql.Identifier(setting), sql.Literal(value))
        )
    with opened(environment) as connection:
        kept = {setting: connection.execute(f"SHOW {setting}").fetchone() for setting in TIMEOUTS}
    open_transaction = opened is reading  # in a transaction, idle_session_timeout has no effect
    assert [name for name, value in kept.items() if value == ("1s",)] == ["idle_session_timeout"] * open_transaction


@pytest.mark.parametrize("opened", [reading, lambda environment: connecting(environment, "test")])
def test_times_are_utc(owned, opened):
    """A session shows times in UTC, whatever the role's time zone is."""
    environment, admin = owned
    admin.execute("ALTER ROLE postgres SET timezone = 'Asia/Kolkata'")
    try:
        with opened(environment) as connection:
            assert connection.execute("SHOW timezone").fetchone() == ("UTC",)
    finally:
        admin.execute("ALTER ROLE postgres RESET timezone")


def test_an_analysts_engine_has_the_same_settings(incident):
    """The SQLAlchemy engine for queries of one's own reads in UTC, with a statement timeout."""
    with engine(incident).connect() as connection:
        settings = connection.exec_driver_sql(
            "SELECT current_setting('timezone'), current_setting('statement_timeout'), current_setting('search_path')"
        ).one()
    assert tuple(settings) == ("UTC", "1min", "pg_catalog, public, pg_temp")


def test_what_a_trigger_needs_stays_visible(owned):
    """A session that writes keeps the role's search_path, behind pg_catalog: triggers may depend on it."""
    environment, _ = owned
    with connecting(environment, "test") as connection:
        assert connection.execute("SHOW search_path").fetchone() == ('pg_catalog, "$user", public',)


def test_an_empty_search_path(owned, monkeypatch):
    """A client without any search_path connects, too."""
    environment, _ = owned
    monkeypatch.setenv("PGOPTIONS", "-c search_path=")
    with connecting(environment, "test") as connection:
        assert connection.execute("SHOW search_path").fetchone() == ("pg_catalog",)


def test_a_service_sets_its_own_time_outs(incident, tmp_path, monkeypatch):
    """What the libpq service sets of keepalives and time-outs stays; the rest is ours."""
    parts = conninfo.conninfo_to_dict(incident.address)
    lines = [f"{key}={value}" for key, value in (parts | {"tcp_user_timeout": 7000}).items()]
    (tmp_path / "services").write_text("[staging]\n" + "\n".join(lines))
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    with connecting(Environment("staging", "a service", "service=staging"), "test") as connection:
        given = connection.info.get_parameters()
    assert {name: int(given[name]) for name in KEEPALIVE} == KEEPALIVE | {"tcp_user_timeout": 7000}
