"""The preflight's checks, one question each: what was found, its status, the action to take. No connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from incident_lib.model import (
    INDEX_NAMES,
    PURPOSES,
    Check,
    IndexKind,
    Plan,
    Status,
    describe_session,
    format_bytes,
    format_server,
    plan_command,
    plural,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from incident_lib.database import TableAccess
    from incident_lib.model import Counts

MOST_NAMED = 5
LONGEST_NAME = 63  # bytes: PostgreSQL cuts the rest off, with no more than a NOTICE


def _check(name: str, good: str, trouble: tuple[Status, str, str] | None) -> Check:
    """One check: its finding where it passes, else its trouble (status, finding, action)."""
    return Check(name, *trouble) if trouble else Check(name, Status.PASS, good)


def server(access: TableAccess) -> Iterator[Check]:
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
    yield _check("server version", server, trouble)
    standby = (Status.FAIL, "this server is a standby", "Use the primary's address.")
    yield _check("primary", "this server is the primary", standby if access.standby else None)
    partitioned = (
        Status.FAIL,
        "the table is partitioned: no index can be built CONCURRENTLY on it",
        "Build one on each partition, then attach them.",
    )
    yield _check("not partitioned", "the table has no partitions", partitioned if access.partitioned else None)


def role(access: TableAccess) -> Iterator[Check]:
    """May this role do it, and does it see every row?"""
    stranger = (
        Status.FAIL,
        "only the table's owner may build or drop its indexes (SQLSTATE 42501)",
        "Use the owner's role for this environment.",
    )
    yield _check("table owner", "this role owns the table", None if access.owned else stranger)
    powerless = (
        Status.FAIL,
        "this role may not create in the table's schema (SQLSTATE 42501)",
        "Ask the schema's owner: GRANT CREATE ON SCHEMA public TO the role of this environment.",
    )
    only_owner = access.owned and not access.may_create
    yield _check("schema", "this role may create an index in it", powerless if only_owner else None)
    hidden = (
        Status.FAIL,
        "row level security hides rows from this role: every count may be too low",
        "Use a role with BYPASSRLS, or the owner where RLS is not forced.",
    )
    yield _check("row level security", "no row is hidden from this role", hidden if access.hides_rows else None)


def pooler(*, transaction_pooled: bool) -> Check:
    """Does a session keep its backend?"""
    pooled = (
        Status.FAIL,
        "a pooler in transaction mode is between this client and the server",
        "Use its session port, or the server's own address.",
    )
    return _check("pooler", "a session keeps its backend", pooled if transaction_pooled else None)


def indexes(plan: Plan) -> Iterator[Check]:
    """Is there a plan from what the catalog holds, with the names that it needs?"""
    good = f"{plural(len(plan.steps), 'step')} to the {plan.target} index" if plan.steps else "nothing is left to do"
    refused = (Status.FAIL, plan.refusal, "Then run `incident plan` again.") if plan.refusal else None
    yield _check("indexes", good, refused)
    long = [name for name in INDEX_NAMES if len(name.encode()) > LONGEST_NAME]
    cut = (Status.FAIL, f"PostgreSQL would cut {', '.join(long)}", "Shorten them in catalog.py.")
    yield _check("names", "short enough, and different from each other", cut if long else None)


def data(counts: Counts, plan: Plan) -> Iterator[Check]:
    """Does the data allow the index to be built, and which threads does it not cover?"""
    duplicates = counts.duplicate_keys[plan.target]
    broken = (
        Status.FAIL,
        f"several active threads share {plural(duplicates, 'key')} of the {plan.target} index",
        f"Resolve them first: `{plan_command(plan.target)}` prints SQL for it, and never runs it.",
    )
    good = f"no two active threads share a key of the {plan.target} index"
    yield _check("duplicates", good, broken if duplicates and plan.steps else None)
    outside = (
        Status.INFO,
        f"{plural(counts.unguarded_threads, 'active thread')} without an owner: outside both unique indexes",
        "",
    )
    yield _check(
        "threads without an owner", "every active thread has an owner", outside if counts.unguarded_threads else None
    )
    others = sorted(set(counts.active_by_purpose) - set(PURPOSES))
    finding = f"there are also {', '.join(map(repr, others))}: each purpose gets a key of its own"
    yield _check("purposes", "active threads are chat or run", (Status.INFO, finding, "") if others else None)


def waits(rows: list[dict[str, Any]], plan: Plan) -> Iterator[Check]:
    """Which sessions would the build and the drop wait for? The drop waits for readers, too."""
    steps = {step.name for step in plan.steps}
    holders = {
        "build": [row for row in rows if row["writes"] or row["snapshot"]],
        "drop": [row for row in rows if row["touches"] or row["snapshot"]],
    }
    for step, held in holders.items():
        finding = "; ".join(map(describe_session, held[:MOST_NAMED]))
        more = f"; and {len(held) - MOST_NAMED} more" if len(held) > MOST_NAMED else ""
        action = "Ask them to end their transactions, or let it wait: no read or write waits for it."
        trouble = (Status.WARN, finding + more, action) if held and step in steps else None
        yield _check(f"blocks the {step}", "no session that this role sees", trouble)


def around(facts: dict[str, Any], plan: Plan) -> Iterator[Check]:
    """What else matters: other builds, functions, triggers, replicas?"""
    builds = (Status.WARN, f"{plural(facts['builds'], 'index build')} on the table", "The build waits for them.")
    yield _check("other builds", "none on the table", builds if facts["builds"] else None)
    functions = (
        Status.FAIL,
        f"these functions need the original key, and would fail without it (42P10): {', '.join(facts['functions'])}",
        "Change them to ON CONFLICT DO NOTHING without a key, which works before and after.",
    )
    breaks = facts["functions"] and plan.target is IndexKind.FIXED and plan.steps
    yield _check("ON CONFLICT", "no SQL function infers the original key", functions if breaks else None)
    triggers = (Status.INFO, f"these triggers fire in a probe: {', '.join(facts['triggers'])}", "")
    yield _check("triggers", "none on the table", triggers if facts["triggers"] else None)
    lag = "lag unknown" if facts["lag_bytes"] is None else f"{format_bytes(facts['lag_bytes'])} behind"
    replicas = (
        Status.INFO,
        f"{plural(facts['replicas'], 'replica')}, {lag}: replaying the drop may cancel readers",
        "",
    )
    yield _check("replicas", "none connected", replicas if facts["replicas"] else None)
