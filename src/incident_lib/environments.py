"""Named databases: how a name resolves, and the only two ways to connect to one: to look, and to change."""

from __future__ import annotations

import os
import re
from configparser import ConfigParser
from configparser import Error as ConfigError
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import conninfo, sql

from incident_lib import demo
from incident_lib.errors import Failed, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

DEMO = "demo"
CONNECT_SECONDS = 10
STATEMENT_SECONDS = 60.0

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class Environment:
    """A database by its name. Its address is a secret: no repr, message or record holds it."""

    name: str
    source: str  # how the name resolved, e.g. "INCIDENT_STAGING_URL"
    address: str = field(repr=False)


def resolve(name: str, *, database: str = DEMO) -> Environment:
    """Find the environment of a name: demo, the variable INCIDENT_<NAME>_URL, or the libpq service.

    Args:
        name: letters, digits, `_` and `-`.
        database: on `demo` only, the database of the embedded server.

    Raises:
        UsageError: the name is malformed, resolves to nothing, or to something that is no connection string.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise UsageError(
            f"{name!r} cannot be the name of an environment.",
            "A name is made of letters, digits, `_` and `-`, since it names a variable and a folder.",
            "Use a name like `staging`; put the address in INCIDENT_STAGING_URL.",
        )
    if name == DEMO:
        return Environment(name, "the embedded server", demo.url(database))
    variable = variable_of(name)
    if variable in os.environ:
        return Environment(name, variable, _checked(os.environ[variable], variable))
    if name in services():
        return Environment(name, f"libpq service {name}", conninfo.make_conninfo(service=name))
    raise UsageError(
        f"The environment {name!r} is not known.",
        f"Neither is the variable {variable} set, nor does a pg_service.conf name a service [{name}].",
        f"Set {variable}=postgresql://… , or add [{name}] to ~/.pg_service.conf, or use `demo`.",
    )


def variable_of(name: str) -> str:
    """The variable that holds an environment's URL."""
    return f"INCIDENT_{name.upper().replace('-', '_')}_URL"


def services() -> set[str]:
    """The names of all libpq services of this user and system (PGSERVICEFILE, PGSYSCONFDIR)."""
    user = Path(os.environ.get("PGSERVICEFILE") or Path.home() / ".pg_service.conf")
    files = [user]
    if "PGSYSCONFDIR" in os.environ:
        files.append(Path(os.environ["PGSYSCONFDIR"]) / "pg_service.conf")
    parser = ConfigParser(interpolation=None, strict=False, delimiters=("=",))
    for file in files:
        try:
            parser.read(file)
        except (ConfigError, OSError, UnicodeDecodeError):
            continue
    return set(parser.sections())


def _checked(address: str, variable: str) -> str:
    try:
        known = conninfo.conninfo_to_dict(address)
    except psycopg.ProgrammingError:
        known = {}
    if not known:
        raise UsageError(
            f"{variable} is set, but libpq cannot read it.",
            "It is no connection string; its text is not repeated here, since it may hold a password.",
            f"Set {variable}=postgresql://role@host:5432/database ; escape odd characters as %XX.",
        )
    return address


@contextmanager
def reading(environment: Environment, *, seconds: float = STATEMENT_SECONDS) -> Iterator[Connection]:
    """A connection inside one read-only snapshot, through any pooler, that leaves nothing behind.

    Args:
        environment: which database.
        seconds: how long a statement may take (statement_timeout; 0: no limit).

    Yields:
        A connection in a REPEATABLE READ, READ ONLY transaction: PostgreSQL itself refuses writes.

    Raises:
        Failed: not to be reached, or a statement failed; the message carries no address and no values.
    """
    with connecting(environment, "investigate") as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with translated(environment), connection.transaction():
            limits = (
                ("statement_timeout", seconds),
                ("lock_timeout", 2),
                ("idle_in_transaction_session_timeout", max(60, seconds)),
            )
            for name, limit in limits:
                set_local(connection, name, f"{int(limit * 1000)}ms")
            yield connection


@contextmanager
def connecting(environment: Environment, activity: str) -> Iterator[Connection]:
    """An autocommit connection that says who it is; closed at the end.

    Raises:
        Failed: not to be reached, or a statement failed; the message carries no address and no values.
    """
    options: dict[str, Any] = {"application_name": f"incident_lib {activity}", "prepare_threshold": None}
    if "connect_timeout" not in conninfo.conninfo_to_dict(environment.address):
        options["connect_timeout"] = CONNECT_SECONDS
    try:
        connection = psycopg.connect(environment.address, autocommit=True, **options)
    except psycopg.Error as error:
        raise _unreachable(environment, str(error)) from None
    with connection, translated(environment):
        yield connection


def set_local(connection: Connection, setting: str, value: str) -> None:
    """Set a setting for the rest of the transaction."""
    statement = sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(setting), sql.Literal(value))
    connection.execute(statement)


def engine(environment: Environment) -> Engine:
    """A SQLAlchemy engine whose every connection is read-only at the server, for questions of one's own."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    def connect() -> Connection:
        return psycopg.connect(
            environment.address,
            application_name="incident_lib notebook",
            prepare_threshold=None,
            connect_timeout=CONNECT_SECONDS,
        )

    made = create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool, hide_parameters=True)
    return made.execution_options(postgresql_readonly=True, isolation_level="REPEATABLE READ")


@contextmanager
def translated(environment: Environment) -> Iterator[None]:
    """Turn PostgreSQL's errors into one message that holds no address, no values and no user's id."""
    try:
        yield
    except psycopg.Error as error:
        raise _explained(environment, error) from None


def _unreachable(environment: Environment, said: str) -> Failed:
    """What stopped a connection, in our words: libpq's hold the host and the role."""
    for sign, why, cure in _CONNECT_SIGNS:
        if re.search(sign, said, flags=re.I):
            break
    else:
        why, cure = "The server or the network turned the connection down.", ""
    check = f"Check {environment.source}; `psql` with the same address tells what the server says."
    return Failed(f"The environment {environment.name!r} cannot be reached.", why, f"{cure} {check}".strip())


_CONNECT_SIGNS = (
    (
        r"password authentication failed|no password supplied",
        "The server refused the role or its password.",
        "Put the right password into .pgpass or the address.",
    ),
    (
        r"timeout expired|timed out",
        "Nothing answered in time.",
        "Is the host right, and open to this network?",
    ),
    (
        r"could not translate|resolve host|name or service not known|getaddrinfo",
        "The host's name is not known here.",
        "Correct the host.",
    ),
    (r"refused", "Nothing listens at that address.", "Is the server up, and the port right?"),
    (r"no such file or directory", "There is no socket at that path.", "Is the server up?"),
    (r'database ".*" does not exist', "The server has no database of that name.", "Correct the database."),
    (r'role ".*" does not exist', "The server has no role of that name.", "Correct the role."),
    (
        r"SSL|TLS|encryption|certificate",
        "The server and we do not agree on TLS.",
        "Set sslmode in the address.",
    ),
    (
        r"pg_hba",
        "The server's pg_hba.conf lets nobody in this way.",
        "Ask for an entry, or come from another host.",
    ),
    (
        r"too many (clients|connections)|connection slots",
        "The server has no connection left.",
        "Try again later.",
    ),
    (
        r"starting up|shutting down|recovery mode",
        "The server is starting or stopping.",
        "Try again in a moment.",
    ),
)


def _explained(environment: Environment, error: psycopg.Error) -> Failed:
    state = error.sqlstate or ""
    where = f"in the environment {environment.name!r}"
    for known, why, cure in _STATEMENT_STATES:
        if state.startswith(known):
            return Failed(f"A query failed {where} (SQLSTATE {state}).", why, cure)
    if not state:
        return Failed(
            f"The connection was lost {where}.",
            "The server or the network closed it.",
            "Run the same command again: what was done is seen in the catalog.",
        )
    return Failed(
        f"A query failed {where}.",
        f"PostgreSQL answered SQLSTATE {state}.",
        "Look the code up in PostgreSQL's appendix of error codes; the server's log has the statement.",
    )


_STATEMENT_STATES = (
    ("42501", "The role may not do that.", "Ask for the right, or use the role that owns public.q_threads."),
    (
        "42P01",
        "A table that we read is not there.",
        "Is this the right database? It should hold public.q_threads.",
    ),
    ("42703", "A column that we read is not there.", "Has every migration of q_threads been applied there?"),
    (
        "57014",
        "It took longer than the statement timeout, or somebody cancelled it.",
        "Try again with a longer --timeout.",
    ),
    ("55P03", "A lock was not to be had in time.", "Try again; `incident plan` names who is in the way."),
    ("57P", "The server ended our connection.", "Run the same command again."),
    ("08", "The connection broke.", "Run the same command again."),
    ("25006", "The server refuses writes here: it is read-only, or a standby.", "Use the primary's address."),
)
