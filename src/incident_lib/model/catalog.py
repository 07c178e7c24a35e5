"""The unique indexes as types: what an index is by its definition and flags, and the state that all are in."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

from incident_lib.model.pseudonyms import hide_ids

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

INDEX_NAME = "idx_q_threads_family_unique"
BUILD_NAME = f"{INDEX_NAME}_build"
RETIRED_NAME = f"{INDEX_NAME}_retired"
INDEX_NAMES = (INDEX_NAME, BUILD_NAME, RETIRED_NAME)
PREDICATE = "is_active = true AND root_prompt_row_id IS NOT NULL"


class IndexKind(StrEnum):
    """What a unique index is, judged by its definition and never by its name."""

    ORIGINAL = "original"  # (root, owner): one active thread per family
    FIXED = "fixed"  # (root, owner, purpose): one active thread per family and purpose
    HARMLESS = "harmless"  # cannot make one purpose block another
    UNREADABLE = "unreadable"  # may block families; which ones is unknown


KEYS: dict[IndexKind, tuple[str, ...]] = {
    IndexKind.ORIGINAL: ("root_prompt_row_id", "owner_id"),
    IndexKind.FIXED: ("root_prompt_row_id", "owner_id", "purpose"),
}
# The columns by which "one active thread per …" can be enforced. A key with any other column cannot block a family:
# a new thread has a value of its own in that column.
KEY_COLUMNS = frozenset({"root_prompt_row_id", "owner_id", "provider", "purpose", "is_active"})


# The usual spellings of a predicate that covers the active threads: PostgreSQL's own of ours, and ours.
USUAL_PREDICATES = frozenset({"((is_active = true) AND (root_prompt_row_id IS NOT NULL))", PREDICATE})


@dataclass(frozen=True)
class UniqueIndex:
    """A unique or exclusion index of q_threads, as pg_index describes it."""

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
    covers_active: bool = False  # PostgreSQL evaluated the predicate: it covers the active threads with a whole key
    schema: str = "public"
    partition: str | None = None  # path of the partition that it is on; None: it is on q_threads itself
    parent: str | None = None  # path of the index that it is attached to

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

    @cached_property
    def kind(self) -> IndexKind:
        """What it is, from columns, predicate, uniqueness and the treatment of NULLs."""
        if self.unique and not self.nulls_not_distinct and self._covers():
            for kind, key in KEYS.items():
                if sorted(map(str, self.columns)) == sorted(key):
                    return kind
        return IndexKind.HARMLESS if self._harmless() else IndexKind.UNREADABLE

    def _covers(self) -> bool:
        return self.covers_active or self.predicate in USUAL_PREDICATES

    def differences(self) -> str:
        """What tells it from both the original and the fixed index; empty for one of these."""
        key = ", ".join(column or "(expression)" for column in self.columns)
        is_known = None not in self.columns and any(sorted(map(str, self.columns)) == sorted(k) for k in KEYS.values())
        known = " or ".join(f"({', '.join(columns)})" for columns in KEYS.values())
        if self.predicate is None:
            predicate = "it has no predicate, and covers threads that are not active, too"
        else:
            predicate = f"its predicate may cover other threads than the active ones: {hide_ids(self.predicate)}"
        return "; ".join(
            text
            for differs, text in (
                (not self.unique, "it is an exclusion constraint"),
                (not is_known, f"its key is ({key}) and not {known}"),
                (self.nulls_not_distinct, "it is NULLS NOT DISTINCT: threads without an owner conflict, too"),
                (not self._covers(), predicate),
            )
            if differs
        )

    def _harmless(self) -> bool:
        plain = self.unique and None not in self.columns
        return plain and ("purpose" in self.columns or not set(self.columns) <= KEY_COLUMNS)

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
    FIXED = "fixed"
    BUILDING = "building"  # an index of one kind is there, one of the other kind is not complete yet
    OVERLAPPING = "overlapping"  # both kinds are there, complete
    RETIRING = "retiring"  # the fixed index is complete, the original one is being dropped
    MISSING = "missing"  # none is enforced
    UNKNOWN = "unknown"  # an index is enforced whose definition this project cannot read


@dataclass(frozen=True)
class Partition:
    """A partition of q_threads, or a partition of one."""

    schema: str
    name: str
    parent: str  # path of the table that it is a partition of
    leaf: bool  # it holds threads, and has no partitions itself

    @property
    def path(self) -> str:
        """Its schema and name."""
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class Partitions:
    """The partitions of a partitioned q_threads.

    Attributes:
        tables: each after the table that it is a partition of.
        attached: the partitions' indexes that belong to a unique index of q_threads itself.
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

    def of(self, kind: IndexKind) -> tuple[UniqueIndex, ...]:
        """The indexes of one kind, enforced or not."""
        return tuple(index for index in self.indexes if index.kind is kind)

    def enforces(self, kind: IndexKind) -> bool:
        """Whether an index of this kind is enforced."""
        return any(index.enforced for index in self.of(kind))

    @property
    def family_indexes(self) -> tuple[UniqueIndex, ...]:
        """The indexes that block families, or may do so: all but the harmless ones."""
        return tuple(index for index in self.indexes if index.kind is not IndexKind.HARMLESS)

    @property
    def unreadable(self) -> tuple[UniqueIndex, ...]:
        """The enforced indexes whose definition this project cannot read."""
        return tuple(index for index in self.of(IndexKind.UNREADABLE) if index.enforced)

    @property
    def state(self) -> IndexState:
        """The state, by definitions and flags."""
        original, fixed = self.of(IndexKind.ORIGINAL), self.of(IndexKind.FIXED)
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
        """Whether one purpose blocks another: an original index is enforced. None: an index cannot be read."""
        return None if self.unreadable else self.enforces(IndexKind.ORIGINAL)


def sort_indexes(
    indexes: Iterable[UniqueIndex], tables: tuple[Partition, ...]
) -> tuple[tuple[UniqueIndex, ...], Partitions]:
    """Sort the indexes of a partitioned table and of its partitions.

    PostgreSQL flags every index of a partitioned table as ready. Here it is ready, that is enforced, if it is valid or
    an index of a partition that is attached to it is enforced.

    Returns:
        The indexes of q_threads itself and those of partitions that are attached to none of them; then the others.
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
