"""What an environment is, and what its role may do there: each missing right, and what would fail without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from incident_lib.database import fetch_one, is_transaction_pooled, read_access, reading
from incident_lib.model import Check, Status, format_server

if TYPE_CHECKING:
    from incident_lib.database import Environment


def check_access(environment: Environment) -> tuple[Check, ...]:
    """Connect, and check what the role may do; changes nothing.

    Returns:
        A check for each thing; WARN where a command would fail or see too little.

    Raises:
        Failed: the environment cannot be reached, has no such table, or the role may not read it: no command works.
    """
    with reading(environment) as connection:
        access = read_access(connection)
        session = fetch_one(connection, "analysis/session")
    server = f"{format_server(access.server_version)}, {'a standby' if access.standby else 'the primary'}"
    return (
        Check("server", Status.PASS, server),
        Check("role", Status.PASS, session["role"]),
        _need("read-only", session["read_only"], "reading cannot write", "reading could write"),
        Check("SELECT", Status.PASS, "the role may read the table: investigate, plan, verify and run work"),
        _need("owner", access.owned, "apply and rollback work", "apply and rollback would be refused"),
        _need("INSERT, UPDATE", access.writable, "probes work", "probes would be refused"),
        _need(
            "every row",
            not access.hides_rows,
            "no policy hides a row",
            "row level security hides rows: counts are too low",
        ),
        _need(
            "other sessions",
            session["sees_sessions"],
            "the sessions that block a build are described completely",
            "the sessions that block a build are described by pid alone (grant pg_read_all_stats)",
        ),
        _need(
            "pooler",
            not is_transaction_pooled(environment),
            "our session keeps its backend",
            "a pooler in transaction mode: reading works, apply and rollback would be refused",
        ),
        _need("primary", not access.standby, "apply and rollback can write", "a standby allows no apply or rollback"),
    )


def _need(name: str, met: bool, good: str, bad: str) -> Check:
    return Check(name, Status.PASS, good) if met else Check(name, Status.WARN, bad)
