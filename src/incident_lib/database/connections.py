"""The only ways to connect to an environment: one read-only snapshot, or an autocommit connection."""

from __future__ import annotations

import math
import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import conninfo, sql

from incident_lib.database.diagnosis import connection_failure, translate_errors
from incident_lib.model import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from incident_lib.database.environments import Environment

CONNECT_SECONDS = 10
STATEMENT_SECONDS = 60.0

Connection = psycopg.Connection[tuple[Any, ...]]


@contextmanager
def reading(environment: Environment, *, seconds: float | None = None) -> Iterator[Connection]:
    """A connection inside one read-only snapshot, through any pooler; no transaction stays open after it.

    Args:
        environment: which database.
        seconds: the statement_timeout (0: no limit); by default that of INCIDENT_TIMEOUT.

    Yields:
        A connection in a REPEATABLE READ, READ ONLY transaction: PostgreSQL itself rejects writes.

    Raises:
        UsageError: INCIDENT_TIMEOUT is not a number of seconds.
        Failed: the environment cannot be reached, or a statement failed; the message has no address and no values.
    """
    limit = statement_seconds() if seconds is None else seconds
    with connecting(environment, "investigate") as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with translate_errors(environment.name), connection.transaction():
            settings = {
                "timezone": "UTC",
                "datestyle": "ISO",
                "jit": "off",  # compiling takes longer than it saves: 0.3 s for each query, measured on 15
                "statement_timeout": _milliseconds(limit),
                "lock_timeout": _milliseconds(2),
                "idle_in_transaction_session_timeout": _milliseconds(max(60, limit)),
            }
            connection.execute(sql.SQL("; ").join(_local(*setting) for setting in settings.items()))  # one round trip
            yield connection


def statement_seconds() -> float:
    """How long a read-only statement may take: INCIDENT_TIMEOUT, else a minute.

    Raises:
        UsageError: the variable is not a number of seconds.
    """
    given = os.environ.get("INCIDENT_TIMEOUT") or str(STATEMENT_SECONDS)
    if not re.fullmatch(r"\d+(\.\d*)?", given):
        raise UsageError(
            "INCIDENT_TIMEOUT is not a number of seconds.", f"It is {given!r}.", "Set it like 300; 0 is no limit."
        )
    return float(given)


def _milliseconds(seconds: float) -> str:
    return f"{math.ceil(seconds * 1000)}ms"


@contextmanager
def connecting(environment: Environment, activity: str) -> Iterator[Connection]:
    """An autocommit connection whose application_name says what it does; closed at the end.

    Raises:
        Failed: the environment cannot be reached, or a statement failed; the message has no address and no values.
    """
    connection = _connect(environment, activity, autocommit=True)
    with connection, translate_errors(environment.name):
        yield connection


def _connect(environment: Environment, activity: str, *, autocommit: bool) -> Connection:
    options: dict[str, Any] = {"application_name": f"incident_lib {activity}", "prepare_threshold": None}
    if "connect_timeout" not in conninfo.conninfo_to_dict(environment.address):
        options["connect_timeout"] = CONNECT_SECONDS
    try:
        return psycopg.connect(environment.address, autocommit=autocommit, **options)
    except (psycopg.Error, UnicodeError) as error:  # libpq raises no error of its own for an impossible host name
        raise connection_failure(environment.name, environment.source, str(error)) from None


def is_transaction_pooled(environment: Environment) -> bool:
    """Whether a pooler gives the backends of our sessions to other clients between transactions.

    Through such a pooler a session's settings leak to other clients, and an advisory lock is stranded. It shows in
    two ways: another connection's transaction runs on our backend, or our backend changes (measured on PgBouncer 1.18).
    """
    with connecting(environment, "pooler check") as one, connecting(environment, "pooler check") as two:
        mine = _backend(one)
        with two.transaction():
            return _backend(two) == mine or _backend(one) != mine


def _backend(connection: Connection) -> int:
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return int(row[0]) if row else 0


def set_local(connection: Connection, setting: str, value: str) -> None:
    """Set a setting for the rest of the transaction."""
    connection.execute(_local(setting, value))


def _local(setting: str, value: str) -> sql.Composed:
    return sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(setting), sql.Literal(value))


def engine(environment: Environment) -> Engine:
    """A SQLAlchemy engine whose every connection is read-only at the server, for an analyst's own queries."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    def connect() -> Connection:
        return _connect(environment, "notebook", autocommit=False)

    made = create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool, hide_parameters=True)
    return made.execution_options(postgresql_readonly=True, isolation_level="REPEATABLE READ")
