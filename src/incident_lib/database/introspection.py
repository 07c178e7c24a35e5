"""What PostgreSQL's catalog says about the table and its unique indexes: by definitions and flags, never by names."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from incident_lib.database.change_sql import key_sql, table_sql, written
from incident_lib.database.diagnosis import safe_message
from incident_lib.database.queries import fetch_all, fetch_one, query_text
from incident_lib.model import (
    COLUMNS,
    PREDICATE,
    PURPOSE,
    SCHEMA,
    TABLE,
    Catalog,
    Failed,
    IndexChange,
    IndexKind,
    Partition,
    UniqueIndex,
    UsageError,
    is_expression,
    join_names,
    plural,
    sort_indexes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from incident_lib.database.connections import Connection

MOST_READS = 5
_FIELDS = tuple(field.name for field in fields(UniqueIndex) if field.name not in {"covers_same", "change"})
_LISTS = ("columns", "include", "storage", "special", "equality", "used", "bound")
# A predicate of these words alone is true or false by is_active (true, false, NULL), by whether root and owner are NULL
# and by whether they are equal: trying all combinations proves what it covers. A column's name before a parenthesis
# would be a function's; a word that is not listed, such as another column, a constant or a cast, ends the reading.
_WORD = re.compile(
    r"""\s*(?: (?:is_active|root_prompt_row_id|owner_id)\b(?!\s*\()
    | (?:AND|OR|NOT|IS|NULL(?!::)|TRUE|FALSE|UNKNOWN|DISTINCT|FROM|CASE|WHEN|THEN|ELSE|END|COALESCE)\b
    | NULL::boolean | '(?:t|f|true|false)'::boolean | '(?:t|f|true|false)'(?!::) | <> | [=(),] )\s*""",
    re.VERBOSE | re.IGNORECASE,
)
_COLLATED = re.compile(r"""(.+)\bCOLLATE\s*(?:[^\s()"]|"[^"]*")+""", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class TableAccess:
    """What the server is, and what this role may do with the table."""

    server_version: int
    standby: bool
    partitioned: bool
    owned: bool
    may_create: bool  # an index, in the table's schema
    writable: bool
    hides_rows: bool
    schema: str = SCHEMA


def read_catalog(connection: Connection, change: IndexChange = PURPOSE) -> Catalog:
    """Read the unique indexes from the catalog.

    Args:
        connection: any.
        change: the one that they are judged by.

    Returns:
        Every unique or exclusion index of the table, and the change's names where something else has them; where the
        table is partitioned, also its partitions and their indexes.
    """
    found, holders = _index_rows(connection, change), set[int]()
    if any(_is_ours(row) and not (row["valid"] and row["ready"] and row["live"]) for row in found):
        # A build may begin or end in between: whoever holds the lock before or after the indexes are read is counted.
        holders = lock_holders(connection, change)
        found = _index_rows(connection, change)
        holders |= lock_holders(connection, change)
    indexes = [
        row | {name: tuple(row[name]) for name in _LISTS} | {"unique": row["unique"] and not row["exclusion"]}
        for row in found
        if _is_ours(row) and (row["unique"] or row["exclusion"])
    ]
    taken = {
        row["name"]: row["definition"] or f"a relation of kind {row['relkind']}"
        for row in found
        if row["name"] in change.names and row["schema"] == change.schema and not (row["on_table"] and row["unique"])
    }
    made = tuple(_made(connection, change, indexes))
    catalog = Catalog(made, taken, tuple(sorted(holders)), change=change)
    if any(row["on_table"] and row["relkind"] == "i" for row in found):  # a partitioned table has no such index
        return catalog
    return _with_partitions(connection, catalog)


def _is_ours(row: dict[str, Any]) -> bool:
    """Whether it is an index of the table or of a partition of it."""
    return bool(row["on_table"] or row["partition"])


def _made(connection: Connection, change: IndexChange, rows: list[dict[str, Any]]) -> Iterator[UniqueIndex]:
    """The indexes, with their predicates and expressions compared with those of the change."""
    covers = {text: _covers_same(connection, change, text) for text in {row["predicate"] for row in rows}}
    known = {text: _spelling(connection, change, text) for row in rows for text in row["expressions"]}
    for row in rows:
        values = {name: row[name] for name in _FIELDS}
        values["expressions"] = tuple(known[text] for text in row["expressions"])
        yield UniqueIndex(**values, covers_same=covers[row["predicate"]], change=change)


def _with_partitions(connection: Connection, catalog: Catalog) -> Catalog:
    """The catalog with the partitions of the table, where it has any; their harmless indexes are left out."""
    rows = fetch_all(connection, "database/partitions", _place(catalog.change))
    if not rows:
        return catalog
    tables = tuple(Partition(**row) for row in rows if row["parent"])
    kept = (index for index in catalog.indexes if not (index.partition and index.kind is IndexKind.HARMLESS))
    own, partitions = sort_indexes(kept, tables)
    return replace(catalog, indexes=own, partitions=partitions)


def _place(change: IndexChange) -> dict[str, Any]:
    """The parameters of a query about the table of a change."""
    return {"schema": change.schema, "table": change.table}


def _index_rows(connection: Connection, change: IndexChange) -> list[dict[str, Any]]:
    """The indexes' rows; read again where another session drops one of them meanwhile (XX000: cache lookup failed)."""
    reads = 0
    while True:
        reads += 1
        try:
            return fetch_all(connection, "database/indexes", _place(change) | {"names": list(change.names)})
        except psycopg.errors.InternalError_:
            # A transaction that has failed cannot read again.
            if reads == MOST_READS or connection.info.transaction_status is not psycopg.pq.TransactionStatus.IDLE:
                raise


def is_decidable(predicate: str) -> bool:
    """Whether trying all combinations of values proves what a predicate covers, as pg_get_expr prints it."""
    place = 0
    while place < len(predicate):
        if not (word := _WORD.match(predicate, place)):
            return False
        place = word.end()
    return place > 0


def _covers_same(connection: Connection, change: IndexChange, predicate: str | None) -> bool:
    """Whether an index with this predicate covers the rows of the change and no others.

    Of the incident's rows, those with a whole key count: NULL is equal to nothing, unless the index says otherwise.
    """
    if change.covers(predicate):
        return True
    if predicate is None or change.predicate is None:
        return False
    if change.predicate != PREDICATE:
        return planned(connection, change, predicate) == planned(connection, change, change.predicate)
    if not is_decidable(predicate):
        return False
    question = sql.SQL(query_text("database/covers_active")).format(sql.SQL(predicate))
    row = connection.execute(question).fetchone()
    return bool(row and row[0])


def _spelling(connection: Connection, change: IndexChange, text: str) -> str:
    """An expression of an index, in parentheses; as the change spells it, where PostgreSQL makes the same of both."""
    expressions = dict.fromkeys(change.before.expressions + change.after.expressions)
    if not expressions:
        return f"({text})"
    made = planned(connection, change, text)
    return next((each for each in expressions if planned(connection, change, each) == made), f"({text})")


def planned(connection: Connection, change: IndexChange, expression: str) -> str:
    """What PostgreSQL makes of an expression over the table: two texts of one expression give the same."""
    question = sql.SQL("EXPLAIN (VERBOSE, COSTS OFF, FORMAT JSON) SELECT ({}) FROM ONLY {}")
    with connection.cursor(binary=True) as cursor:  # a message of that kind holds one statement
        row = cursor.execute(question.format(written(expression), table_sql(change))).fetchone()
    # As text, a line break within a value would end what is compared.
    return str(row[0][0]["Plan"]["Output"][0]) if row else ""


def lock_holders(connection: Connection, change: IndexChange = PURPOSE, *, autovacuum: bool = True) -> set[int]:
    """The pids of other sessions that hold SHARE UPDATE EXCLUSIVE or more on the table or a partition.

    Args:
        connection: any.
        change: of which table.
        autovacuum: whether an autovacuum worker counts that does not end itself for others, or may be one.
    """
    rows = fetch_all(connection, "database/lock_holders", _place(change))
    return {row["pid"] for row in rows if autovacuum or not row["autovacuum"]}


def _no_table(found: dict[str, Any]) -> Failed:
    """There is no such table: is it elsewhere, or is it the wrong database?"""
    what = f"There is no table {SCHEMA}.{TABLE} in this database."
    if found["named"]:
        return Failed(
            what,
            f"It holds {join_names(found['named'])}, which this project does not look at.",
            f"If that is the table of the incident, rename or move it to {SCHEMA}.{TABLE} in a copy, and look there.",
        )
    tables = plural(found["tables"], "table") if found["tables"] else "no table at all"
    why = f"It holds {tables}{', none of that name' if found['tables'] else ''}: it may be the wrong database."
    return Failed(what, why, "Check the database in the environment's address: `incident env list` says where that is.")


def read_access(connection: Connection) -> TableAccess:
    """Read what the incident's table is, and what this role may do with it.

    Raises:
        Failed: there is no such table, a column is missing or of an odd type, or the role may not read it.
    """
    row = fetch_one(connection, "database/table_access", _place(PURPOSE))
    if not row["found"]:
        raise _no_table(fetch_one(connection, "database/tables_elsewhere", {"table": TABLE}))
    if missing := [column for column in COLUMNS if column not in row["columns"]]:
        raise Failed(
            f"{SCHEMA}.{TABLE} lacks {', '.join(missing)}.",
            "The incident is about a table that has these columns.",
            "Has every migration of q_threads been applied there?",
        )
    if row["odd_types"]:
        raise Failed(
            f"{SCHEMA}.{TABLE} has a column of another type than expected.",
            f"{'; '.join(row['odd_types'])}.",
            "Counts and comparisons could be wrong with it: this project does not work with this table.",
        )
    return _access(row, PURPOSE)


def read_table(connection: Connection, change: IndexChange) -> TableAccess:
    """Read what the table of a change is, and what this role may do with it.

    Raises:
        Failed: there is no such table, it lacks a column of the change, or the role may not read it.
        UsageError: PostgreSQL does not accept an expression or the predicate of the change.
    """
    if change.of_incident:
        return read_access(connection)
    row = fetch_one(connection, "database/table_access", _place(change))
    if not row["found"] or row["relkind"] not in {"r", "p"}:
        why = "No table of that schema and name is visible to this role."
        what = f"There is no table {change.path} in this database."
        raise Failed(what, why, f"Correct {change.name}, or the environment's address.")
    columns = dict.fromkeys(change.before.columns + change.after.columns)
    if missing := [column for column in columns if column not in row["columns"]]:
        what, why = f"{change.path} lacks {', '.join(missing)}.", f"The keys in {change.name} have it."
        advice = f"Correct {change.name}, or add the column first."
        if any("(" in part for part in missing):
            advice = f"Put an expression into parentheses in {change.name}, as a whole: (lower(slug)), not lower(slug)."
        raise Failed(what, why, advice)
    if found := [column for column in columns if column in row["virtual"]]:
        what = f"{change.path} has no index with {', '.join(found)}."
        raise Failed(what, "It is a virtual generated column: PostgreSQL indexes none.", f"Correct {change.name}.")
    access = _access(row, change)
    _require_expressions(connection, change, row["columns"])
    return access


def _require_expressions(connection: Connection, change: IndexChange, columns: list[str]) -> None:
    """The predicate and the parts of the keys are such that an index with them would be recognised as the change's."""
    parts = [(part, True) for part in dict.fromkeys(change.before.parts + change.after.parts)]
    for text, is_part in [*([(change.predicate, False)] if change.predicate else []), *parts]:
        try:
            if not is_part:
                planned(connection, change, f"({text}) IS TRUE")
            elif why := _no_key_part(connection, change, text, columns):
                raise UsageError(
                    f"{change.name} has no expression of {change.path}: {text}", why, f"Correct it in {change.name}."
                )
        except psycopg.Error as error:
            raise UsageError(
                f"PostgreSQL does not accept what {change.name} has of {change.path}: {text}",
                f"{safe_message(error)} (SQLSTATE {error.sqlstate})",
                f"Correct it in {change.name}.",
            ) from None


def _no_key_part(connection: Connection, change: IndexChange, part: str, columns: list[str]) -> str | None:
    """Why the catalog would not show a part of a key as the change has it; None: it would.

    Raises:
        psycopg.Error: PostgreSQL does not accept it, or its type has no order, and so no index.
    """
    ordered = sql.SQL("EXPLAIN SELECT FROM ONLY {} WHERE {} IS NULL ORDER BY {}")
    key = key_sql([part])
    with connection.cursor(binary=True) as cursor:
        cursor.execute(ordered.format(table_sql(change), key, key))
    if not is_expression(part):
        return None
    made = planned(connection, change, part)
    if made.strip('"').replace('""', '"') in columns:
        return "It is a column: columns stand without parentheses."
    inner = part
    while is_expression(inner):
        inner = inner[1:-1].strip()
    if (collated := _COLLATED.fullmatch(inner)) and is_expression(f"({collated[1]})"):
        return "It has a collation of its own: an index with one is not changed by this project."
    return None


def _access(row: dict[str, Any], change: IndexChange) -> TableAccess:
    """What the role may do with a table that it can read."""
    if not row["readable"]:
        raise Failed(
            f"This role may not read {change.path}.",
            "It has no SELECT right on it.",
            f"Ask the owner: GRANT SELECT ON {change.path} TO the role of this environment.",
        )
    same = ("server_version", "standby", "owned", "may_create", "writable", "hides_rows")
    return TableAccess(partitioned=row["relkind"] == "p", schema=change.schema, **{name: row[name] for name in same})
