"""The preflight's checks of the server around the table: settings, limits, standbys, slots, event triggers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from incident_lib.model import Check, Plan, Status, format_bytes, plural

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECTIONS = 3  # a migration's own: one that runs the steps, one that watches, one more to cancel or to reconnect
GRANT = "GRANT pg_read_all_stats (or pg_monitor) TO the role of this environment."
_WORST = (Status.FAIL, Status.WARN, Status.INFO, Status.PASS)


def settings(facts: dict[str, Any], plan: Plan) -> Iterator[Check]:
    """Which settings of the server, the database or the role would stop or slow a migration?"""
    read_only = Check(
        "read only",
        Status.WARN,
        "default_transaction_read_only is on for this role or database; "
        "the migration's own session turns it off, since --confirm names the environment",
        "If the database was frozen on purpose, do not apply.",
    )
    yield read_only if facts["read_only"] else Check("read only", Status.PASS, "transactions may write by default")
    yield _synchronous(facts, plan)
    timeout = facts["transaction_timeout"]
    if timeout and re.search("[1-9]", timeout):
        finding = f"transaction_timeout is {timeout} for this role or database"
        yield Check("transaction timeout", Status.INFO, f"{finding}; the migration's own sessions set it to 0")
    else:
        yield Check("transaction timeout", Status.PASS, "none is set")


def needed_standbys(names: str) -> int:
    """How many standbys have to confirm a commit, by the setting synchronous_standby_names."""
    if found := re.match(r"\s*(?:(?:FIRST|ANY)\s+)?(\d+)\s*\(", names, re.IGNORECASE):
        return int(found[1])
    return 1 if names.strip() else 0


def _synchronous(facts: dict[str, Any], plan: Plan) -> Check:
    """Do commits wait for standbys, and are there enough of them?"""
    name, commit, connected = "synchronous standbys", facts["synchronous_commit"], facts["synchronous"]
    needed = needed_standbys(facts["synchronous_standbys"])
    if not needed or commit in {"off", "local"}:
        return Check(name, Status.PASS, "no commit of this role waits for a standby")
    if connected is None:
        finding = f"not known: whether the standbys are connected that each commit waits for ({needed} needed)"
        return Check(name, Status.WARN, finding, GRANT)
    if connected < needed:
        return Check(
            name,
            Status.FAIL if plan.steps else Status.WARN,
            f"each commit waits for synchronous standbys: {needed} needed, {connected} connected; "
            "the commits of a migration would wait, too",
            "Start the standbys, or change synchronous_standby_names, first.",
        )
    if commit == "remote_apply":
        return Check(
            name,
            Status.WARN,
            "synchronous_commit is remote_apply: while a long query on the standby delays the replay of the drop, "
            "all commits of the primary wait",
            "Look for long queries on the synchronous standbys first.",
        )
    return Check(name, Status.PASS, f"{needed} needed, {connected} connected")


def connections(facts: dict[str, Any]) -> Check:
    """Are enough connections left for a migration?"""
    limits = {
        "max_connections": facts["free_slots"],
        "the role's CONNECTION LIMIT": facts["free_of_role"],
        "the database's CONNECTION LIMIT": facts["free_of_database"],
    }
    free = {limit: max(number, 0) for limit, number in limits.items() if number is not None}
    if short := [f"{limit} leaves {number}" for limit, number in free.items() if number < CONNECTIONS]:
        return Check(
            "connections",
            Status.FAIL,
            f"a migration needs {CONNECTIONS} connections, and {' and '.join(short)}",
            "Close other connections, or raise the limit.",
        )
    found = f"{plural(min(free.values()), 'connection')} can be opened, {CONNECTIONS} are needed"
    return Check("connections", Status.PASS, found)


def slots(rows: list[dict[str, Any]], wal_bytes: int, plan: Plan) -> Check:
    """Do replication slots keep WAL or old row versions, and would the build's WAL invalidate one?"""
    found = [(*_slot(row, wal_bytes if plan.steps else 0), row["name"]) for row in rows]
    if not found:
        return Check("replication slots", Status.PASS, "there are none")
    status = min((each[0] for each in found), key=_WORST.index)
    findings = "; ".join(f"{name} {text}" for each, text, name in found if each is not Status.PASS)
    if not findings:
        return Check("replication slots", Status.PASS, f"{plural(len(found), 'slot')}, all in use")
    action = "Let its consumer catch up, or ask its owner to drop the slot." if status is Status.WARN else ""
    return Check("replication slots", status, findings, action)


def _slot(row: dict[str, Any], wal_bytes: int) -> tuple[Status, str]:
    kept = "" if row["kept"] is None else f", and keeps {format_bytes(row['kept'])} of WAL"
    if row["wal_status"] in {"unreserved", "lost"}:
        return Status.WARN, f"has the WAL status {row['wal_status']}"
    if row["safe_wal_size"] is not None and row["safe_wal_size"] < wal_bytes:
        left, needed = format_bytes(max(row["safe_wal_size"], 0)), format_bytes(wal_bytes)
        return Status.WARN, f"may be lost after {left} of WAL, and the build writes about {needed}"
    if not row["active"]:
        return Status.WARN, f"is not in use{kept}"
    if row["xmin"]:
        return Status.INFO, "keeps old row versions from VACUUM"
    return Status.PASS, ""


def event_triggers(rows: list[dict[str, Any]], plan: Plan) -> Check:
    """Which event triggers fire for the plan's statements, and would one make them fail?"""
    drops = any(step.drops and not step.transaction for step in plan.steps)
    found = [(*_event_trigger(row, drops=drops), row) for row in rows]
    if not found:
        return Check("event triggers", Status.PASS, "none fires for the plan's statements")
    status = min((each[0] for each in found), key=_WORST.index)
    findings = "; ".join(
        f"{row['name']} ({row['event']}, of {row['owner']}, {row['function']}) {text}" for _, text, row in found
    )
    stopping = ", ".join(row["name"] for each, _, row in found if each is status)
    actions = {
        Status.FAIL: f"Ask the owner to restrict {stopping} with WHEN TAG IN (…), or to disable it for the migration.",
        Status.WARN: f"Read the function of {stopping} first.",
    }
    return Check("event triggers", status, findings, actions.get(status, ""))


def _event_trigger(row: dict[str, Any], *, drops: bool) -> tuple[Status, str]:
    if row["event"] == "ddl_command_start" and row["drops"] and row["writes"] and drops:
        return Status.FAIL, "writes before DROP INDEX CONCURRENTLY, which then fails each time (SQLSTATE 0A000)"
    if row["writes"] is None:
        return Status.WARN, "fires; what it does is not known: its source is not in the database"
    if row["raises"]:
        return Status.WARN, "fires, and may raise an error"
    return Status.INFO, "fires"
