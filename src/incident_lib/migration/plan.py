"""A change and its rollback as data: from what the catalog holds to a list of steps. No connection."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from psycopg import sql

from incident_lib.database import table_sql
from incident_lib.migration import partitions
from incident_lib.migration.refusal import name_taken, refusal
from incident_lib.migration.steps import (
    NAME_NEEDED,
    NO_WAIT,
    OTHER_KIND,
    constrain,
    create_index,
    drop_index,
    kept_back,
    may_be_building,
    new_index,
    preference,
    replaced_index,
    swap,
    wait,
)
from incident_lib.model import Catalog, IndexKind, Plan, Step, UniqueIndex

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


def plan_change(
    catalog: Catalog, target: IndexKind = IndexKind.FIXED, *, plain: bool = False, most: int | None = None
) -> Plan:
    """Plan the steps from what the catalog holds to one unique index of the target's kind, under the official name.

    After an interruption the catalog is read and the plan made again: each plan is its first step, followed by the
    plan from the catalog that this step leaves. If a unique index was enforced, one is enforced at all times.

    Args:
        catalog: what there is, judged by the change.
        target: the kind of the index that stays: FIXED for the change, ORIGINAL for its rollback.
        plain: build it without the tablespace, storage parameters and INCLUDE columns of the index that it replaces.
        most: plan no more than so many steps.

    Returns:
        The steps, none where nothing is left to do; or the reason why there is no safe plan.
    """
    why = refusal(catalog, target)
    try:
        if why is None and catalog.strangers:
            most = None  # whether a name is missing later shows only in the whole plan
        steps = () if why else tuple(islice(_steps(catalog, target, plain=plain), most))
    except _NameMissing:
        why, steps = name_taken(catalog), ()
    return Plan(catalog.change, target, steps, *(why or ()))


class _NameMissing(Exception):
    """A step needs a name, and none can be made free without an index that is needed."""


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
    if step.constrains:
        indexes = [replace(i, constraint=i.name) if i.name == step.constrains else i for i in indexes]
    if step.waits_for:
        ended = [i.name for i in indexes if i.builder and i.name == step.waits_for]
        indexes = [replace(i, builder=None, valid=True, ready=True) if i.name in ended else i for i in indexes]
        return replace(catalog, indexes=tuple(indexes), lock_holders=())
    return replace(catalog, indexes=tuple(indexes))


def has_to_wait(step: Step, catalog: Catalog) -> bool:
    """Whether a wait step still has to wait: its index is being built, or may be; `catalog` was read just now."""
    left = [index for index in catalog.indexes if index.name == step.waits_for]
    return any(index.builder or (catalog.lock_holders and not index.complete) for index in left)


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
    if catalog.is_followed(target):
        return drop_index(others[0], _why_retire(others[0], target)) if others else None
    keep = min((index for index in wanted if index.usable), key=preference, default=None)
    if keep is None:
        if leftovers := [index for index in held.values() if _is_leftover(index, held)]:
            return drop_index(leftovers[0], "a build or a drop that did not finish left it")
        return _make(catalog, target, held, plain=plain)
    if extra := [index for index in wanted if index is not keep]:
        return drop_index(extra[0], "another index of the same kind is complete")
    return _put_in_place(keep, held, catalog, target) or _retire(others, target)


def _put_in_place(keep: UniqueIndex, held: dict[str, UniqueIndex], catalog: Catalog, target: IndexKind) -> Step | None:
    """Give the index that stays the official name, and make it that of the constraint, if the change has one."""
    current = held.get(catalog.change.index)
    if current and current is not keep and current.constraint and not keep.constraint:
        return constrain(keep, current)
    if keep.name != catalog.change.index:
        return _rename(keep, held, replaced_index(catalog, target), catalog.strangers)
    return constrain(keep, None) if catalog.change.constraint and not keep.constraint else None


def _rename(
    keep: UniqueIndex, held: dict[str, UniqueIndex], replaced: UniqueIndex | None, strangers: Collection[str]
) -> Step:
    """Give the official name to the unique index that stays; the index that has it now needs another free name."""
    official, *helpers = keep.change.names
    spare = [name for name in reversed(helpers) if name not in held and name not in strangers]
    if spare or official not in held:
        current = held.get(official)
        named = current or (replaced if not keep.comment else None)
        return swap(keep, current, spare, named.comment if named else None)
    rivals = [held[name] for name in reversed(helpers) if name in held and held[name] is not keep]
    return drop_index([*rivals, held[official]][0], NAME_NEEDED)


def _retire(others: tuple[UniqueIndex, ...], target: IndexKind) -> Step | None:
    return drop_index(others[0], _why_retire(others[0], target)) if others else None


def _why_retire(index: UniqueIndex, target: IndexKind) -> str:
    if target is IndexKind.FIXED:
        return index.change.wording.why_drop
    return kept_back(index.change)


def _is_leftover(index: UniqueIndex, held: dict[str, UniqueIndex]) -> bool:
    """Whether it may be dropped before the target's index is built: it is not enforced, or others are complete."""
    return not index.usable and (not index.enforced or any(other.usable for other in held.values()))


def _make(catalog: Catalog, target: IndexKind, held: dict[str, UniqueIndex], *, plain: bool) -> Step:
    """Build the target's index under a free name; where other indexes have all three names, drop one first."""
    official, build, retired = catalog.change.names
    free = [name for name in (build, retired, official) if name not in held and name not in catalog.strangers]
    if not free:
        return drop_index(
            _rival([held[name] for name in (retired, build, official) if name in held], held), NAME_NEEDED
        )
    made = new_index(catalog.change, target, free[0], None if plain else replaced_index(catalog, target))
    how = sql.SQL("CREATE UNIQUE INDEX CONCURRENTLY {name} ON {table} ({key})")
    statement = create_index(made.name, table_sql(catalog.change), how, made)
    return Step(
        "build",
        (statement,),
        NO_WAIT.format(catalog.change.path),
        transaction=False,
        builds=replace(made, definition=statement),
        why=f"the {catalog.change.label(target)} index is built beside the others, while clients go on writing",
    )


def _rival(named: list[UniqueIndex], held: dict[str, UniqueIndex]) -> UniqueIndex:
    """The index whose name is made free, of those that have one: others are enforced while it is gone.

    They are all complete, or none is and all are enforced. Then one goes beside another one of its kind, or the
    index from after the change, which allows more.
    """
    others = [index.kind for index in held.values()]
    if not named or len(others) == 1:
        raise _NameMissing
    if any(index.usable for index in named):
        return named[0]
    twice = [index for index in named if others.count(index.kind) > 1]
    return [*twice, *(index for index in named if index.kind is IndexKind.FIXED), named[0]][0]
