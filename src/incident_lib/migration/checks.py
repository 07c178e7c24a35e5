"""The preflight's checks, one question each: what was seen, what that means, and its cure. No connection."""

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
    """One check: what is good about it, or what is not (answer, what was seen, cure)."""
    return Check(name, *trouble) if trouble else Check(name, Status.PASS, good)


def server(rights: TableAccess) -> Iterator[Check]:
    """Is it a server on which an index can safely be built CONCURRENTLY?"""
    version = rights.server_version
    spelled = f"PostgreSQL {version // 10000}.{version % 10000}"
    trouble = None
    if version < 140000:
        trouble = (Status.FAIL, f"{spelled} is out of support, and untested here", "Update PostgreSQL first.")
    elif version < 140004:
        corrupts = f"{spelled} can corrupt an index that is built CONCURRENTLY"
        trouble = (Status.FAIL, corrupts, "Update it to 14.4 or later first.")
    yield _check("server version", spelled, trouble)
    standby = (Status.FAIL, "this server is a standby", "Use the primary's address.")
    yield _check("primary", "this server is the primary", standby if rights.standby else None)
    partitioned = (
        Status.FAIL,
        "the table is partitioned: no index can be built CONCURRENTLY on it",
        "Build one on each partition, then attach them.",
    )
    yield _check("plain table", "the table has no partitions", partitioned if rights.partitioned else None)


def role(rights: TableAccess) -> Iterator[Check]:
    """May this role do it, and does it see every row?"""
    stranger = (
        Status.FAIL,
        "only the table's owner may build or drop its indexes (SQLSTATE 42501)",
        "Use the owner's role for this environment.",
    )
    yield _check("table owner", "this role owns the table", None if rights.owned else stranger)
    powerless = (
        Status.FAIL,
        "this role may create nothing in the table's schema (SQLSTATE 42501)",
        "Ask the schema's owner: GRANT CREATE ON SCHEMA public TO the role of this environment.",
    )
    mere_owner = rights.owned and not rights.may_create
    yield _check("schema", "an index may be created there", powerless if mere_owner else None)
    hidden = (
        Status.FAIL,
        "policies hide rows from this role: every count here may be too low",
        "Use a role with BYPASSRLS, or the owner where RLS is not forced.",
    )
    yield _check("row level security", "no row is hidden from this role", hidden if rights.hides_rows else None)


def pooler(*, transaction_pooled: bool) -> Check:
    """Does our session keep its backend?"""
    pooled = (
        Status.FAIL,
        "a pooler in transaction mode stands between us and the server",
        "Use its session port, or the server's own address.",
    )
    return _check("pooler", "our session keeps its backend", pooled if transaction_pooled else None)


def indexes(way: Plan) -> Iterator[Check]:
    """Is there a way from what the catalog holds, under names that are ours?"""
    good = f"{plural(len(way.steps), 'step')} to the {way.target} guard" if way.steps else "nothing is to do"
    refused = (Status.FAIL, way.refusal, "Then look again: `incident plan`.") if way.refusal else None
    yield _check("guards", good, refused)
    long = [name for name in INDEX_NAMES if len(name.encode()) > LONGEST_NAME]
    cut = (Status.FAIL, f"PostgreSQL would cut {', '.join(long)}", "Shorten them in catalog.py.")
    yield _check("names", "short enough, and apart from each other", cut if long else None)


def data(counts: Counts, way: Plan) -> Iterator[Check]:
    """Can the unique index that is to be built hold the data, and what is outside of it?"""
    duplicates = counts.duplicate_keys[way.target]
    broken = (
        Status.FAIL,
        f"{plural(duplicates, 'key')} of the {way.target} unique index held by more than one active thread",
        f"Settle them first: `{plan_command(way.target)}` prints SQL that would, and never runs it.",
    )
    good = f"no two active threads share a key of the {way.target} guard"
    yield _check("duplicates", good, broken if duplicates and way.steps else None)
    outside = (
        Status.INFO,
        f"{plural(counts.unguarded_threads, 'active thread')} without an owner: outside both unique indexes",
        "",
    )
    yield _check("NULL keys", "every active thread has an owner", outside if counts.unguarded_threads else None)
    others = sorted(set(counts.active_by_purpose) - set(PURPOSES))
    seen = f"besides chat and run there is {', '.join(map(repr, others))}: each purpose gets a key of its own"
    yield _check("purposes", "active threads are chat or run", (Status.INFO, seen, "") if others else None)


def waits(rows: list[dict[str, Any]], way: Plan) -> Iterator[Check]:
    """Who would hold up the build and the drop? The drop waits for readers, too."""
    steps = {step.name for step in way.steps}
    holders = {
        "build": [row for row in rows if row["writes"] or row["snapshot"]],
        "drop": [row for row in rows if row["touches"] or row["snapshot"]],
    }
    for step, held in holders.items():
        seen = "; ".join(map(describe_session, held[:MOST_NAMED]))
        more = f"; and {len(held) - MOST_NAMED} more" if len(held) > MOST_NAMED else ""
        cure = "Ask them to end their transactions, or let it wait: nobody waits for it."
        trouble = (Status.WARN, seen + more, cure) if held and step in steps else None
        yield _check(f"who holds up the {step}", "nobody", trouble)


def around(seen: dict[str, Any], way: Plan) -> Iterator[Check]:
    """What else bears on it: other builds, functions, triggers, replicas?"""
    builds = (Status.WARN, f"{plural(seen['builds'], 'index build')} on the table", "It queues behind them.")
    yield _check("other builds", "none on the table", builds if seen["builds"] else None)
    functions = (
        Status.FAIL,
        f"these name the original key, and would fail with 42P10 without it: {', '.join(seen['functions'])}",
        "Let them say ON CONFLICT DO NOTHING without a key, which works before and after.",
    )
    breaks = seen["functions"] and way.target is IndexKind.FIXED and way.steps
    yield _check("ON CONFLICT", "no SQL function names the original key", functions if breaks else None)
    triggers = (Status.INFO, f"these fire in a probe: {', '.join(seen['triggers'])}", "")
    yield _check("triggers", "none on the table", triggers if seen["triggers"] else None)
    lag = "lag unknown" if seen["lag_bytes"] is None else f"{format_bytes(seen['lag_bytes'])} behind"
    replicas = (Status.INFO, f"{plural(seen['replicas'], 'replica')}, {lag}: replaying the drop may cancel readers", "")
    yield _check("replicas", "none connected", replicas if seen["replicas"] else None)
