"""The migration and the rollback as data: from what the catalog holds to a list of steps. No connection."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from psycopg import sql

from incident_lib.model import (
    BUILD_NAME,
    INDEX_NAME,
    INDEX_NAMES,
    KEYS,
    RETIRED_NAME,
    SCHEMA,
    TABLE,
    Catalog,
    IndexKind,
    Plan,
    Step,
    UniqueIndex,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

ON_TABLE = f"SHARE UPDATE EXCLUSIVE on {SCHEMA}.{TABLE}: no read or write waits for it"
ON_INDEX = "SHARE UPDATE EXCLUSIVE on the indexes alone, none on the table"
OPPOSITE = {IndexKind.ORIGINAL: IndexKind.FIXED, IndexKind.FIXED: IndexKind.ORIGINAL}
PREDICATE = "is_active = true AND root_prompt_row_id IS NOT NULL"


def plan_change(catalog: Catalog, target: IndexKind = IndexKind.FIXED) -> Plan:
    """Plan the way from what the catalog holds to one unique index of the target's kind, under the official name.

    Whoever was interrupted anywhere reads the catalog, plans anew and goes on: each plan is the first step
    from here, followed by the plan from where that step leads. If any unique index was enforced, one stays so
    throughout.

    Returns:
        The steps, none where nothing is to do; or the reason why there is no safe way.
    """
    if refusal := _refusal(catalog):
        return Plan(target, (), refusal)
    return Plan(target, tuple(_walk(catalog, target)))


def _walk(catalog: Catalog, target: IndexKind) -> Iterator[Step]:
    while step := _next(catalog, target):
        yield step
        catalog = catalog_after(step, catalog)


def catalog_after(step: Step, catalog: Catalog) -> Catalog:
    """What the catalog holds once a step has succeeded."""
    indexes = [index for index in catalog.indexes if index.name != step.drops]
    if step.builds:
        indexes.append(step.builds)
    names = dict(step.renames)
    indexes = [replace(index, name=names.get(index.name, index.name)) for index in indexes]
    if step.waits_for:
        indexes = [replace(i, builder=None, valid=True, ready=True) if i.name == step.waits_for else i for i in indexes]
    return replace(catalog, indexes=tuple(indexes))


def _refusal(catalog: Catalog) -> str | None:
    if catalog.unreadable:
        names = ", ".join(index.name for index in catalog.unreadable)
        return f"{names} enforces something that we cannot read; look at its definition, and drop it or ask us less"
    strangers = catalog.taken_names | {
        i.name: i.definition for i in catalog.indexes if i.name in INDEX_NAMES and i.kind not in KEYS
    }
    if strangers:
        held = "; ".join(f"{name} is {what}" for name, what in sorted(strangers.items()))
        return f"a name that we need is taken ({held}); rename what holds it"
    indexes = [index for index in catalog.family_indexes if index.kind in KEYS]
    if {index.name for index in indexes} >= set(INDEX_NAMES) and not any(index.usable for index in indexes):
        return "our three names are taken by unique indexes none of which is complete; drop one that enforces nothing"
    return None


def _next(catalog: Catalog, target: IndexKind) -> Step | None:
    """The first step from here; None where the target's unique index stands alone, under the official name."""
    wanted, others = catalog.of(target), catalog.of(OPPOSITE[target])
    held = {index.name: index for index in wanted + others}
    if builds := [index for index in held.values() if index.builder]:
        return _wait(builds[0])
    keep = min((index for index in wanted if index.usable), key=_preference, default=None)
    if keep is None:
        junk = [index for index in held.values() if _is_junk(index, held)]
        return _drop(junk[0], "left by a build or a drop that did not finish") if junk else _make(target, held)
    if extra := [index for index in wanted if index is not keep]:
        return _drop(extra[0], "the same unique index stands complete beside it")
    if keep.name != INDEX_NAME:
        return _rename(keep, held)
    return _drop(others[0], _RETIRE[target]) if others else None


def _rename(keep: UniqueIndex, held: dict[str, UniqueIndex]) -> Step:
    """Give the official name to the unique index that stays; who has it now needs a free name of ours to go to."""
    spare = [name for name in (RETIRED_NAME, BUILD_NAME) if name not in held]
    if spare or INDEX_NAME not in held:
        return _swap(keep, held.get(INDEX_NAME), spare)
    rival = next(held[name] for name in (RETIRED_NAME, BUILD_NAME) if held[name] is not keep)
    return _drop(rival, _NAME_NEEDED)


_NAME_NEEDED = "its name is needed, and complete unique indexes stand beside it"
_RETIRE = {
    IndexKind.FIXED: "it blocks one purpose by another; once its first wait is over it rejects nothing: the incident ends",
    IndexKind.ORIGINAL: "the original index stands complete, and is the stricter one",
}


def _is_junk(index: UniqueIndex, held: dict[str, UniqueIndex]) -> bool:
    """Whether it may go before the target's unique index is built: it enforces nothing, or others do."""
    return not index.usable and (not index.enforced or any(other.usable for other in held.values()))


def _make(target: IndexKind, held: dict[str, UniqueIndex]) -> Step:
    """Build the target's unique index under a free name of ours; make one free where complete unique indexes hold all three."""
    free = [name for name in (BUILD_NAME, RETIRED_NAME, INDEX_NAME) if name not in held]
    return _build(target, free[0]) if free else _drop(held[RETIRED_NAME], _NAME_NEEDED)


def _preference(index: UniqueIndex) -> tuple[int, str]:
    order = (INDEX_NAME, BUILD_NAME, RETIRED_NAME)
    return (order.index(index.name) if index.name in order else len(order), index.name)


def _wait(index: UniqueIndex) -> Step:
    return Step(
        "wait",
        (),
        "none",
        transaction=False,
        waits_for=index.name,
        why=f"the server is still building {index.name}, for another session",
    )


def _build(target: IndexKind, name: str) -> Step:
    statement = (
        sql.SQL("CREATE UNIQUE INDEX CONCURRENTLY {} ON {} ({}) WHERE " + PREDICATE)
        .format(
            sql.Identifier(name),
            sql.Identifier(SCHEMA, TABLE),
            sql.SQL(", ").join(map(sql.Identifier, KEYS[target])),
        )
        .as_string()
    )
    built = UniqueIndex(
        name,
        statement,
        KEYS[target],
        PREDICATE,
        unique=True,
        nulls_not_distinct=False,
        valid=True,
        ready=True,
        live=True,
    )
    return Step(
        "build",
        (statement,),
        ON_TABLE,
        transaction=False,
        builds=built,
        why=f"the {target} unique index is made beside what is there, while everybody goes on writing",
    )


def _swap(keep: UniqueIndex, current: UniqueIndex | None, spare: list[str]) -> Step:
    renames = [(current.name, spare[0])] if current else []
    renames.append((keep.name, INDEX_NAME))
    statements = [
        sql.SQL("ALTER INDEX {} RENAME TO {}").format(_qualified(old), sql.Identifier(new)) for old, new in renames
    ]
    if current and current.comment:
        comment = sql.SQL("COMMENT ON INDEX {} IS {}")
        statements.append(comment.format(_qualified(INDEX_NAME), sql.Literal(current.comment)))
    return Step(
        "swap",
        tuple(s.as_string() for s in statements),
        ON_INDEX,
        transaction=True,
        renames=tuple(renames),
        why="both names change hands in one transaction, so that no moment and no crash falls between them",
    )


def _drop(index: UniqueIndex, why: str) -> Step:
    statement = sql.SQL("DROP INDEX CONCURRENTLY {}").format(_qualified(index.name)).as_string()
    return Step("drop", (statement,), ON_TABLE, transaction=False, drops=index.name, why=why)


def _qualified(name: str) -> sql.Identifier:
    return sql.Identifier(SCHEMA, name)
