"""What the catalog and the statistics say of unique indexes, and of the tables whose keys are examined."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

from incident_lib.database import fetch_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from incident_lib.database import Connection

T = TypeVar("T")


@dataclass(frozen=True)
class Rule:
    """A unique index that is enforced for all rows; see `sql/scan_rules.sql`."""

    oid: int
    table_oid: int
    schema: str
    table: str
    name: str
    key: tuple[str | None, ...]
    elements: frozenset[str]
    expressions: str | None
    predicate: str | None
    nulls_not_distinct: bool
    nullable: bool
    immediate: bool
    primary: bool
    constraint: bool
    referenced: bool
    identity: bool

    @property
    def path(self) -> str:
        """Schema and name of its table."""
        return f"{self.schema}.{self.table}"


@dataclass(frozen=True)
class TableColumn:
    """A column of an examined table; see `sql/scan_columns.sql`."""

    table_oid: int
    number: int
    name: str
    type: str
    category: str
    not_null: bool
    default: str | None
    generated: bool
    age: int
    alone: bool
    distinct_values: float | None
    rows: float | None
    readable: bool


@dataclass(frozen=True)
class TableIndex:
    """An index of an examined table, unique or not; see `sql/scan_indexes.sql`."""

    table_oid: int
    oid: int
    name: str
    columns: tuple[str, ...]
    key_size: int
    predicate: str | None
    used: tuple[str, ...]
    age: int

    @property
    def key(self) -> tuple[str, ...]:
        """The columns and expressions of its key."""
        return self.columns[: self.key_size]


@dataclass(frozen=True)
class Reference:
    """A foreign key of an examined table; see `sql/scan_references.sql`."""

    table_oid: int
    columns: tuple[str, ...]
    target: str
    target_columns: tuple[str, ...]


@dataclass(frozen=True)
class ExaminedTables:
    """The tables whose keys are examined: their columns, indexes and foreign keys."""

    columns: tuple[TableColumn, ...]
    indexes: tuple[TableIndex, ...]
    references: tuple[Reference, ...]


@dataclass(frozen=True)
class NamedIndex:
    """An index that has a name; of a partition's index: the one of the whole table. See `sql/scan_named.sql`."""

    name: str
    schema: str
    oid: int
    unique: bool


def read_rules(connection: Connection) -> tuple[Rule, ...]:
    """The unique indexes of all tables, by schema, table and name."""
    return _made(Rule, fetch_all(connection, "analysis/scan_rules"))


def find_indexes(connection: Connection, names: Iterable[str]) -> tuple[NamedIndex, ...]:
    """The indexes that have these names, in whatever schema."""
    return _made(NamedIndex, fetch_all(connection, "analysis/scan_named", {"names": [*names]}))


def read_tables(connection: Connection, oids: Sequence[int]) -> ExaminedTables:
    """What the catalog and the statistics say of some tables."""
    tables = {"tables": [*oids]}
    return ExaminedTables(
        _made(TableColumn, fetch_all(connection, "analysis/scan_columns", tables)),
        _made(TableIndex, fetch_all(connection, "analysis/scan_indexes", tables)),
        _made(Reference, fetch_all(connection, "analysis/scan_references", tables)),
    )


def _made(kind: type[T], rows: Iterable[dict[str, Any]]) -> tuple[T, ...]:
    """Rows as objects; their arrays as tuples, or as a set where the order says nothing."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]

    def frozen(name: str, value: object) -> object:
        return (frozenset if name == "elements" else tuple)(value) if isinstance(value, list) else value

    return tuple(kind(**{name: frozen(name, row[name]) for name in names}) for row in rows)
