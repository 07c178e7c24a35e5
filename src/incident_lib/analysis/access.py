"""What an environment is, and what its role may do there: each thing that is missing, and what that would stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from incident_lib.database import fetch_one, is_transaction_pooled, read_access, reading
from incident_lib.model import Check, Status

if TYPE_CHECKING:
    from incident_lib.database import Environment


def check_access(environment: Environment) -> tuple[Check, ...]:
    """Connect, and look around; changes nothing.

    Returns:
        A check for each thing: WAIT where something that one may want later would not go.

    Raises:
        Failed: not to be reached, no such table, or no right to read it: then nothing works at all.
    """
    with reading(environment) as connection:
        rights = read_access(connection)
        session = fetch_one(connection, "analysis/session")
    version = f"PostgreSQL {rights.server_version // 10000}.{rights.server_version % 10000}"
    return (
        Check("server", Status.PASS, f"{version}, {'a standby' if rights.standby else 'the primary'}"),
        Check("role", Status.PASS, session["role"]),
        _needed("read-only", session["read_only"], "looking cannot write", "looking could write"),
        Check("SELECT", Status.PASS, "the table can be read: investigate, plan, verify, run work"),
        _needed("owner", rights.owned, "apply and rollback work", "apply and rollback would be refused"),
        _needed("INSERT, UPDATE", rights.writable, "probes work", "probes would be refused"),
        _needed("every row", not rights.hides_rows, "no policy hides a row", "policies hide rows: counts are too low"),
        _needed(
            "other sessions",
            session["sees_sessions"],
            "who holds up a build is seen whole",
            "who holds up a build is seen by pid alone (pg_read_all_stats is missing)",
        ),
        _needed(
            "pooler",
            not is_transaction_pooled(environment),
            "our session keeps its backend",
            "a transaction pooler: looking works, apply and rollback would be refused",
        ),
        _needed("primary", not rights.standby, "apply and rollback can write", "a standby takes no apply or rollback"),
    )


def _needed(name: str, there: bool, good: str, otherwise: str) -> Check:
    return Check(name, Status.PASS, good) if there else Check(name, Status.WARN, otherwise)
