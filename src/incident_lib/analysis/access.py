"""What an environment is, and what its role may do there: each missing right, and what would fail without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from incident_lib.database import fetch_one, is_transaction_pooled, read_access, reading
from incident_lib.model import Check, Status, format_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from incident_lib.database import Environment, TableAccess


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
    pooled = is_transaction_pooled(environment)
    server = f"{format_server(access.server_version)}, {'a standby' if access.standby else 'the primary'}"
    return (
        Check("server", Status.PASS, server),
        Check("role", Status.PASS, session["role"]),
        _need("read-only", session["read_only"], "reading cannot write", "reading could write"),
        Check("SELECT", Status.PASS, "the role may read the table: investigate, plan, verify and run work"),
        _need("owner", access.owned, "the role owns the table", "apply and rollback would be refused"),
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
            not pooled,
            "our session keeps its backend",
            "a pooler in transaction mode: reading works, apply and rollback would be refused",
        ),
        _need("primary", not access.standby, "this server takes writes", "a standby allows no apply or rollback"),
        _changes(environment, access, pooled=pooled),
    )


def _changes(environment: Environment, access: TableAccess, *, pooled: bool) -> Check:
    """Whether server, role and pooler allow a change, by the preflight's own checks; the plan has the others."""
    refuting = [each.finding for each in (*check_server(access), *check_role(access)) if each.status is Status.FAIL]
    if pooled:
        refuting.append("a pooler in transaction mode is between this client and the server")
    return _need(
        "apply, rollback",
        not refuting,
        f"version and rights allow them; `incident plan --env {environment.name}` checks the rest",
        f"would be refused: {'; '.join(refuting)}",
    )


def _judge(name: str, good: str, trouble: tuple[Status, str, str] | None) -> Check:
    return Check(name, *trouble) if trouble else Check(name, Status.PASS, good)


def check_server(access: TableAccess) -> Iterator[Check]:
    """Is it a server on which an index can safely be built CONCURRENTLY?"""
    version = access.server_version
    server = format_server(version)
    trouble = None
    if version < 140000:
        trouble = (
            Status.FAIL,
            f"{server} is out of support, and not tested with this project",
            "Update PostgreSQL first.",
        )
    elif version < 140004:
        corrupts = f"{server} can corrupt an index that is built CONCURRENTLY"
        trouble = (Status.FAIL, corrupts, "Update it to 14.4 or later first.")
    yield _judge("server version", server, trouble)
    standby = (Status.FAIL, "this server is a standby", "Use the primary's address.")
    yield _judge("primary", "this server is the primary", standby if access.standby else None)
    partitioned = (
        Status.WARN,
        "the table is partitioned: reads and writes wait for the locks of creating the parent's index (writes), of "
        "attaching each partition's index, and of the final drop, for at most half a second per try",
        "Migrate while the table is less busy: while a long transaction uses the table, these steps are tried again.",
    )
    yield _judge("not partitioned", "the table has no partitions", partitioned if access.partitioned else None)


def check_role(access: TableAccess) -> Iterator[Check]:
    """May this role do it, and does it see every row?"""
    stranger = (
        Status.FAIL,
        "only the table's owner may build or drop its indexes (SQLSTATE 42501)",
        "Use the owner's role for this environment.",
    )
    yield _judge("table owner", "this role owns the table", None if access.owned else stranger)
    powerless = (
        Status.FAIL,
        "this role may not create in the table's schema (SQLSTATE 42501)",
        f"Ask the schema's owner: GRANT CREATE ON SCHEMA {access.schema} TO the role of this environment.",
    )
    if not access.owned and not access.may_create:
        powerless = (Status.INFO, "this role may not create relations in it", "")
    yield _judge("schema", "this role may create relations in it", None if access.may_create else powerless)
    hidden = (
        Status.FAIL,
        "row level security hides rows from this role: every count may be too low",
        "Use a role with BYPASSRLS, or the owner where RLS is not forced.",
    )
    yield _judge("row level security", "no row is hidden from this role", hidden if access.hides_rows else None)


def _need(name: str, met: bool, good: str, bad: str) -> Check:
    return Check(name, Status.PASS, good) if met else Check(name, Status.WARN, bad)
