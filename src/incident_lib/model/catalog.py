"""The unique indexes as types: what an index is by its definition and flags, and the state that all are in."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from itertools import chain, repeat
from typing import TYPE_CHECKING

from incident_lib.model.change import PURPOSE, SIDES, IndexChange, IndexKey, IndexKind
from incident_lib.model.pseudonyms import hide_ids

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True)
class UniqueIndex:
    """A unique or exclusion index of the table, as pg_index describes it, and the change that it is judged by."""

    name: str
    definition: str
    columns: tuple[str | None, ...]  # key columns; None where the key is an expression
    predicate: str | None
    unique: bool
    nulls_not_distinct: bool
    valid: bool
    ready: bool
    live: bool
    comment: str | None = None
    size: int = 0  # bytes
    builder: int | None = None  # pid of the backend that is building it now
    include: tuple[str, ...] = ()  # columns that it has besides its key
    storage: tuple[str, ...] = ()  # its storage parameters, such as "fillfactor=70"
    tablespace: str | None = None  # None: the database's own
    special: tuple[str, ...] = ()  # its key columns with DESC, NULLS FIRST, an operator class or a collation
    equality: tuple[str, ...] = ()  # its key columns in which other values are equal than by their types
    used: tuple[str, ...] = ()  # the columns of its key, its expressions and its predicate
    covers_same: bool = False  # by what PostgreSQL makes of its predicate: it covers the change's rows
    schema: str = "public"
    partition: str | None = None  # path of the partition that it is on; None: it is on the table itself
    parent: str | None = None  # path of the index that it is attached to
    expressions: tuple[str, ...] = ()  # those of its key, in parentheses, in the change's spelling
    constraint: str | None = None  # that it backs
    constraint_comment: str | None = None
    bound: tuple[str, ...] = ()  # what prevents that another index takes its place, a phrase each
    change: IndexChange = field(default=PURPOSE, repr=False)

    @property
    def path(self) -> str:
        """Its schema and name."""
        return f"{self.schema}.{self.name}"

    @property
    def enforced(self) -> bool:
        """Whether PostgreSQL enforces it on writes: ready, valid or not."""
        return self.ready

    @property
    def complete(self) -> bool:
        """Whether it is enforced, and also covers the rows that were there before it."""
        return self.valid and self.ready and self.live

    @property
    def usable(self) -> bool:
        """Whether it is complete, and of the whole table: an index of a partition alone is not."""
        return self.complete and self.partition is None

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of its key: columns, and expressions in parentheses."""
        expressions = chain(self.expressions, repeat("(expression)"))
        return tuple(next(expressions) if column is None else column for column in self.columns)

    @cached_property
    def kind(self) -> IndexKind:
        """What it is to the change, from columns, predicate, uniqueness and the treatment of NULLs."""
        known = None
        if self.unique and self._covers() and not self.equality:
            known = self.change.kind_of(self.parts, nulls_not_distinct=self.nulls_not_distinct)
        return known or (IndexKind.HARMLESS if self._harmless() else IndexKind.UNREADABLE)

    def _covers(self) -> bool:
        return self.covers_same or self.change.covers(self.predicate)

    @property
    def label(self) -> str:
        """What messages call an index of its kind."""
        return self.change.label(self.kind) if self.kind in SIDES else self.kind.value

    def differences(self) -> str:
        """What tells it from both the index before the change and the one after it; empty for one of these."""
        keys = (self.change.before, self.change.after)
        is_known = any(key.has(self.parts) for key in keys)
        nulls = {key.nulls_not_distinct for key in keys if key.has(self.parts)} or {False}
        known = " or ".join(map(str, keys))
        return "; ".join(
            text
            for differs, text in (
                (not self.unique, "it is an exclusion constraint"),
                (bool(self.equality), f"it compares {', '.join(self.equality)}"),
                (not is_known, f"its key is {hide_ids(str(IndexKey(self.parts)))} and not {known}"),
                (self.nulls_not_distinct not in nulls, self._nulls()),
                (not self._covers(), self._predicate()),
            )
            if differs
        )

    def _nulls(self) -> str:
        words = self.change.wording
        if self.nulls_not_distinct:
            return f"it is NULLS NOT DISTINCT: {words.equal_nulls}"
        return f"it is not NULLS NOT DISTINCT: {words.distinct_nulls}"

    def _predicate(self) -> str:
        words = self.change.wording
        if self.predicate is None:
            return f"it has no predicate, and {words.all_rows}"
        return f"its predicate may cover {words.other_rows}: {hide_ids(self.predicate)}"

    def _harmless(self) -> bool:
        if self.change.is_apart(self.used):
            return True
        return self.unique and None not in self.columns and not self.change.may_reject(self.columns)

    def flags(self) -> str:
        """Its flags in words: `valid`, or what is missing."""
        if self.usable:
            return "valid"
        return ", ".join(
            word
            for on, word in (
                (self.partition is not None, f"on the partition {self.partition} alone"),
                (not self.valid, "invalid"),
                (self.ready, "still enforced"),
                (not self.ready, "not enforced"),
                (not self.live, "being dropped"),
            )
            if on
        )


class IndexState(StrEnum):
    """The state that the unique indexes are in together."""

    ORIGINAL = "original"
    FIXED = "fixed"  # or a finer one
    BUILDING = "building"  # an index of one kind is there, one of the other kind is not complete yet
    OVERLAPPING = "overlapping"  # both kinds are there, complete
    RETIRING = "retiring"  # the fixed index is complete, the original one is being dropped
    MISSING = "missing"  # none is enforced
    UNKNOWN = "unknown"  # an index is enforced whose definition this project cannot read


@dataclass(frozen=True)
class Partition:
    """A partition of the table, or a partition of one."""

    schema: str
    name: str
    parent: str  # path of the table that it is a partition of
    leaf: bool  # it holds rows, and has no partitions itself

    @property
    def path(self) -> str:
        """Its schema and name."""
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class Partitions:
    """The partitions of a partitioned table.

    Attributes:
        tables: each after the table that it is a partition of.
        attached: the partitions' indexes that belong to a unique index of the table itself.
    """

    tables: tuple[Partition, ...]
    attached: tuple[UniqueIndex, ...] = ()


@dataclass(frozen=True)
class Catalog:
    """All that PostgreSQL's catalog says about the unique indexes: the state machine's state."""

    indexes: tuple[UniqueIndex, ...]
    taken_names: dict[str, str] = field(default_factory=dict)  # our names that something else has, and what that is
    # Other sessions' pids that hold a lock on the table under which an index may be being built or dropped. They are
    # read only where an index is not complete: elsewhere nothing could be taken for a leftover.
    lock_holders: tuple[int, ...] = ()
    # Of a partitioned table: `indexes` then also has the partitions' indexes that are not attached.
    partitions: Partitions | None = None
    change: IndexChange = field(default=PURPOSE, repr=False)  # that the indexes are judged by

    def of(self, kind: IndexKind) -> tuple[UniqueIndex, ...]:
        """The indexes of one kind, enforced or not."""
        return tuple(index for index in self.indexes if index.kind is kind)

    def enforces(self, kind: IndexKind) -> bool:
        """Whether an index of this kind is enforced."""
        return any(index.enforced for index in self.of(kind))

    @property
    def relevant_indexes(self) -> tuple[UniqueIndex, ...]:
        """The indexes that are part of the change, or may reject what it allows: all but the harmless ones."""
        return tuple(index for index in self.indexes if index.kind is not IndexKind.HARMLESS)

    @property
    def unreadable(self) -> tuple[UniqueIndex, ...]:
        """The enforced indexes whose definition this project cannot read."""
        return tuple(index for index in self.of(IndexKind.UNREADABLE) if index.enforced)

    @property
    def strangers(self) -> dict[str, str]:
        """The change's names that something else has than an index of the change, and what that is."""
        indexes = (index for index in self.indexes if index.partition is None)
        return self.taken_names | {
            i.name: i.definition for i in indexes if i.name in self.change.names and i.kind not in SIDES
        }

    def is_followed(self, target: IndexKind) -> bool:
        """Whether an index of the change that follows is complete: it is in the place of the fixed index."""
        return target is IndexKind.FIXED and any(index.usable for index in self.of(IndexKind.FINER))

    @property
    def state(self) -> IndexState:
        """The state, by definitions and flags."""
        original = self.of(IndexKind.ORIGINAL) + self.of(IndexKind.COARSER)
        fixed = self.of(IndexKind.FIXED) + self.of(IndexKind.FINER)
        original_usable, fixed_usable = (any(i.usable for i in kind) for kind in (original, fixed))
        if self.unreadable:
            return IndexState.UNKNOWN
        if not any(index.enforced for index in original + fixed):
            return IndexState.MISSING
        if original_usable and fixed_usable:
            return IndexState.OVERLAPPING
        if fixed_usable:
            return IndexState.RETIRING if original else IndexState.FIXED
        return IndexState.ORIGINAL if original_usable and not fixed else IndexState.BUILDING

    @property
    def blocks(self) -> bool | None:
        """Whether what the change allows is rejected: an original index is enforced. None: an index cannot be read."""
        return None if self.unreadable else self.enforces(IndexKind.ORIGINAL)


def sort_indexes(
    indexes: Iterable[UniqueIndex], tables: tuple[Partition, ...]
) -> tuple[tuple[UniqueIndex, ...], Partitions]:
    """Sort the indexes of a partitioned table and of its partitions.

    PostgreSQL flags every index of a partitioned table as ready. Here it is ready, that is enforced, if it is valid or
    an index of a partition that is attached to it is enforced.

    Returns:
        The indexes of the table itself and those of partitions that are attached to none of them; then the others.
    """
    paths = {index.path: index for index in indexes}
    leaves = {table.path for table in tables if table.leaf}
    enforced = {
        above.path
        for index in paths.values()
        if index.partition in leaves and index.ready
        for above in _above(index, paths)
    }
    own: list[UniqueIndex] = []
    attached: list[UniqueIndex] = []
    for index in paths.values():
        ready = index.ready if index.partition in leaves else index.valid or index.path in enforced
        made = index if ready == index.ready else replace(index, ready=ready)
        top = [index, *_above(index, paths)][-1]
        (attached if index.parent and top.partition is None else own).append(made)
    return tuple(own), Partitions(tables, tuple(attached))


def _above(index: UniqueIndex, paths: dict[str, UniqueIndex]) -> Iterator[UniqueIndex]:
    """The indexes that it is attached to, directly and indirectly."""
    while index.parent in paths:
        index = paths[index.parent]
        yield index
