"""Tables of public repositories as they were before a column was put into the key of a unique index: facts alone.

`tests/analysis/data/widenings.json` says which columns and indexes there were, and in which order they came. The SQL
and the rows are made here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg import sql

if TYPE_CHECKING:
    import psycopg

FILE = Path(__file__).parents[1] / "analysis" / "data" / "widenings.json"
ROWS = 400


@dataclass(frozen=True)
class Widening:
    """A unique index whose key got more columns, and the table as it was before; see the file's own description."""

    source: dict[str, str]
    index: str
    key: list[str]
    added: list[str]
    columns: list[dict[str, Any]]
    indexes: list[dict[str, Any]]
    references: list[dict[str, Any]]
    siblings: list[dict[str, Any]]

    def __str__(self) -> str:
        return f"{self.source['repository']}-{self.index}"


def read_widenings(file: Path = FILE) -> list[Widening]:
    """All of the file."""
    return [Widening(**each) for each in json.loads(file.read_text("utf-8"))["widenings"]]


def recreate(connection: psycopg.Connection, case: Widening) -> None:
    """Make the table `examined` as it was before the change: what came in one step comes in one transaction.

    Args:
        connection: autocommit, of a database without these tables.
        case: the table and what is around it.
    """
    for name, columns in _other_tables(case).items():
        made = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(kind)) for column, kind in columns.items()
        )
        connection.execute(sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(name), made))
    for sibling in case.siblings:
        connection.execute(_create_index(sibling["table"], sibling | {"unique": True, "predicate": None}))
    connection.execute("CREATE TABLE examined ()")
    for step in sorted({each["step"] for each in chain(case.columns, case.indexes)}):
        with connection.transaction():
            for column in case.columns:
                if column["step"] == step:
                    connection.execute(_add_column(column))
            for index in case.indexes:
                if index["step"] == step:
                    connection.execute(_create_index("examined", index))
    for reference in case.references:
        _add_references(connection, reference)
    _insert_rows(connection, case)
    connection.execute("ANALYZE")


def _other_tables(case: Widening) -> dict[str, dict[str, str]]:
    """The tables that foreign keys refer to or whose unique keys have such columns: their columns with their types."""
    types = {column["name"]: column["type"] for column in case.columns}
    found: dict[str, dict[str, str]] = {}
    for each in case.siblings:
        found.setdefault(each["table"], {}).update(dict.fromkeys(each["columns"], "text"))
    for each in case.references:
        columns = found.setdefault(each["target"], {})
        columns.update(dict.fromkeys(each["target_columns"], "text"))
        columns.update(zip(each["target_key"], (types[name] for name in each["columns"]), strict=True))
    return found


def _add_column(column: dict[str, Any]) -> sql.Composed:
    made = sql.SQL("ALTER TABLE examined ADD COLUMN {} {}").format(
        sql.Identifier(column["name"]), sql.SQL(column["type"])
    )
    if column["default"] is not None:
        made += sql.SQL(" DEFAULT {}").format(sql.SQL(column["default"]))
    return made + sql.SQL(" NOT NULL" if column["not_null"] else "")


def _create_index(table: str, index: dict[str, Any]) -> sql.Composed:
    made = sql.SQL("CREATE {} INDEX {} ON {} ({})").format(
        sql.SQL("UNIQUE" if index["unique"] else ""),
        sql.Identifier(index["name"]) if "name" in index else sql.SQL(""),
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, index["columns"])),
    )
    return made + (sql.SQL(" WHERE {}").format(sql.SQL(index["predicate"])) if index["predicate"] else sql.SQL(""))


def _add_references(connection: psycopg.Connection, reference: dict[str, Any]) -> None:
    """A foreign key that the rows need not keep."""
    target = sql.Identifier(reference["target"])
    columns = sql.SQL(", ").join(map(sql.Identifier, reference["target_key"]))
    connection.execute(sql.SQL("CREATE UNIQUE INDEX ON {} ({})").format(target, columns))
    connection.execute(
        sql.SQL("ALTER TABLE examined ADD FOREIGN KEY ({}) REFERENCES {} ({}) NOT VALID").format(
            sql.SQL(", ").join(map(sql.Identifier, reference["columns"])), target, columns
        )
    )


def _insert_rows(connection: psycopg.Connection, case: Widening) -> None:
    """The rows of before: new columns have their default, or no value; the last column of each unique key differs."""
    unique = {index["columns"][-1] for index in case.indexes if index["unique"]}
    filled = [column for column in case.columns if column["generated"] is False]
    values = [_value(column, unique=column["name"] in unique, new=column["name"] in case.added) for column in filled]
    connection.execute("SET session_replication_role = replica")
    connection.execute(
        sql.SQL("INSERT INTO examined ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM generate_series(1, {}) AS i").format(
            sql.SQL(", ").join(sql.Identifier(column["name"]) for column in filled), sql.SQL(", ").join(values), ROWS
        )
    )
    connection.execute("RESET session_replication_role")


def _value(column: dict[str, Any], *, unique: bool, new: bool) -> sql.SQL:
    """An expression over the number i of a row."""
    kind = column["type"].partition("(")[0]
    if new:
        return sql.SQL(column["default"] or ("NULL" if not column["not_null"] else _of_type(kind, "1")))
    return sql.SQL(_of_type(kind, "i" if unique else "i % 20" if column["name"].lower().endswith("id") else "i % 150"))


_OF_TYPE = {
    "boolean": "({0}) % 2 = 0",
    "uuid": "md5(({0})::text)::uuid",
    "jsonb": "'{{}}'::jsonb",
    "json": "'{{}}'::json",
    "bytea": "({0})::text::bytea",
    "text[]": "'{{}}'::text[]",
}
_NUMBERS = {"integer", "bigint", "smallint", "numeric", "double precision", "real"}


def _of_type(kind: str, number: str) -> str:
    if kind.startswith(("timestamp", "date")):
        return "now() - make_interval(mins => i)"
    return _OF_TYPE.get(kind, f"({{0}})::{kind if kind in _NUMBERS else 'text'}").format(number)
