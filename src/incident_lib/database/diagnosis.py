"""PostgreSQL's and libpq's errors in words that are safe to show.

The server's primary message is shown without values; DETAIL, HINT and CONTEXT never are. Errors of the connection
hold hosts and roles: they are told in words of this project alone.
"""

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
        r"too many connections for (role|database)",
        "The CONNECTION LIMIT of the role or the database is reached.",
        "Close other connections of the role, or ask for a higher limit.",
    ),
    (
        r"too many clients|connection slots",
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
    """Why a statement failed: what the server says, without values, and the action that fits the SQLSTATE."""
    where = f"in the environment {environment!r}"
    if error.sqlstate:
        what = f"A query failed {where} (SQLSTATE {error.sqlstate})."
    elif _is_lost(error):
        what = f"The connection was lost {where}."
    else:
        what = f"A query failed {where}."
    return Failed(what, safe_message(error), action_for(error))


def safe_message(error: psycopg.Error) -> str:
    """What the server says about an error, as one sentence without ids, values, hosts and roles.

    Only the primary message is used: DETAIL, HINT and CONTEXT hold values of rows and statements.
    """
    state, primary = error.sqlstate or "", error.diag.message_primary
    own = next((why for known, why in _OWN_WORDS if state.startswith(known)), "")
    if own:
        return own
    if state and primary:
        return f"PostgreSQL says: {_sanitize(primary, quoted=not state.startswith(_WITH_VALUES))}."
    if state:
        return f"PostgreSQL answered SQLSTATE {state}."
    if _is_lost(error):
        return "The server or the network closed it."
    return f"The client could not use the answer: {type(error).__name__}."


def action_for(error: psycopg.Error) -> str:
    """What to do about an error, by its SQLSTATE; "run the same command again" only where that can help."""
    state = error.sqlstate or ""
    if not state:
        if _is_lost(error):
            return "Run the same command again: a migration continues from the catalog."
        return "Report it with the command and the version of PostgreSQL."
    if state == "57014" and "user request" in (error.diag.message_primary or ""):
        return "Another session cancelled it: ask its user, then run the same command again."
    return next((action for known, action in _ACTIONS if state.startswith(known)), _LOOK_UP)


def _is_lost(error: psycopg.Error) -> bool:
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and not error.sqlstate


MOST_CHARACTERS = 300  # that are shown
MOST_READ = 2000
_WITH_VALUES = ("22", "23")  # data exceptions and violated constraints: whatever is quoted is a value, or near one
_HIDDEN = (
    r"\w+://\S+",  # an address
    r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}",  # a UUID
    r"\S*@\S+",  # an e-mail address
    r"\d{1,3}(?:\.\d{1,3}){3}",  # a host
    r"\d{4,}",
)
_QUOTES = (r'"[^"]*"', r"(?<!\w)'[^']*'(?!\w)", r"«[^»]*»", r"[„“][^“”]*[“”]")
_IDENTIFIER = r"[^\W\d]\w{0,62}(?:\.[^\W\d]\w{0,62})*"


def _sanitize(text: str, *, quoted: bool) -> str:
    """Replace what may be a value; quoted identifiers stay if `quoted`."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: MOST_READ + 1]).split())
    if len(text) > MOST_READ:  # the last word is cut, and would not be recognized
        line = line.rpartition(" ")[0]
    if not quoted:
        line = re.sub(r"""(?:["«„“]|(?<!\w)')(?:.*(?:["»“”]|'(?!\w))|.*$)""", "…", line)
    elif line.count('"') % 2:  # a value with a quote in it, or one that was cut
        line = re.sub(r'".*', "…", line)
    for quotes in _QUOTES:
        line = re.sub(quotes, _identifier_or_dots, line)
    line = re.sub("|".join(_HIDDEN), "…", line)
    return (line if len(line) <= MOST_CHARACTERS else f"{line[:MOST_CHARACTERS]}…").rstrip(" .")


def _identifier_or_dots(found: re.Match[str]) -> str:
    return found[0] if re.fullmatch(_IDENTIFIER, found[0][1:-1].strip()) else "…"


# Errors that hold hosts, roles or databases; they come from the connection rather than from a statement.
_OWN_WORDS = (
    ("08", "The connection broke."),
    ("28", "The server rejected the role."),
    ("3D", "The server has no database of that name."),
    ("53300", "The server, the database or the role has no connection left."),
)
_LOOK_UP = "Look the code up in PostgreSQL's appendix of error codes; the server's log has the statement."
_AGAIN = "Run the same command again."
_ACTIONS = (
    ("08", _AGAIN),
    (
        "0A000",
        "An event trigger that writes makes DROP INDEX CONCURRENTLY impossible: ask its owner to disable it meanwhile. "
        "Else this server does not support the command.",
    ),
    ("22", "A value in the table is not what the query expects: compare the types of the columns of q_threads."),
    ("23505", "Several active threads share a key: `incident plan` shows them."),
    (
        "25006",
        "Use the primary's address. Where default_transaction_read_only is on for the database or the role, ask who "
        "set it.",
    ),
    ("25P03", f"idle_in_transaction_session_timeout ended the session. {_AGAIN}"),
    ("25P04", "Set transaction_timeout to 0 for this role, then run the same command again."),
    ("28", "Check the role, its password and the server's pg_hba.conf."),
    ("3D", "Correct the database in the address."),
    ("40001", f"{_AGAIN} A standby that cancels long queries: use the primary."),
    ("40P01", f"Two sessions waited for each other. {_AGAIN}"),
    ("42501", "Ask for the right, or use the role that owns public.q_threads."),
    ("42703", "Has every migration of q_threads been applied there?"),
    ("42P01", "Is this the right database? It should hold public.q_threads."),
    ("53100", "Free disk space on the server, then run the same command again."),
    ("53200", "Give the server more memory, or end other work on it, then run the same command again."),
    ("53300", "End idle sessions, or raise the connection limit, then run the same command again."),
    ("53", "Ask the server's administrator which resource is used up."),
    ("55P03", "Try again; `incident plan` names the sessions that hold locks."),
    ("57014", "Try again with a longer --timeout."),
    ("57P03", "The server is starting or stopping: run the same command again in a moment."),
    ("57P04", "The database was dropped: correct the address."),
    ("57P05", f"idle_session_timeout ended the session. {_AGAIN}"),
    ("57P", _AGAIN),
    ("58", "The server cannot read or write its files: ask its administrator to check the disk first."),
    ("P0001", "A trigger or an event trigger refused it; ask its owner."),
    (
        "XX001",
        "The server found corrupted data: change nothing more, and ask its administrator for a copy and a check.",
    ),
    (
        "XX002",
        "The server found a corrupted index: change nothing more, and ask its administrator for a copy and a check.",
    ),
)
