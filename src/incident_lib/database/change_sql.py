"""A change of an index as SQL: its table, the parts of a key, the rows that can conflict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from incident_lib.model import PREDICATE, is_expression

if TYPE_CHECKING:
    from collections.abc import Iterable

    from incident_lib.model import IndexChange, IndexKey


def written(text: str) -> sql.SQL:
    """SQL that the catalog, this project or the file of a change has."""
    return sql.SQL(text)


def table_sql(change: IndexChange) -> sql.Identifier:
    """The table, with its schema."""
    return sql.Identifier(change.schema, change.table)


def key_sql(parts: Iterable[str]) -> sql.Composed:
    """The parts of a key: columns are quoted, expressions stand in their parentheses."""
    return sql.SQL(", ").join(written(part) if is_expression(part) else sql.Identifier(part) for part in parts)


def covered_sql(change: IndexChange, key: IndexKey | None = None) -> sql.Composable:
    """WHERE of the rows of a change; with a key, of those that can conflict: NULLs are distinct, unless it says no."""
    parts = key.parts if key and not key.nulls_not_distinct else ()
    conditions: list[sql.Composable] = []
    if change.predicate:
        is_list = change.predicate == PREDICATE  # of conditions with AND between them; another one may have an OR
        conditions.append(written(change.predicate if is_list else f"({change.predicate})"))
    known = PREDICATE.split(" AND ") if change.predicate == PREDICATE else ()
    missing = [part for part in parts if f"{part} IS NOT NULL" not in known]
    conditions += [sql.SQL("{} IS NOT NULL").format(key_sql([part])) for part in missing]
    return sql.SQL(" WHERE ") + sql.SQL(" AND ").join(conditions) if conditions else sql.SQL("")
