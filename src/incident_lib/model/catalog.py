"""The guards as types: what an index is by its definition and flags, and the state that they are in together."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

INDEX_NAME = "idx_q_threads_family_unique"
BUILD_NAME = f"{INDEX_NAME}_build"
RETIRED_NAME = f"{INDEX_NAME}_retired"
INDEX_NAMES = (INDEX_NAME, BUILD_NAME, RETIRED_NAME)


class IndexKind(StrEnum):
    """What a unique index is, judged by its definition and never by its name."""

    ORIGINAL = "original"  # (root, owner): one active thread per family
    FIXED = "fixed"  # (root, owner, purpose): one active thread per family and purpose
    HARMLESS = "harmless"  # cannot make one purpose block another
    UNREADABLE = "unreadable"  # may block; we cannot say whom


KEYS: dict[IndexKind, tuple[str, ...]] = {
    IndexKind.ORIGINAL: ("root_prompt_row_id", "owner_id"),
    IndexKind.FIXED: ("root_prompt_row_id", "owner_id", "purpose"),
}
# What "one active thread per …" can be counted by. A key with any other column is not such a guard:
# a new thread brings a value of its own for it.
KEY_COLUMNS = frozenset({"root_prompt_row_id", "owner_id", "provider", "purpose", "is_active"})


def is_active_predicate(predicate: str | None) -> bool:
    """Whether a predicate, as pg_get_expr prints it, says `is_active = true AND root_prompt_row_id IS NOT NULL`."""
    terms = {re.sub(r"[()\s]", "", term).lower() for term in re.split(r"\bAND\b", predicate or "", flags=re.I)}
    active = terms & {"is_active", "is_active=true", "is_activeistrue"}
    return bool(active) and terms - active == {"root_prompt_row_idisnotnull"}


@dataclass(frozen=True)
class UniqueIndex:
    """A unique or exclusion index of q_threads, as pg_index has it."""

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
    builder: int | None = None  # pid of the backend that builds it now

    @property
    def in_force(self) -> bool:
        """Whether PostgreSQL enforces it on writes: ready, valid or not."""
        return self.ready

    @property
    def usable(self) -> bool:
        """Whether it is in force and complete: it covers the rows that came before it, too."""
        return self.valid and self.ready and self.live

    @property
    def kind(self) -> IndexKind:
        """What it is, from columns, predicate, uniqueness and the treatment of NULLs."""
        if self.unique and not self.nulls_not_distinct and is_active_predicate(self.predicate):
            for kind, key in KEYS.items():
                if sorted(map(str, self.columns)) == sorted(key):
                    return kind
        return IndexKind.HARMLESS if self._harmless() else IndexKind.UNREADABLE

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
                (not self.valid, "invalid"),
                (self.ready, "still enforcing"),
                (not self.ready, "not enforcing"),
                (not self.live, "being dropped"),
            )
            if on
        )


class IndexState(StrEnum):
    """What the catalog holds now."""

    ORIGINAL = "original"
    FIXED = "fixed"
    BUILDING = "building"  # a guard of one kind is there, one of the other is not complete yet
    OVERLAPPING = "overlapping"  # both, complete
    RETIRING = "retiring"  # fixed is complete, the original is on its way out
    MISSING = "missing"  # nothing enforces
    UNKNOWN = "unknown"  # something enforces that we cannot read


@dataclass(frozen=True)
class Catalog:
    """All that PostgreSQL's catalog says about the guards: the state machine's state."""

    indexes: tuple[UniqueIndex, ...]
    taken: dict[str, str] = field(default_factory=dict)  # our names that something else holds, and what

    def of(self, kind: IndexKind) -> tuple[UniqueIndex, ...]:
        """The indexes of one kind, in or out of force."""
        return tuple(index for index in self.indexes if index.kind is kind)

    def enforcing(self, kind: IndexKind) -> bool:
        """Whether a guard of this kind is in force."""
        return any(index.in_force for index in self.of(kind))

    @property
    def guards(self) -> tuple[UniqueIndex, ...]:
        """The indexes that are a guard, or may be one: all but the harmless."""
        return tuple(index for index in self.indexes if index.kind is not IndexKind.HARMLESS)

    @property
    def unreadable(self) -> tuple[UniqueIndex, ...]:
        """The indexes in force of which we cannot say whom they block."""
        return tuple(index for index in self.of(IndexKind.UNREADABLE) if index.in_force)

    @property
    def state(self) -> IndexState:
        """The guard state, by definitions and flags."""
        original, fixed = self.of(IndexKind.ORIGINAL), self.of(IndexKind.FIXED)
        original_usable, fixed_usable = (any(i.usable for i in kind) for kind in (original, fixed))
        if self.unreadable:
            return IndexState.UNKNOWN
        if not any(index.in_force for index in original + fixed):
            return IndexState.MISSING
        if original_usable and fixed_usable:
            return IndexState.OVERLAPPING
        if fixed_usable:
            return IndexState.RETIRING if original else IndexState.FIXED
        return IndexState.ORIGINAL if original_usable and not fixed else IndexState.BUILDING

    @property
    def blocks(self) -> bool | None:
        """Whether one purpose blocks another: an ORIGINAL guard is in force. None where we cannot tell."""
        return None if self.unreadable else self.enforcing(IndexKind.ORIGINAL)

    def definitions(self) -> list[dict[str, str]]:
        """Name, definition and flags of each guard, for records and for people."""
        return [
            {"name": i.name, "kind": i.kind.value, "definition": i.definition, "flags": i.flags()} for i in self.guards
        ]
