"""The migration and the rollback as data: from what the catalog holds to a list of steps. No connection."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from psycopg import sql

from incident_lib.migration import partitions
from incident_lib.migration.steps import (
    NAME_NEEDED,
    OTHER_KIND,
    create_index,
    kept_columns,
    may_be_building,
    preference,
    qualified,
    replaced_index,
    swap,
    wait,
)
from incident_lib.model import (
    BUILD_NAME,
    INDEX_NAME,
    INDEX_NAMES,
    KEYS,
    PREDICATE,
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

ON_TABLE = f"SHARE UPDATE EXCLUSIVE on {SCHEMA}.{TABLE}: no read or write waits for it; it steps back for DDL"


def plan_change(
    catalog: Catalog, target: IndexKind = IndexKind.FIXED, *, plain: bool = False, most: int | None = None
) -> Plan:
    """Plan the steps from what the catalog holds to one unique index of the target's kind, under the official name.

    After an interruption the catalog is read and the plan made again: each plan is its first step, followed by the
    plan from the catalog that this step leaves. If a unique index was enforced, one is enforced at all times.

    Args:
        catalog: what there is.
        target: the kind of the index that stays.
        plain: build it without the tablespace, storage parameters and INCLUDE columns of the index that it replaces.
        most: plan no more than so many steps.

    Returns:
        The steps, none where nothing is left to do; or the reason why there is no safe plan.
    """
    if refusal := _refusal(catalog):
        return Plan(target, (), refusal)
    return Plan(target, tuple(islice(_steps(catalog, target, plain=plain), most)))


def _steps(catalog: Catalog, target: IndexKind, *, plain: bool) -> Iterator[Step]:
    while step := _next(catalog, target, plain=plain):
        yield step
        catalog = catalog_after(step, catalog)


def catalog_after(step: Step, catalog: Catalog) -> Catalog:
    """What the catalog holds once a step has succeeded."""
    if catalog.partitions is not None:
        return partitions.catalog_after(step, catalog, catalog.partitions)
    indexes = [index for index in catalog.indexes if index.name != step.drops]
    if step.builds:
        indexes.append(step.builds)
    names = dict(step.renames)
    indexes = [replace(index, name=names.get(index.name, index.name)) for index in indexes]
    if step.waits_for:
        ended = [i.name for i in indexes if i.builder and i.name == step.waits_for]
        indexes = [replace(i, builder=None, valid=True, ready=True) if i.name in ended else i for i in indexes]
        return replace(catalog, indexes=tuple(indexes), lock_holders=())
    return replace(catalog, indexes=tuple(indexes))


def has_to_wait(step: Step, catalog: Catalog) -> bool:
    """Whether a wait step still has to wait: its index is being built, or may be; `catalog` was read just now."""
    left = [index for index in catalog.indexes if index.name == step.waits_for]
    return any(index.builder or (catalog.lock_holders and not index.complete) for index in left)


def _refusal(catalog: Catalog) -> str | None:
    if catalog.unreadable:
        return _unreadable(catalog)
    strangers = catalog.taken_names | {
        i.name: i.definition for i in catalog.indexes if i.name in INDEX_NAMES and i.kind not in KEYS
    }
    if strangers:
        held = "; ".join(f"{name} is {what}" for name, what in sorted(strangers.items()))
        return f"a name that the plan needs is taken ({held}); rename what has it"
    indexes = [index for index in catalog.family_indexes if index.kind in KEYS]
    if {index.name for index in indexes} >= set(INDEX_NAMES) and not any(index.usable for index in indexes):
        return "the three names are taken by unique indexes of which none is complete; drop one that is not enforced"
    return None


def _unreadable(catalog: Catalog) -> str:
    """Why there is no plan beside an index that is enforced and of neither kind, and what can be done about it."""
    found = "; ".join(
        f"{index.name} is enforced and is neither the original nor the fixed index: {index.differences()}"
        for index in catalog.unreadable
    )
    known = [index.name for index in catalog.family_indexes if index.kind in KEYS and index.usable]
    if known:
        return f"{found}; if {known[0]}, which is enforced beside it, is enough, drop the other, then run this again"
    return (
        f"{found}; it may be the only index that prevents duplicates, so keep it until an original or a fixed index is "
        "enforced beside it"
    )


def _next(catalog: Catalog, target: IndexKind, *, plain: bool) -> Step | None:
    """The first step; a wait in place of a drop of an incomplete index that another session may be building."""
    if catalog.partitions is not None:
        return partitions.first_step(catalog, catalog.partitions, target, plain=plain)
    step = _first(catalog, target, plain=plain)
    dropped = [index for index in catalog.indexes if step and index.name == step.drops]
    if dropped and catalog.lock_holders and not dropped[0].usable:
        return wait(dropped[0], may_be_building(catalog.lock_holders))
    return step


def _first(catalog: Catalog, target: IndexKind, *, plain: bool) -> Step | None:
    """The first step; None where the target's unique index is the only one, under the official name."""
    wanted, others = catalog.of(target), catalog.of(OTHER_KIND[target])
    held = {index.name: index for index in wanted + others}
    if builds := [index for index in held.values() if index.builder]:
        return wait(builds[0], f"another session is still building {builds[0].name}")
    keep = min((index for index in wanted if index.usable), key=preference, default=None)
    if keep is None:
        if leftovers := [index for index in held.values() if _is_leftover(index, held)]:
            return _drop(leftovers[0], "a build or a drop that did not finish left it")
        return _make(target, held, None if plain else replaced_index(catalog, target))
    if extra := [index for index in wanted if index is not keep]:
        return _drop(extra[0], "another index of the same kind is complete")
    if keep.name != INDEX_NAME:
        return _rename(keep, held, replaced_index(catalog, target))
    return _drop(others[0], _RETIRE[target]) if others else None


def _rename(keep: UniqueIndex, held: dict[str, UniqueIndex], replaced: UniqueIndex | None) -> Step:
    """Give the official name to the unique index that stays; the index that has it now needs another free name."""
    spare = [name for name in (RETIRED_NAME, BUILD_NAME) if name not in held]
    if spare or INDEX_NAME not in held:
        current = held.get(INDEX_NAME)
        named = current or (replaced if not keep.comment else None)
        return swap(keep, current, spare, named.comment if named else None)
    rival = next(held[name] for name in (RETIRED_NAME, BUILD_NAME) if held[name] is not keep)
    return _drop(rival, NAME_NEEDED)


_RETIRE = {
    IndexKind.FIXED: "it blocks chats by runs; once its first wait is over it rejects no insert: the incident ends",
    IndexKind.ORIGINAL: "the original index is complete, and is the stricter one",
}


def _is_leftover(index: UniqueIndex, held: dict[str, UniqueIndex]) -> bool:
    """Whether it may be dropped before the target's index is built: it is not enforced, or others are complete."""
    return not index.usable and (not index.enforced or any(other.usable for other in held.values()))


def _make(target: IndexKind, held: dict[str, UniqueIndex], replaced: UniqueIndex | None) -> Step:
    """Build the target's index under a free name; where complete indexes have all three names, drop one first."""
    free = [name for name in (BUILD_NAME, RETIRED_NAME, INDEX_NAME) if name not in held]
    return _build(target, free[0], replaced) if free else _drop(held[RETIRED_NAME], NAME_NEEDED)


def _build(target: IndexKind, name: str, replaced: UniqueIndex | None) -> Step:
    """Build the target's index; it takes over the properties of the index that it replaces, if one is given."""
    built = UniqueIndex(
        name,
        "",
        KEYS[target],
        PREDICATE,
        unique=True,
        nulls_not_distinct=False,
        valid=True,
        ready=True,
        live=True,
        include=kept_columns(replaced, target) if replaced else (),
        storage=replaced.storage if replaced else (),
        tablespace=replaced.tablespace if replaced else None,
    )
    how = sql.SQL("CREATE UNIQUE INDEX CONCURRENTLY {name} ON {table} ({key})")
    statement = create_index(name, qualified(TABLE), how, built)
    return Step(
        "build",
        (statement,),
        ON_TABLE,
        transaction=False,
        builds=replace(built, definition=statement),
        why=f"the {target} index is built beside the others, while clients go on writing",
    )


def _drop(index: UniqueIndex, why: str) -> Step:
    statement = sql.SQL("DROP INDEX CONCURRENTLY {}").format(qualified(index.name)).as_string()
    return Step("drop", (statement,), ON_TABLE, transaction=False, drops=index.name, why=why)
