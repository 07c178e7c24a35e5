"""What a scan of a database finds: unique rules without effect, and columns that may belong in an index's key.

Both are questions for people. Nothing here has an id or a value of a row: names of the schema alone.
"""

from __future__ import annotations

from datetime import date
from typing import Literal

import msgspec

from incident_lib.model.pseudonyms import hide_ids
from incident_lib.model.typed import from_json


class _Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What the findings share: they are immutable, and are made by keyword."""


class UniqueRule(_Finding, frozen=True, kw_only=True):
    """A unique index as one of two rules; key: its columns, `(expression)` for an expression.

    Attributes:
        partial: whether it has a predicate.
        constraint: whether a constraint owns it: then the constraint is what is dropped.
    """

    index: str
    key: list[str]
    partial: bool
    constraint: bool


class RedundantRule(_Finding, frozen=True, kw_only=True):
    """Two unique rules of one table: what `narrow` allows, `wide` allows, too, so `wide` has no effect.

    Attributes:
        table: with its schema.
        remarks: what the wider one is used for all the same, a sentence each.
        answered_both: when a person answered that both are needed; null: not answered.
    """

    table: str
    narrow: UniqueRule
    wide: UniqueRule
    remarks: list[str]
    answered_both: date | None = None


class Suspect(_Finding, frozen=True, kw_only=True):
    """A column that may belong in the key of an index.

    Attributes:
        reasons, objections: what speaks for it and what against it, a sentence each.
        nullable: whether a row may have no value in it: with it in the key such rows are no longer compared.
        answered_no: when a person answered that it does not belong there; null: not answered.
    """

    column: str
    reasons: list[str]
    objections: list[str]
    nullable: bool
    answered_no: date | None = None


class ExaminedIndex(_Finding, frozen=True, kw_only=True):
    """An index whose key was examined, and the columns that may belong in it, the likeliest first.

    Attributes:
        because: `named` by a person, or it rejected rows in a log that was read.
        rejected: how often the logs say so; null: no log was read.
        predicate: as PostgreSQL prints it; null: it has none.
        suspects: three at most, then those that a person answered with no.
        remarks: what is to be known of the answer, a sentence each.
    """

    table: str
    index: str
    key: list[str]
    predicate: str | None
    nulls_not_distinct: bool
    constraint: bool
    because: Literal["named", "log"]
    rejected: int | None
    suspects: list[Suspect]
    remarks: list[str]

    @property
    def open(self) -> list[Suspect]:
        """The suspects that no one has answered yet."""
        return [suspect for suspect in self.suspects if suspect.answered_no is None]


class ScanFindings(_Finding, frozen=True, kw_only=True):
    """What a scan of one database found.

    Attributes:
        tables, unique_indexes: how many were looked at.
        redundant: pairs of unique rules of which the wider one has no effect; last those that a person answered.
        examined: the indexes whose keys were examined.
        unknown: what the scan cannot tell, a sentence each.
    """

    tables: int
    unique_indexes: int
    redundant: list[RedundantRule]
    examined: list[ExaminedIndex]
    unknown: list[str]

    @property
    def open_pairs(self) -> list[RedundantRule]:
        """The pairs of rules that no one has answered yet."""
        return [pair for pair in self.redundant if pair.answered_both is None]


def without_ids(found: ScanFindings) -> ScanFindings:
    """The same without raw ids: a predicate or an expression may hold one."""
    return from_json(hide_ids(msgspec.json.encode(found).decode()).encode(), ScanFindings)
