"""The plan for a partitioned table: PostgreSQL builds and drops no index of it CONCURRENTLY. No connection.

An index of the table itself is created first, on the table alone. Then each partition gets an index, built
CONCURRENTLY. Each of these is attached, which makes the first one valid. The catalog shows how far that is.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from psycopg import sql

from incident_lib.database import table_sql
from incident_lib.migration.steps import (
    NAME_NEEDED,
    NO_WAIT,
    ONE_LOCK,
    SEVERAL_LOCKS,
    create_index,
    kept_back,
    may_be_building,
    new_index,
    preference,
    replaced_index,
    swap,
    wait,
)
from incident_lib.model import SIDES, IndexKind, Step, UniqueIndex, sort_indexes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from incident_lib.model import Catalog, IndexChange, Partition, Partitions

LONGEST_PREFIX = 40  # bytes of a partition's name in the name of its index, which may have 63
_ONLY = sql.SQL("CREATE UNIQUE INDEX {name} ON ONLY {table} ({key})")
_CONCURRENTLY = sql.SQL("CREATE UNIQUE INDEX CONCURRENTLY {name} ON {table} ({key})")


def first_step(catalog: Catalog, partitions: Partitions, target: IndexKind, *, plain: bool) -> Step | None:
    """The first step; None where the target's index of the table is the only one, under the official name."""
    return _Planner(catalog, partitions, target, plain).first()


def catalog_after(step: Step, catalog: Catalog, partitions: Partitions) -> Catalog:
    """What the catalog of a partitioned table holds once a step has succeeded."""
    indexes = {index.path: index for index in catalog.indexes + partitions.attached}
    gone = {path for path, index in indexes.items() if index.name == step.drops}
    while more := {path for path, index in indexes.items() if index.parent in gone} - gone:
        gone |= more
    indexes = {path: index for path, index in indexes.items() if path not in gone}
    if step.builds:
        indexes[step.builds.path] = step.builds
    if step.attaches:
        path, parent = step.attaches
        indexes[path] = replace(indexes[path], parent=parent)
    if step.waits_for:
        indexes = {path: _ended(index, step.waits_for) for path, index in indexes.items()}
    change = catalog.change
    names = {f"{change.schema}.{old}": new for old, new in step.renames}
    if names:
        indexes = {path: _renamed(index, names) for path, index in indexes.items()}
    judged = _validated(list(indexes.values()), partitions.tables, change.path)
    own, arranged = sort_indexes(judged, partitions.tables)
    holders = () if step.waits_for else catalog.lock_holders
    return replace(catalog, indexes=own, partitions=arranged, lock_holders=holders)


def _renamed(index: UniqueIndex, names: dict[str, str]) -> UniqueIndex:
    parent = f"{index.change.schema}.{names[index.parent]}" if index.parent in names else index.parent
    return replace(index, name=names.get(index.path, index.name), parent=parent)


def _ended(index: UniqueIndex, name: str) -> UniqueIndex:
    built = index.builder and index.name == name
    return replace(index, builder=None, valid=True, ready=True) if built else index


def _validated(indexes: list[UniqueIndex], tables: tuple[Partition, ...], root: str) -> Iterator[UniqueIndex]:
    """The indexes as PostgreSQL flags them: valid once each partition has a valid index that is attached."""
    valid = {(index.partition, index.parent) for index in indexes if index.valid}
    # A partition comes after its parent: from the last to the first, each is judged after its partitions.
    partitioned = [*(table.path for table in reversed(tables) if not table.leaf), None]
    children = _children(tables)
    for path in partitioned:
        parts = children.get(path or root, [])
        for index in indexes:
            if index.partition == path and all((part.path, index.path) in valid for part in parts):
                valid.add((path, index.parent))
                valid.add((path, index.path))
    for index in indexes:
        is_changed = not index.valid and (index.partition, index.path) in valid
        yield replace(index, valid=True) if is_changed else index


@dataclass(frozen=True)
class _Planner:
    catalog: Catalog
    partitions: Partitions
    target: IndexKind
    plain: bool

    def first(self) -> Step | None:
        indexes = [index for index in self.catalog.indexes if index.kind in SIDES]
        if builds := [index for index in indexes if index.builder]:
            return wait(builds[0], f"another session is still building {builds[0].name}")
        if self.catalog.is_followed(self.target):
            return self._retire([index for index in indexes if index.kind is not self.target])
        wanted = [index for index in indexes if index.kind is self.target and index.partition is None]
        keep = min((index for index in wanted if index.usable), key=preference, default=None)
        if keep is None:
            begun = [index for index in wanted if self._may_become_valid(index)]
            return self._complete(min(begun, key=preference)) if begun else self._make()
        held = {index.name: index for index in indexes if index.partition is None}
        extra = [index for index in indexes if index.kind is self.target and index is not keep]
        if extra:
            return self._drop(_first_to_go(extra), "another index of the same kind is complete")
        if keep.name != self._change.index:
            return self._rename(keep, held)
        return self._retire([index for index in indexes if index is not keep])

    @property
    def _change(self) -> IndexChange:
        return self.catalog.change

    @property
    def _label(self) -> str:
        return self._change.label(self.target)

    def _retire(self, others: list[UniqueIndex]) -> Step | None:
        is_back = self.target is IndexKind.ORIGINAL
        why = kept_back(self._change) if is_back else self._change.wording.why_drop_last
        return self._drop(_first_to_go(others), why) if others else None

    def _rename(self, keep: UniqueIndex, held: dict[str, UniqueIndex]) -> Step:
        """Give the official name to the index that stays; the index that has it now needs another free name."""
        official, *helpers = self._change.names
        spare = [name for name in reversed(helpers) if name not in held]
        if spare or official not in held:
            current, replaced = held.get(official), replaced_index(self.catalog, self.target)
            named = current or (replaced if not keep.comment else None)
            return swap(keep, current, spare, named.comment if named else None)
        rival = next(held[name] for name in reversed(helpers) if held[name] is not keep)
        return self._drop(rival, NAME_NEEDED)

    def _make(self) -> Step:
        """Create the index of the table itself, under a free name."""
        held = {index.name: index for index in self.catalog.indexes if index.partition is None}
        official, build, retired = self._change.names
        free = [name for name in (build, retired, official) if name not in held]
        if not free:  # never the only complete one
            rival = min(held.values(), key=lambda index: (index.usable, index.name != retired))
            return self._drop(rival, NAME_NEEDED)
        replaced = None if self.plain else replaced_index(self.catalog, self.target)
        made = new_index(self._change, self.target, free[0], replaced)
        if self.partitions.tables:
            made = replace(made, valid=False, ready=False)
        return self._create(made, table_sql(self._change), self._change.path)

    def _create(self, made: UniqueIndex, table: sql.Identifier, path: str) -> Step:
        """Create an index of a partitioned table alone: it is enforced nowhere, and becomes valid by attaching."""
        statement = create_index(made.name, table, _ONLY, made)
        return Step(
            "create",
            (statement,),
            f"SHARE on {path} alone: writes through it wait, {ONE_LOCK}",
            transaction=True,
            builds=replace(made, definition=statement),
            blocks_clients=True,
            why=f"the {self._label} index of {path}: the partitions' indexes are attached to it",
        )

    def _may_become_valid(self, index: UniqueIndex) -> bool:
        """Whether attaching makes it valid: what is attached to it already is complete, and it is an index of ours."""
        leaves = {table.path for table in self.partitions.tables if table.leaf}
        parts, above = [], {index.path}
        while found := [part for part in self.partitions.attached if part.parent in above]:
            parts += found
            above = {part.path for part in found}
        return not index.special and all(part.complete for part in parts if part.partition in leaves)

    def _complete(self, root: UniqueIndex) -> Step:
        """What the index of the table lacks first: all indexes of partitions are built before the first is attached."""
        attaches: list[tuple[UniqueIndex, UniqueIndex, Partition]] = []
        for lacking in self._below(self._change.path, root, root):
            if isinstance(lacking, Step):
                return lacking
            attaches.append(lacking)
        return self._attach(*attaches[0])

    def _below(
        self, table: str, parent: UniqueIndex, root: UniqueIndex
    ) -> Iterator[Step | tuple[UniqueIndex, UniqueIndex, Partition]]:
        """What the index of a partitioned table lacks, from the partitions of partitions upwards.

        Yields:
            A step, or an index that is to be attached, the index to attach it to, and its partition.
        """
        for part in self._children.get(table, ()):
            attached = [i for i in self._of(part) if i.parent == parent.path]
            loose = [i for i in self._of(part) if i.parent is None and i.kind is self.target]
            fitting = [*attached, *(i for i in loose if _fits(i, root))]
            if part.leaf:
                fitting = [index for index in fitting if index.complete]
            if not fitting:
                yield self._build(part, [index for index in loose if not index.complete], root)
                continue
            if not part.leaf:
                yield from self._below(part.path, fitting[0], root)
            if not attached:
                yield fitting[0], parent, part

    @cached_property
    def _children(self) -> dict[str, list[Partition]]:
        return _children(self.partitions.tables)

    def _of(self, part: Partition) -> list[UniqueIndex]:
        return self._by_partition.get(part.path, [])

    @cached_property
    def _by_partition(self) -> dict[str | None, list[UniqueIndex]]:
        found = defaultdict[str | None, list[UniqueIndex]](list)
        for index in self.catalog.indexes + self.partitions.attached:
            found[index.partition].append(index)
        return found

    def _build(self, part: Partition, leftovers: list[UniqueIndex], root: UniqueIndex) -> Step:
        if leftovers and part.leaf:
            return self._drop(leftovers[0], "a build that did not finish left it")
        table = sql.Identifier(part.schema, part.name)
        like = self._like(part, root)
        if not part.leaf:
            return self._create(replace(like, valid=False, ready=False), table, part.path)
        statement = create_index(like.name, table, _CONCURRENTLY, like)
        return Step(
            "build",
            (statement,),
            NO_WAIT.format(part.path),
            transaction=False,
            builds=replace(like, definition=statement),
            why=f"the {self._label} index of the partition is built beside the others, while clients go on writing",
        )

    def _like(self, part: Partition, root: UniqueIndex) -> UniqueIndex:
        """A partition's index like the one of the table, with the storage of the one that it replaces there."""
        replaced = None if self.plain else replaced_index(self.catalog, self.target)
        same = [i for i in self._of(part) if i.kind is not self.target and replaced and i.parent is not None]
        return replace(
            root,
            name=_free_name(part, self.target, {index.name for index in self._of(part)}),
            schema=part.schema,
            partition=part.path,
            parent=None,
            predicate=self._change.predicate if root.change.covers(root.predicate) else root.predicate,
            valid=True,
            ready=True,
            comment=None,
            storage=same[0].storage if same else root.storage,
            tablespace=same[0].tablespace if same else root.tablespace,
        )

    def _attach(self, index: UniqueIndex, parent: UniqueIndex, part: Partition) -> Step:
        above, below = (sql.Identifier(each.schema, each.name) for each in (parent, index))
        statement = sql.SQL("ALTER INDEX {} ATTACH PARTITION {}").format(above, below).as_string()
        return Step(
            "attach",
            (statement,),
            f"ACCESS EXCLUSIVE on this index of {part.path}: its reads and writes wait, {ONE_LOCK}",
            transaction=True,
            attaches=(index.path, parent.path),
            blocks_clients=True,
            why="once every partition's index is attached, the index of the table is valid",
        )

    def _drop(self, index: UniqueIndex, why: str) -> Step:
        """Drop an index: CONCURRENTLY where it is one of a partition that has no partitions itself."""
        name = sql.Identifier(index.schema, index.name).as_string()
        if index.partition in {table.path for table in self.partitions.tables if table.leaf}:
            if self.catalog.lock_holders and not index.complete:
                return wait(index, may_be_building(self.catalog.lock_holders))
            statement, lock = f"DROP INDEX CONCURRENTLY {name}", NO_WAIT.format(index.partition)
            return Step("drop", (statement,), lock, transaction=False, drops=index.name, why=why)
        return Step(
            "drop",
            (f"DROP INDEX {name}",),
            f"ACCESS EXCLUSIVE on {index.partition or self._change.path} and its partitions: "
            f"reads and writes wait, {SEVERAL_LOCKS}",
            transaction=True,
            drops=index.name,
            blocks_clients=True,
            why=why,
        )


def _children(tables: tuple[Partition, ...]) -> dict[str, list[Partition]]:
    found = defaultdict[str, list["Partition"]](list)
    for table in tables:
        found[table.parent].append(table)
    return found


def _first_to_go(indexes: list[UniqueIndex]) -> UniqueIndex:
    """The one to drop first: those of partitions alone go before those of the table."""
    return min(indexes, key=lambda index: (index.partition is None, index.parent is not None, index.path))


def _fits(index: UniqueIndex, root: UniqueIndex) -> bool:
    """Whether PostgreSQL attaches it to this index of the table: both are defined alike."""
    same_rows = index.predicate == root.predicate or all(root.change.covers(i.predicate) for i in (index, root))
    return same_rows and not index.special and (index.parts, index.include) == (root.parts, root.include)


def _free_name(part: Partition, kind: IndexKind, taken: Iterable[str]) -> str:
    """A name of at most 63 bytes that follows from the partition's: its index of this kind."""
    digest = hashlib.sha256(part.path.encode()).hexdigest()[:8]
    prefix = part.name.encode()[:LONGEST_PREFIX].decode(errors="ignore")
    name = f"{prefix}_{digest}_{kind}"
    names = [name, *(f"{name}_{number}" for number in range(2, len(set(taken)) + 3))]
    return next(each for each in names if each not in set(taken))
