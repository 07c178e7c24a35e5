"""The preflight's checks, one question each: what was found, its status, the action to take. No connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from incident_lib.migration.server_checks import GRANT
from incident_lib.migration.steps import OTHER_KIND, kept_columns, replaced_index
from incident_lib.model import (
    LONGEST_NAME,
    WEAK_LOCKS,
    Check,
    IndexKind,
    IndexState,
    Plan,
    Status,
    change_command,
    describe_session,
    format_bytes,
    format_duration,
    plan_command,
    plural,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from incident_lib.model import Catalog, UniqueIndex

MOST_NAMED = 5


def _check(name: str, good: str, trouble: tuple[Status, str, str] | None) -> Check:
    """One check: its finding where it passes, else its trouble (status, finding, action)."""
    return Check(name, *trouble) if trouble else Check(name, Status.PASS, good)


def pooler(*, transaction_pooled: bool | None) -> Check:
    """Does a session keep its backend? None: too few connections are left to find out."""
    if transaction_pooled is None:
        return Check("pooler", Status.INFO, "not known: that takes two connections more")
    pooled = (
        Status.FAIL,
        "a pooler in transaction mode is between this client and the server",
        "Use its session port, or the server's own address.",
    )
    return _check("pooler", "a session keeps its backend", pooled if transaction_pooled else None)


def indexes(plan: Plan) -> Iterator[Check]:
    """Is there a plan from what the catalog holds, with the names that it needs?"""
    good = f"{plural(len(plan.steps), 'step')} to the {plan.label} index" if plan.steps else "nothing is left to do"
    action = "Then run `incident plan` again."
    if plan.first:
        act, name = plan.first
        action = f"First: `{change_command(act, '', name)}`."
    refused = (Status.FAIL, plan.refusal, action) if plan.refusal else None
    yield _check("indexes", good, refused)
    yield Check("names", Status.PASS, f"the plan's names are at most {LONGEST_NAME} bytes long")


def nothing_replaced(catalog: Catalog, plan: Plan) -> Iterator[Check]:
    """Would the plan create a rule where none is enforced? Of the incident it is known that there was one."""
    change = plan.change
    if change.of_incident or not plan.steps or catalog.state is not IndexState.MISSING:
        return
    yield Check(
        "nothing replaced",
        Status.WARN,
        f"no unique index with the key {change.before} or {change.after} on these rows is enforced: the plan makes a "
        "new rule, and rows that are accepted today would be rejected",
        f"Compare key_before and predicate in {change.name} with the index, as `\\d {change.path}` in psql shows it.",
    )


def properties(catalog: Catalog, plan: Plan, closed_tablespaces: list[str], *, plain: bool) -> Check:
    """Which properties of the index that it replaces does the build take over, and which are lost?"""
    name, replaced = "index properties", replaced_index(catalog, plan.target)
    built = next((step.builds for step in plan.steps if step.builds), None)
    if built is None or replaced is None:
        return Check(name, Status.PASS, "the plan builds no index in place of another")
    if built.tablespace in closed_tablespaces:
        return Check(
            name,
            Status.FAIL,
            f"this role may not create in the tablespace {built.tablespace} of {replaced.name} (SQLSTATE 42501)",
            f"GRANT CREATE ON TABLESPACE {built.tablespace} TO the role of this environment, or add --plain-index.",
        )
    wanted, carried = _properties(replaced, kept_columns(replaced, plan.target)), _properties(built, built.include)
    lost = list(replaced.special)
    key = [part for part in replaced.parts if part in built.parts]
    if key != [part for part in built.parts if part in key]:
        lost.append(f"the column order ({', '.join(map(str, replaced.columns))})")
    parts = {
        "carried over": [*carried, *(["the comment"] if replaced.comment or replaced.constraint_comment else [])],
        "left out with --plain-index": [text for text in wanted if plain and text not in carried],
        "lost": lost,
    }
    finding = "; ".join(f"{how}: {', '.join(texts)}" for how, texts in parts.items() if texts)
    if lost:
        action = "Ask whether a query needs what is lost, before the old index is dropped."
        return Check(name, Status.WARN, finding, action)
    return Check(name, Status.INFO if wanted else Status.PASS, finding or f"{replaced.name} has no special ones")


def _properties(index: UniqueIndex, include: tuple[str, ...]) -> list[str]:
    tablespace = [f"tablespace {index.tablespace}"] if index.tablespace else []
    return [*tablespace, *index.storage, *([f"INCLUDE ({', '.join(include)})"] if include else [])]


def duplicates(shared: int | None, plan: Plan) -> Check:
    """Does the data allow the index to be built?

    Args:
        shared: how many of its keys several rows share; None: the other index, which is enforced, prevents that.
        plan: the one that builds it.
    """
    rows = f"{plan.change.wording.row}s"
    if not shared:
        return Check("duplicates", Status.PASS, f"no two {rows} share a key of the {plan.label} index")
    keys = f"{plural(shared, 'key')} of the {plan.label} index"
    if not plan.steps:
        return Check("duplicates", Status.PASS, f"the plan builds nothing; {rows} share {keys}")
    show = plan_command(plan.target, change=plan.change.name)
    action = f"Resolve them first: `{show}` prints SQL for it, and never runs it."
    return Check("duplicates", Status.FAIL, f"several {rows} share {keys}", action)


_WAIT_ACTIONS = {
    "client backend": (
        "Ask them to end their transactions, or let it wait: no read or write waits for it, and it steps back for DDL."
    ),
    "walsender": "A backup or a subscription that copies a table reads here: wait until it has finished.",
    "autovacuum worker": "Autovacuum ends itself when another session asks for its lock: nothing to do.",
    "autovacuum to prevent wraparound": (
        "Autovacuum to prevent wraparound does not end itself for other sessions: wait until it has finished."
    ),
    "VACUUM": "Wait until VACUUM has finished, or ask its owner to cancel it.",
    "ANALYZE": "Wait until ANALYZE has finished, or ask its owner to cancel it.",
    "VACUUM FULL": "Wait until VACUUM FULL has finished: reads and writes wait for it, too.",
    "CLUSTER": "Wait until CLUSTER has finished: reads and writes wait for it, too.",
}
_BUILD_ACTION = "Wait until the index build has finished: if it is cancelled, it leaves an invalid index."
_BUILDS = frozenset({"CREATE INDEX", "CREATE INDEX CONCURRENTLY", "REINDEX", "REINDEX CONCURRENTLY"})
FIND_GID = "SELECT gid FROM pg_prepared_xacts WHERE transaction = '{}'"


def waits(rows: list[dict[str, Any]], plan: Plan) -> Iterator[Check]:
    """Which sessions would the build and the drop wait for? The drop waits for readers, too."""
    steps = {step.name for step in plan.steps}
    holders = {
        "build": [row for row in rows if row["writes"] or row["snapshot"]],
        "drop": [row for row in rows if row["touches"] or row["snapshot"]],
    }
    if any(step.name == "swap" and step.blocks_clients for step in plan.steps):
        holders["swap"] = holders["drop"]
    for step, held in holders.items():
        good = "no session would make it wait" if step in steps else f"the plan has no {step}"
        yield _check(f"blocks the {step}", good, _sessions(held) if held and step in steps else None)


def builds(rows: list[dict[str, Any]]) -> Check:
    """Is another index being built on the table? Every role sees who holds a lock under which one may be."""
    others = [
        row
        for row in rows
        if row["mode"] and (row["kind"] in _BUILDS or (row["kind"] is None and row["mode"] not in WEAK_LOCKS))
    ]
    return _check("other builds", "none on the table", _sessions(others) if others else None)


def _sessions(held: list[dict[str, Any]]) -> tuple[Status, str, str]:
    """The sessions that a step would wait for: the first of them in words, and an action for each kind of session."""
    finding = "; ".join(map(describe_session, held[:MOST_NAMED]))
    more = f"; and {len(held) - MOST_NAMED} more" if len(held) > MOST_NAMED else ""
    unknown = "not known: what each of these sessions does: " if any(row["kind"] is None for row in held) else ""
    return Status.WARN, f"{unknown}{finding}{more}", " ".join(dict.fromkeys(map(_wait_action, held)))


def _wait_action(row: dict[str, Any]) -> str:
    if row["prepared"]:
        find = FIND_GID.format(row["transaction"])
        return f"End {row['gid']} with ROLLBACK PREPARED '<gid>' (or COMMIT PREPARED); its gid: {find}."
    if row["kind"] is None:
        return GRANT
    return _BUILD_ACTION if row["kind"] in _BUILDS else _WAIT_ACTIONS.get(row["kind"], _WAIT_ACTIONS["client backend"])


def around(facts: dict[str, Any], plan: Plan, readers: Sequence[dict[str, Any]] = ()) -> Iterator[Check]:
    """What else matters: functions, triggers, replicas and their long readers?"""
    yield _functions(facts["functions"], plan)
    triggers = (Status.INFO, f"these triggers fire in a probe: {', '.join(facts['triggers'])}", "")
    yield _check("triggers", "none on the table", triggers if facts["triggers"] else None)
    yield _replicas(facts, readers)


def _functions(functions: list[str], plan: Plan) -> Check:
    """Which functions have ON CONFLICT with the key that the plan takes away?"""
    gone = plan.change.label(OTHER_KIND[plan.target])
    if functions and plan.steps:
        return Check(
            "ON CONFLICT",
            Status.FAIL if plan.target is IndexKind.FIXED else Status.WARN,  # what a rollback ends may be worse
            f"these functions need the {gone} key, and would fail without it (42P10): {', '.join(functions)}",
            "Change them to ON CONFLICT DO NOTHING without a key, which works before and after.",
        )
    good = f"no SQL or PL/pgSQL function infers the {gone} key; statements that one puts together are not seen"
    if functions:
        good = f"functions infer the {gone} key, and the plan does not take it away"
    return Check("ON CONFLICT", Status.PASS, good)


def clients(plan: Plan) -> Iterator[Check]:
    """What the database does not show: statements of clients that name the key. Those of the incident are known."""
    if plan.change.of_incident or not plan.steps:
        return
    gone = OTHER_KIND[plan.target]
    yield Check(
        "ON CONFLICT in clients",
        Status.WARN,
        f"a client's ON CONFLICT {plan.change.key(gone)} fails once the {plan.change.label(gone)} index is gone "
        "(42P10); the database does not show what clients send",
        "Search the clients' code for it, and change it first to ON CONFLICT DO NOTHING, without a key.",
    )


def _replicas(facts: dict[str, Any], readers: Sequence[dict[str, Any]]) -> Check:
    """Which standbys and subscriptions replay what the plan does?"""
    replicas = plural(facts["replicas"], "replica")
    if facts["replicas"] and not facts["sees_sessions"]:
        return Check("replicas", Status.WARN, f"not known: the lag and the kind of {replicas}", GRANT)
    lag = "lag unknown" if facts["lag_bytes"] is None else f"{format_bytes(facts['lag_bytes'])} behind"
    if readers:
        old = ", ".join(f"{row['name']} (at least {format_duration(row['seconds'])})" for row in readers)
        return Check(
            "replicas",
            Status.WARN,
            f"{replicas}, {lag}; a long transaction reads on {old}: there the replay of the drop waits, or cancels it",
            "Look for it in pg_stat_activity on the standby, and wait until it has ended.",
        )
    found = (Status.INFO, f"{replicas}, {lag}: replaying the drop may cancel readers", "")
    return _check("replicas", "none connected", found if facts["replicas"] else None)
