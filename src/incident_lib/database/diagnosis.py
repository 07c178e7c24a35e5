"""PostgreSQL's and libpq's errors in words that are safe to show: theirs hold hosts, roles, and the values of keys."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg

from incident_lib.model import Failed

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def translate_errors(environment: str) -> Iterator[None]:
    """Turn PostgreSQL's errors into one message without addresses, values and users' ids."""
    try:
        yield
    except psycopg.Error as error:
        raise statement_failure(environment, error) from None


def connection_failure(environment: str, source: str, message: str) -> Failed:
    """Why a connection failed, from libpq's message, which itself holds the host and the role."""
    reasons = ((why, action) for sign, why, action in _CONNECT_SIGNS if re.search(sign, message, flags=re.I))
    why, action = next(reasons, ("The server or the network rejected the connection.", ""))
    check = f"Check {source}; `psql` with the same address shows the server's own message."
    return Failed(f"The environment {environment!r} cannot be reached.", why, f"{action} {check}".strip())


_CONNECT_SIGNS = (
    (r"definition of service", "libpq finds no service of that name.", "Correct the service, or pg_service.conf."),
    (
        r"password authentication failed|no password supplied",
        "The server rejected the role or its password.",
        "Put the right password into .pgpass or the address.",
    ),
    (
        r"timeout expired|timed out",
        "No server answered in time.",
        "Is the host right, and open to this network?",
    ),
    (
        r"could not translate|resolve host|name or service not known|getaddrinfo"
        r"|codec can't encode|label (empty|too long)|idna",
        "The host's name is not known here.",
        "Correct the host.",
    ),
    (r"refused", "No server listens at that address.", "Is the server up, and the port right?"),
    (r"no such file or directory", "There is no socket at that path.", "Is the server up?"),
    (r'database ".*" does not exist', "The server has no database of that name.", "Correct the database."),
    (r'role ".*" does not exist', "The server has no role of that name.", "Correct the role."),
    (
        r"SSL|TLS|encryption|certificate",
        "The TLS settings of server and client do not match.",
        "Set sslmode in the address.",
    ),
    (
        r"pg_hba",
        "The server's pg_hba.conf allows no connection from here.",
        "Ask for an entry, or connect from another host.",
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


def statement_failure(environment: str, error: psycopg.Error) -> Failed:
    """Why a statement failed, by its SQLSTATE alone."""
    state = error.sqlstate or ""
    where = f"in the environment {environment!r}"
    for known, why, action in _STATEMENT_STATES:
        if state.startswith(known):
            return Failed(f"A query failed {where} (SQLSTATE {state}).", why, action)
    if not state:
        return Failed(
            f"The connection was lost {where}.",
            "The server or the network closed it.",
            "Run the same command again: a migration continues from the catalog.",
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
        "A table that the query reads does not exist.",
        "Is this the right database? It should hold public.q_threads.",
    ),
    ("42703", "A column that the query reads does not exist.", "Has every migration of q_threads been applied there?"),
    (
        "57014",
        "It took longer than the statement timeout, or another session cancelled it.",
        "Try again with a longer --timeout.",
    ),
    ("55P03", "A lock was not available in time.", "Try again; `incident plan` names the sessions that hold locks."),
    ("57P", "The server ended our connection.", "Run the same command again."),
    ("08", "The connection broke.", "Run the same command again."),
    ("25006", "The server rejects writes here: it is read-only, or a standby.", "Use the primary's address."),
)
