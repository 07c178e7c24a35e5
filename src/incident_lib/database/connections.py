"""The only ways to connect to an environment: one read-only snapshot, or an autocommit connection.

No session depends on the settings of role, database, client or pooler: it sets its own before its first statement.
No wait is endless: within `bounded` each statement is cancelled at the deadline, and each connection closed after it.
"""

from __future__ import annotations

import logging
import math
import os
import re
import time
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
from psycopg import conninfo, sql
from psycopg.errors import _WaitTimeout

from incident_lib.database.diagnosis import connection_failure, translate_errors
from incident_lib.database.environments import service_options
from incident_lib.database.statements import LOGGER, LoggedCursor
from incident_lib.model import Failed, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from psycopg.abc import PQGen
    from sqlalchemy import Engine

    from incident_lib.database.environments import Environment

CONNECT_SECONDS = 10
STATEMENT_SECONDS = 60.0
TICK = 0.1  # seconds between two checks of a deadline
CANCEL_AGAIN = 0.5  # seconds: a server may swallow a cancellation, as a commit does that waits for a standby
GRACE = 2.0  # seconds that a server has to confirm a cancellation before the connection is closed

# A dead line is noticed in 20 s at both ends. Without these, Linux keeps a lost client's locks for two hours.
KEEPALIVE: dict[str, Any] = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
_SERVER_KEEPALIVE = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "20s",
}
# What a role, a database or a client's variables may set, and what would change answers or end a statement.
PINNED = {
    "timezone": "UTC",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    "bytea_output": "hex",
    "extra_float_digits": "1",
}
_SESSION = {
    **PINNED,
    # A statement of a client that was killed ends: no session of ours would see who waits for it.
    "client_connection_check_interval": "500ms",
    **_SERVER_KEEPALIVE,
    "default_transaction_read_only": "off",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "default_tablespace": "",
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "10min",
    "statement_timeout": "0",
    "lock_timeout": "0",
}

_deadline: ContextVar[float] = ContextVar("deadline", default=math.inf)


class OutOfTime(Failed):
    """The budget ended.

    Attributes:
        answered: whether the server confirmed that the statement was cancelled; if not, it may still run there.
    """

    answered = True


@contextmanager
def bounded(seconds: float, *, over: bool = False) -> Iterator[float]:
    """Bound everything that is sent to a server in this block, connecting included: it ends by a deadline.

    A statement that still runs then is cancelled, again and again; if the server does not confirm that within `GRACE`
    seconds, the connection is closed.

    Args:
        seconds: from now; the deadline of an outer block counts, too.
        over: for a cleanup, which may last beyond the deadline of an outer block.

    Yields:
        The deadline, as `time.monotonic()` counts.
    """
    deadline = min(math.inf if over else _deadline.get(), time.monotonic() + seconds)
    token = _deadline.set(deadline)
    try:
        yield deadline
    finally:
        _deadline.reset(token)


def seconds_left() -> float:
    """Until the deadline of the innermost `bounded` block; infinite outside of one, negative after it."""
    return _deadline.get() - time.monotonic()


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection of which no wait is endless.

    Attributes:
        deadline: when the running statement is cancelled, as `time.monotonic()` counts.
        grace: seconds that the server has to confirm a cancellation before the connection is closed.
        stop: is asked every tenth of a second whether to cancel the running statement before that.
        environment: the name, for messages.
        again: opens another connection like this one, to a snapshot that this one exported; None: it has no snapshot.
    """

    deadline: float = math.inf
    grace: float = GRACE
    stop: Callable[[], bool] | None = None
    environment = ""
    again: Callable[[str], AbstractContextManager[Connection]] | None = None

    def wait(self, gen: PQGen[Any], interval: float = TICK, timeout: float | None = None) -> Any:
        """Wait for an answer; see `psycopg.Connection.wait`.

        Raises:
            OutOfTime: the deadline passed.
        """
        if timeout is not None or (self.stop is None and self.deadline == math.inf):
            return super().wait(gen, interval, timeout)
        ending = 0.0  # since when it is being cancelled
        cancelled = 0.0
        while True:
            try:
                return super().wait(gen, interval, TICK)
            except _WaitTimeout:
                now = time.monotonic()
                if not (ending or now > self.deadline or (self.stop and self.stop())):
                    continue
                ending = ending or now
                if now > ending + self.grace:
                    ended = self._out_of_time(answered=False)
                    self.pgconn.finish()
                    raise ended from None
                if now > cancelled + CANCEL_AGAIN:
                    cancelled = now
                    with suppress(psycopg.Error):
                        self.cancel_safe(timeout=1.0)
            except psycopg.errors.QueryCanceled:
                if ending and ending > self.deadline:
                    raise self._out_of_time(answered=True) from None
                raise

    def _out_of_time(self, *, answered: bool) -> OutOfTime:
        left = "" if answered else f" The server did not confirm that: pid {self.info.backend_pid} may still run it."
        made = OutOfTime(
            f"The environment {self.environment!r} did not answer before the budget ended.",
            f"The statement was cancelled.{left}",
            f"`incident plan --env {self.environment}` names the sessions that hold locks; allow more with --budget.",
        )
        made.answered = answered
        return made


@contextmanager
def reading(
    environment: Environment, *, seconds: float | None = None, snapshot: str | None = None
) -> Iterator[Connection]:
    """A connection inside one read-only snapshot, through any pooler; no transaction stays open after it.

    Args:
        environment: which database.
        seconds: the statement_timeout (0: no limit); by default that of INCIDENT_TIMEOUT.
        snapshot: one that an open transaction has exported; by default a new one.

    Yields:
        A connection in a REPEATABLE READ, READ ONLY transaction: PostgreSQL itself rejects writes.

    Raises:
        UsageError: INCIDENT_TIMEOUT is not a number of seconds.
        Failed: the environment cannot be reached, or a statement failed; the message has no address and no values.
    """
    limit = statement_seconds() if seconds is None else seconds
    with _connecting(environment, "investigate") as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        connection.again = lambda exported: reading(environment, seconds=limit, snapshot=exported)
        with connection.transaction():
            if snapshot:
                connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(snapshot))
            connection.execute(_pins(read_settings(limit), local=True))
            yield connection


def read_settings(limit: float) -> dict[str, str]:
    """The settings of a transaction that only reads, for `SET LOCAL`; `limit` is in seconds, 0 for none."""
    return {
        **PINNED,
        "search_path": "pg_catalog, public, pg_temp",
        "jit": "off",  # compiling takes longer than it saves: 0.3 s for each query, measured on 15
        "statement_timeout": _milliseconds(limit),
        "lock_timeout": _milliseconds(2),
        "idle_in_transaction_session_timeout": _milliseconds(max(60, limit)),
        "transaction_timeout": _milliseconds(max(600, 20 * limit) if limit else 0),
    }


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
    """An autocommit connection of our own settings, whose application_name says what it does; closed at the end.

    Not through a pooler in transaction mode: settings would leak to its other clients.

    Raises:
        Failed: the environment cannot be reached, or a statement failed; the message has no address and no values.
    """
    with _connecting(environment, activity) as connection:
        connection.execute(_pins(_SESSION | {"transaction_timeout": "0"}, local=False))
        connection.execute(_CATALOG_FIRST)
        yield connection


# What the role's search_path names stays visible: triggers and event triggers may depend on it.
_CATALOG_FIRST = """
SELECT pg_catalog.set_config('search_path', pg_catalog.concat_ws(', ', 'pg_catalog',
    nullif(pg_catalog.current_setting('search_path'), '')), false)"""


@contextmanager
def _connecting(environment: Environment, activity: str) -> Iterator[Connection]:
    connection = _connect(environment, activity, autocommit=True)
    with connection, translate_errors(environment.name):
        yield connection


def _connect(environment: Environment, activity: str, *, autocommit: bool) -> Connection:
    deadline = _deadline.get()
    options = _options(environment.address, deadline - time.monotonic())
    try:
        connection = Connection.connect(
            environment.address,
            autocommit=autocommit,
            prepare_threshold=None,
            application_name=f"incident_lib {activity}",
            client_encoding="UTF8",
            **options,
        )
    except (psycopg.Error, UnicodeError) as error:  # libpq raises no error of its own for an impossible host name
        raise connection_failure(environment.name, environment.source, str(error)) from None
    connection.deadline, connection.environment = deadline, environment.name
    if LOGGER.isEnabledFor(logging.DEBUG):
        connection.cursor_factory = LoggedCursor
    return connection


def _options(address: str, seconds: float) -> dict[str, Any]:
    """Time-outs of the connection itself, where neither the address nor its service sets them.

    Args:
        address: the connection string.
        seconds: how long a connection may take at most, whatever the address says.
    """
    given = {key: value for key, value in conninfo.conninfo_to_dict(address).items() if value}
    given = service_options(str(given.get("service") or os.environ.get("PGSERVICE") or "")) | given
    timeout = given.get("connect_timeout") or os.environ.get("PGCONNECT_TIMEOUT") or CONNECT_SECONDS
    options = {key: value for key, value in KEEPALIVE.items() if key not in given}
    if seconds < math.inf:
        timeout = max(1, math.ceil(min(float(timeout) or seconds, seconds)))
    return options | {"connect_timeout": timeout}


# On a line that dies meanwhile its transaction stays open no longer than that.
_POOLER_CHECK = {"idle_in_transaction_session_timeout": "5s", "transaction_timeout": "20s"}


def is_transaction_pooled(environment: Environment) -> bool:
    """Whether a pooler gives the backends of our sessions to other clients between transactions.

    Through such a pooler a session's settings leak to other clients, and an advisory lock is stranded. It shows in
    two ways: another connection's transaction runs on our backend, or our backend changes (measured on PgBouncer 1.18).
    """
    with _connecting(environment, "pooler check") as one, _connecting(environment, "pooler check") as two:
        mine = _backend(one)
        two.execute(sql.SQL("BEGIN; {}").format(_pins(_POOLER_CHECK, local=True)))  # ends with the connection
        return _backend(two) == mine or _backend(one) != mine


def _backend(connection: Connection) -> int:
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return int(row[0]) if row else 0


@contextmanager
def sending(environment: Environment, activity: str) -> Iterator[Connection]:
    """An autocommit connection as a client has it: settings of role and database, through any pooler.

    For transactions that are sent as a whole, in one message, with their own time-outs: see `send_transaction`.
    """
    with _connecting(environment, activity) as connection:
        yield connection


def send_transaction(
    connection: Connection,
    settings: dict[str, str],
    *statements: sql.Composable,
    answer: LiteralString,
    end: LiteralString = "COMMIT",
) -> str:
    """Send a whole transaction as one message: on a slow line it is open no longer than on a fast one.

    Args:
        connection: autocommit.
        settings: of this transaction alone, set before its first statement.
        statements: with their values.
        answer: an expression that is asked after them.
        end: COMMIT or ROLLBACK.

    Returns:
        The answer, as text.

    Raises:
        psycopg.Error: a statement failed; the transaction was rolled back.
    """
    asked = sql.SQL("SELECT {}::text AS answer").format(sql.SQL(answer))
    parts = [sql.SQL("BEGIN"), _pins(settings, local=True), *statements, asked, sql.SQL(end)]
    try:
        for result in connection.execute(sql.SQL("; ").join(parts)).results():
            if result.description and result.description[0].name == "answer":
                ((text,),) = result.fetchall()
                return str(text)
    finally:
        if not connection.broken:
            connection.rollback()
    raise AssertionError


def _pins(settings: dict[str, str], *, local: bool) -> sql.Composed:
    """Set these in one round trip; those that the server's version does not have are left out."""
    word = sql.SQL("SET LOCAL" if local else "SET")
    made = [
        sql.SQL("{} {} = {}").format(word, sql.Identifier(name), sql.Literal(value))
        for name, value in settings.items()
        if name not in _NOT_EVERYWHERE and name != "search_path"
    ]
    if path := settings.get("search_path"):
        names = sql.SQL(", ").join(map(sql.Identifier, path.split(", ")))
        made.append(sql.SQL("{} search_path = {}").format(word, names))
    made.extend(
        sql.SQL(_WHERE_KNOWN).format(value=value, local=local, name=name)
        for name in sorted(_NOT_EVERYWHERE & settings.keys())
        for value in ("0", settings[name])  # 0 stops a transaction_timeout that already runs; a new value does not
    )
    return sql.SQL("; ").join(made)


# PostgreSQL 17 brought transaction_timeout; a server on Windows cannot check whether its client is still connected.
_NOT_EVERYWHERE = {"client_connection_check_interval", "transaction_timeout"}
_WHERE_KNOWN = """
SELECT pg_catalog.set_config(name, {value}, {local}) FROM pg_catalog.pg_settings
WHERE name OPERATOR(pg_catalog.=) {name}
  AND (name OPERATOR(pg_catalog.=) 'transaction_timeout'
       OR pg_catalog.version() OPERATOR(pg_catalog.!~*) 'windows|visual c|mingw')"""


def set_local(connection: Connection, setting: str, value: str) -> None:
    """Set a setting for the rest of the transaction."""
    connection.execute(_pins({setting: value}, local=True))


def engine(environment: Environment) -> Engine:
    """A SQLAlchemy engine whose every connection is read-only at the server, for an analyst's own queries."""
    from sqlalchemy import create_engine, event
    from sqlalchemy.pool import NullPool

    def connect() -> Connection:
        return _connect(environment, "notebook", autocommit=False)

    made = create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool, hide_parameters=True)
    made = made.execution_options(postgresql_readonly=True, isolation_level="REPEATABLE READ")
    pins = _pins(read_settings(statement_seconds()), local=True)
    event.listen(made, "begin", lambda connection: connection.connection.driver_connection.execute(pins))
    return made
