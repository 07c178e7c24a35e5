"""Named databases: how a name resolves, and the only two ways to connect to one: to look, and to change."""

from __future__ import annotations

import math
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

from incident_lib.database import demo
from incident_lib.database.diagnosis import connection_failure, translate_errors
from incident_lib.model import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

DEMO = "demo"
CONNECT_SECONDS = 10
STATEMENT_SECONDS = 60.0
_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class Environment:
    """A database by its name. Its address is a secret: no repr, message or record holds it."""

    name: str
    source: str  # how the name resolved, e.g. "INCIDENT_STAGING_URL"
    address: str = field(repr=False)


def resolve_environment(name: str, *, database: str = DEMO) -> Environment:
    """Find the environment of a name: demo, the variable INCIDENT_<NAME>_URL, or the libpq service.

    Args:
        name: letters, digits, `_` and `-`.
        database: on `demo` only, the database of the embedded server.

    Raises:
        UsageError: the name is malformed, resolves to nothing, or to something that is no connection string.
    """
    check_name(name)
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


def check_name(name: str) -> str:
    """The name, if it can be one of an environment.

    Raises:
        UsageError: it cannot: a name is part of a variable's and of a folder's.
    """
    if not re.fullmatch(_NAME, name):
        raise UsageError(
            f"{name!r} cannot be the name of an environment.",
            "A name is made of letters, digits, `_` and `-`, since it names a variable and a folder.",
            "Use a name like `staging`; put the address in INCIDENT_STAGING_URL.",
        )
    return name


def variable_of(name: str) -> str:
    """The variable that holds an environment's URL."""
    return f"INCIDENT_{name.upper().replace('-', '_')}_URL"


def known_environments() -> list[tuple[str, str]]:
    """The names that resolve here, and how: demo, the variables INCIDENT_<NAME>_URL, the libpq services."""
    found = {name: f"libpq service {name}" for name in services() if re.fullmatch(_NAME, name)}
    for variable, address in os.environ.items():
        match = re.fullmatch(r"INCIDENT_([A-Z0-9][A-Z0-9_]*)_URL", variable)
        if match and is_address(address):
            found[match[1].lower()] = variable
    return [(DEMO, "the embedded server"), *sorted((name, how) for name, how in found.items() if name != DEMO)]


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


def is_address(text: str) -> bool:
    """Whether libpq can read a text as a connection string that says anything."""
    try:
        return bool(conninfo.conninfo_to_dict(text))
    except psycopg.ProgrammingError:
        return False


def _checked(address: str, variable: str) -> str:
    if not is_address(address):
        raise UsageError(
            f"{variable} is set, but libpq cannot read it.",
            "It is no connection string; its text is not repeated here, since it may hold a password.",
            f"Set {variable}=postgresql://role@host:5432/database ; escape odd characters as %XX.",
        )
    return address


@contextmanager
def reading(environment: Environment, *, seconds: float | None = None) -> Iterator[Connection]:
    """A connection inside one read-only snapshot, through any pooler, that leaves nothing behind.

    Args:
        environment: which database.
        seconds: how long a statement may take (statement_timeout; 0: no limit); else INCIDENT_TIMEOUT says it.

    Yields:
        A connection in a REPEATABLE READ, READ ONLY transaction: PostgreSQL itself refuses writes.

    Raises:
        UsageError: INCIDENT_TIMEOUT is no number of seconds.
        Failed: not to be reached, or a statement failed; the message carries no address and no values.
    """
    limit = statement_seconds() if seconds is None else seconds
    with connecting(environment, "investigate") as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with translate_errors(environment.name), connection.transaction():
            settings = {
                "timezone": "UTC",
                "datestyle": "ISO",
                "jit": "off",  # it compiles for longer than it saves: 0.3 s for each query, measured on 15
                "statement_timeout": _milliseconds(limit),
                "lock_timeout": _milliseconds(2),
                "idle_in_transaction_session_timeout": _milliseconds(max(60, limit)),
            }
            connection.execute(sql.SQL("; ").join(_local(*setting) for setting in settings.items()))  # one round trip
            yield connection


def statement_seconds() -> float:
    """How long a statement that looks may take: INCIDENT_TIMEOUT, else a minute.

    Raises:
        UsageError: the variable is no number of seconds.
    """
    told = os.environ.get("INCIDENT_TIMEOUT") or str(STATEMENT_SECONDS)
    if not re.fullmatch(r"\d+(\.\d*)?", told):
        raise UsageError(
            "INCIDENT_TIMEOUT is no number of seconds.", f"It is {told!r}.", "Set it like 300; 0 is no limit."
        )
    return float(told)


def _milliseconds(seconds: float) -> str:
    return f"{math.ceil(seconds * 1000)}ms"


@contextmanager
def connecting(environment: Environment, activity: str) -> Iterator[Connection]:
    """An autocommit connection that says who it is; closed at the end.

    Raises:
        Failed: not to be reached, or a statement failed; the message carries no address and no values.
    """
    connection = _connected(environment, activity, autocommit=True)
    with connection, translate_errors(environment.name):
        yield connection


def _connected(environment: Environment, activity: str, *, autocommit: bool) -> Connection:
    options: dict[str, Any] = {"application_name": f"incident_lib {activity}", "prepare_threshold": None}
    if "connect_timeout" not in conninfo.conninfo_to_dict(environment.address):
        options["connect_timeout"] = CONNECT_SECONDS
    try:
        return psycopg.connect(environment.address, autocommit=autocommit, **options)
    except (psycopg.Error, UnicodeError) as error:  # an impossible host name is no error of libpq's
        raise connection_failure(environment.name, environment.source, str(error)) from None


def is_transaction_pooled(environment: Environment) -> bool:
    """Whether a pooler hands our sessions' backends to others between transactions.

    A session setting would leak through such a pooler and an advisory lock be stranded in it. What tells:
    another connection's transaction runs on our backend, or ours has moved (measured on PgBouncer 1.18).
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
    """A SQLAlchemy engine whose every connection is read-only at the server, for questions of one's own."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    def connect() -> Connection:
        return _connected(environment, "notebook", autocommit=False)

    made = create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool, hide_parameters=True)
    return made.execution_options(postgresql_readonly=True, isolation_level="REPEATABLE READ")
