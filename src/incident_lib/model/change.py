"""A change of a unique index as data: which index of which table, its key before and after, which rows it covers."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import accumulate

_DEPTH = {"(": 1, ")": -1}
_QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")
LONGEST_NAME = 63  # bytes of a name in PostgreSQL
SCHEMA, TABLE = "public", "q_threads"
INDEX_NAME = "idx_q_threads_family_unique"
PREDICATE = "is_active = true AND root_prompt_row_id IS NOT NULL"


class IndexKind(StrEnum):
    """What a unique index is to a change, judged by its definition and never by its name."""

    ORIGINAL = "original"  # it has the key from before the change
    FIXED = "fixed"  # it has the key from after the change
    FINER = "finer"  # it has the key of the change that follows this one
    COARSER = "coarser"  # it has the key from before the change that this one follows
    HARMLESS = "harmless"  # it rejects nothing that the change allows
    UNREADABLE = "unreadable"  # it may reject what the change allows; what that is, is unknown


SIDES = (IndexKind.ORIGINAL, IndexKind.FIXED)  # of a change: the kinds that it builds and drops


@dataclass(frozen=True)
class IndexKey:
    """The key of a unique index.

    Attributes:
        parts: a column each, or an expression in parentheses, as CREATE INDEX takes them.
        nulls_not_distinct: NULL is equal to NULL (PostgreSQL 15 and later).
    """

    parts: tuple[str, ...]
    nulls_not_distinct: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The parts that are columns."""
        return tuple(part for part in self.parts if not is_expression(part))

    @property
    def expressions(self) -> tuple[str, ...]:
        """The parts that are expressions."""
        return tuple(filter(is_expression, self.parts))

    def has(self, parts: tuple[str, ...]) -> bool:
        """Whether these are its parts, in any order."""
        return sorted(self.parts) == sorted(parts)

    def __str__(self) -> str:
        return f"({', '.join(self.parts)})"


def is_expression(part: str) -> bool:
    """Whether a part of a key is an expression: it stands in parentheses, the first of which the last one closes."""
    depths = [*accumulate(_DEPTH[sign] for sign in _QUOTED.sub("", part) if sign in _DEPTH)]
    return part.startswith("(") and part.endswith(")") and 0 not in depths[:-1] and depths[-1] == 0


@dataclass(frozen=True)
class Neighbour:
    """A change that comes before or after another one on the same index: its name, and the key beyond it."""

    change: str
    key: IndexKey


@dataclass(frozen=True)
class Wording:
    """What the messages of a change call things.

    Attributes:
        original, fixed: the index before the change, and after it: `the … index`.
        row: one of the rows that the indexes cover.
        act: what is done, as `the fix`.
        done: what has ended once the index from before the change rejects no insert any more.
        why_drop: why that index is dropped; why_drop_last: the same, of a partitioned table.
        rejects, accepts: what is the case with that index, and without it. rejected_again: the first, after a rollback.
        accepts_again: what the change restores.
        warning: what a rollback brings back, in a sentence.
        all_rows, other_rows: of an index without the predicate, or with another one: what it covers.
        several: that rows share a key.
        equal_nulls: what NULLS NOT DISTINCT does; distinct_nulls: what is the case without it.
    """

    original: str
    fixed: str
    row: str
    act: str
    done: str
    why_drop: str
    why_drop_last: str
    rejects: str
    accepts: str
    rejected_again: str
    accepts_again: str
    warning: str
    all_rows: str = "covers other rows, too"
    other_rows: str = "other rows than those of the change"
    several: str = "several rows share a key"
    equal_nulls: str = "rows that hold NULL conflict, too"
    distinct_nulls: str = "rows that hold NULL never conflict"

    @classmethod
    def of_columns(cls, added: str) -> Wording:
        """That of any change, by the parts that it adds to the key."""
        differ = f"rows that differ in {added} alone"
        return cls(
            original="old",
            fixed="new",
            row="row",
            act="the change",
            done="The old index rejects no insert any more since",
            why_drop="the new index is complete; once the first wait is over, the old one rejects no insert",
            why_drop_last="the new index is complete; once the old one has no part left, it rejects no insert",
            rejects=f"{differ} are rejected",
            accepts=f"{differ} are accepted",
            rejected_again=f"{differ[0].upper()}{differ[1:]} may be rejected again",
            accepts_again=f"{differ} are accepted again",
            warning=f"Once the old index is built, {differ} are rejected again.",
        )


@dataclass(frozen=True)
class IndexChange:
    """A change of a unique index, from one key to another one on the same rows.

    Attributes:
        name: as `--change` takes it: that of one of the incident's changes, or of a file.
        schema, table: where the index is.
        index: its name; before and after the change it is the same.
        before, after: its keys.
        predicate: of the rows that it covers, before and after; None: all rows.
        same_predicates: other texts of the same predicate.
        constraint: it backs a UNIQUE constraint of its name.
        not_unique_where_null: parts of the new key of which somebody has decided that rows that hold NULL there may
            be duplicates.
        related: columns in which two rows may well agree: a unique index on these alone, without what the change adds,
            can reject what the change allows.
        previous, following: the changes of the same index before and after this one.
        words: what messages call things; None: those of any change.
        printed_predicate: a pattern of how PostgreSQL prints the predicate; None: not known.
    """

    name: str
    schema: str
    table: str
    index: str
    before: IndexKey
    after: IndexKey
    predicate: str | None = None
    same_predicates: tuple[str, ...] = ()
    constraint: bool = False
    not_unique_where_null: frozenset[str] = frozenset()
    related: frozenset[str] = frozenset()
    previous: Neighbour | None = None
    following: Neighbour | None = None
    words: Wording | None = None
    printed_predicate: str | None = None

    @property
    def build_name(self) -> str:
        """The name under which the new index is built."""
        return _derived(self.index, "_build")

    @property
    def retired_name(self) -> str:
        """The name under which the old index waits for its drop."""
        return _derived(self.index, "_retired")

    @property
    def names(self) -> tuple[str, str, str]:
        """All names that the change needs, in the order in which an index is preferred."""
        return (self.index, self.build_name, self.retired_name)

    @property
    def path(self) -> str:
        """The table's schema and name."""
        return f"{self.schema}.{self.table}"

    @property
    def of_incident(self) -> bool:
        """Whether it is one of the incident's: what its rows are, and what clients do with them, is known."""
        return self.name in CHANGES

    @property
    def added(self) -> tuple[str, ...]:
        """What the key has after the change, and not before it."""
        return tuple(part for part in self.after.parts if part not in self.before.parts)

    @property
    def only_widens(self) -> bool:
        """Whether rows without duplicates under the key before have none under the key after: NULLs count alike."""
        return self.before.nulls_not_distinct == self.after.nulls_not_distinct

    @cached_property
    def wording(self) -> Wording:
        """What messages call things."""
        return self.words or Wording.of_columns(" and ".join(self.added))

    @property
    def kept_unique(self) -> tuple[str, ...]:
        """The columns of the new key that must hold no NULL: there it would end a guarantee of the old index."""
        if self.after.nulls_not_distinct:
            return ()
        asked = self.after.parts if self.before.nulls_not_distinct else self.added
        return tuple(part for part in asked if part in self.after.columns and part not in self.not_unique_where_null)

    def key(self, kind: IndexKind) -> IndexKey:
        """The key of the original or of the fixed index."""
        return {IndexKind.ORIGINAL: self.before, IndexKind.FIXED: self.after}[kind]

    def label(self, kind: IndexKind) -> str:
        """What messages call the original or the fixed index."""
        return {IndexKind.ORIGINAL: self.wording.original, IndexKind.FIXED: self.wording.fixed}[kind]

    def covers(self, predicate: str | None) -> bool:
        """Whether this text is its predicate, by its usual spellings."""
        return predicate == self.predicate or predicate in self.same_predicates

    def kind_of(self, parts: tuple[str, ...], *, nulls_not_distinct: bool) -> IndexKind | None:
        """The kind of a unique index on the change's rows, by its key; None: none of them."""
        for kind, key in ((IndexKind.ORIGINAL, self.before), (IndexKind.FIXED, self.after)):
            if key.has(parts) and key.nulls_not_distinct == nulls_not_distinct:
                return kind
        for kind, near in ((IndexKind.FINER, self.following), (IndexKind.COARSER, self.previous)):
            if near and near.key.has(parts):
                return kind
        return None

    def may_reject(self, columns: tuple[str | None, ...]) -> bool:
        """Whether a unique index on these columns can reject what the change allows."""
        if set(columns) & set(self.added):
            return False
        return set(columns) <= self.related | set(self.before.columns) | set(self.after.columns)

    def is_apart(self, used: tuple[str, ...]) -> bool:
        """Whether an index that uses these columns, also in expressions, has nothing to do with the key."""
        return bool(used) and not self.before.expressions and not set(used) & {*self.before.columns, *self.related}


def _derived(name: str, suffix: str) -> str:
    """A name with a suffix, of at most 63 bytes: PostgreSQL cuts off the rest, and two names could become one."""
    if len((name + suffix).encode()) <= LONGEST_NAME:
        return name + suffix
    suffix = f"_{hashlib.sha256(name.encode()).hexdigest()[:8]}{suffix}"
    return name.encode()[: LONGEST_NAME - len(suffix)].decode(errors="ignore") + suffix


_FAMILY = ("root_prompt_row_id", "owner_id")
_OF_FAMILY = IndexKey(_FAMILY)
_OF_PURPOSE = IndexKey((*_FAMILY, "purpose"))
_OF_PROVIDER = IndexKey((*_FAMILY, "provider", "purpose"), nulls_not_distinct=True)
# PostgreSQL's own spelling of the predicate. The columns are those by which "one active thread per …" can be enforced:
# a new thread has a value of its own in any other one.
_SPELLINGS = ("((is_active = true) AND (root_prompt_row_id IS NOT NULL))",)
_RELATED = frozenset({*_FAMILY, "provider", "purpose", "is_active"})
_PRINTED = r" WHERE \(\(?is_active( = true)?\)? AND \(root_prompt_row_id IS NOT NULL\)\)$"
_SEVERAL = "families hold several active threads"
_ALL_ROWS = "covers threads that are not active, too"
_OTHER_ROWS = "other threads than the active ones"
_EQUAL_NULLS = "threads without an owner conflict, too"

PURPOSE = IndexChange(
    "purpose",
    SCHEMA,
    TABLE,
    INDEX_NAME,
    _OF_FAMILY,
    _OF_PURPOSE,
    PREDICATE,
    _SPELLINGS,
    not_unique_where_null=frozenset({"purpose"}),  # every client names one, and the column is NOT NULL
    related=_RELATED,
    following=Neighbour("provider", _OF_PROVIDER),
    words=Wording(
        original="original",
        fixed="fixed",
        row="active thread",
        act="the fix",
        done="The incident ended at",
        why_drop="it rejects chats beside runs; once its first wait is over it rejects no insert: the incident ends",
        why_drop_last="it rejects chats beside runs: once the last index like it is gone, the incident ends",
        rejects="chats are rejected beside runs",
        accepts="chats are accepted beside runs",
        rejected_again="Chats may be rejected again",
        accepts_again="chats are accepted again",
        warning="Once the original index is built, run threads block new chats again.",
        all_rows=_ALL_ROWS,
        other_rows=_OTHER_ROWS,
        several=_SEVERAL,
        equal_nulls=_EQUAL_NULLS,
    ),
    printed_predicate=_PRINTED,
)

# No client's lookup finds a thread without a provider: with NULLS NOT DISTINCT such threads are of one provider, and no
# second one is created beside the first. Threads without an owner get the same rule.
PROVIDER = IndexChange(
    "provider",
    SCHEMA,
    TABLE,
    INDEX_NAME,
    _OF_PURPOSE,
    _OF_PROVIDER,
    PREDICATE,
    _SPELLINGS,
    related=_RELATED,
    previous=Neighbour("purpose", _OF_FAMILY),
    words=Wording(
        original="purpose",
        fixed="provider",
        row="active thread",
        act="the change",
        done="Providers block each other no more since",
        why_drop="it blocks a provider by another one; once its first wait is over it rejects no insert",
        why_drop_last="it blocks a provider by another one: once the last index like it is gone, that has ended",
        rejects="a provider's threads are rejected beside those of another one",
        accepts="a provider's threads are accepted beside those of another one",
        rejected_again="A provider's threads may be rejected again beside those of another one",
        accepts_again="they are accepted again",
        warning="Once the purpose index is built, threads of one provider block those of another one again.",
        all_rows=_ALL_ROWS,
        other_rows=_OTHER_ROWS,
        several=_SEVERAL,
        equal_nulls=_EQUAL_NULLS,
        distinct_nulls="threads without an owner or a provider never conflict",
    ),
    printed_predicate=_PRINTED,
)
DEFAULT_CHANGE = PURPOSE
CHANGES = {change.name: change for change in (PURPOSE, PROVIDER)}
