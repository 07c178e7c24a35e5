"""What PostgreSQL's catalog says about the table and its unique indexes: by definitions and flags, never by names."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from incident_lib.database.queries import fetch_all, fetch_one, query_text
from incident_lib.model import (
    COLUMNS,
    INDEX_NAMES,
    SCHEMA,
    TABLE,
    USUAL_PREDICATES,
    Catalog,
    Failed,
    IndexKind,
    Partition,
    UniqueIndex,
    join_names,
    plural,
    sort_indexes,
)

if TYPE_CHECKING:
    from incident_lib.database.connections import Connection

MOST_READS = 5
_PARAMETERS = {"schema": SCHEMA, "table": TABLE, "names": list(INDEX_NAMES)}
_FIELDS = tuple(field.name for field in fields(UniqueIndex) if field.name != "covers_active")
_LISTS = ("columns", "include", "storage", "special")
# A predicate of these words alone is true or false by is_active (true, false, NULL), by whether root and owner are NULL
# and by whether they are equal: trying all combinations proves what it covers. A column's name before a parenthesis
# would be a function's; a word that is not listed, such as another column, a constant or a cast, ends the reading.
_WORD = re.compile(
    r"""\s*(?: (?:is_active|root_prompt_row_id|owner_id)\b(?!\s*\()
    | (?:AND|OR|NOT|IS|NULL(?!::)|TRUE|FALSE|UNKNOWN|DISTINCT|FROM|CASE|WHEN|THEN|ELSE|END|COALESCE)\b
    | NULL::boolean | '(?:t|f|true|false)'::boolean | '(?:t|f|true|false)'(?!::) | <> | [=(),] )\s*""",
    re.VERBOSE | re.IGNORECASE,
)


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


def read_catalog(connection: Connection) -> Catalog:
    """Read the unique indexes from the catalog.

    Returns:
        Every unique or exclusion index of q_threads, and our names where something else has them; where q_threads is
        partitioned, also its partitions and their indexes.
    """
    found, holders = _index_rows(connection), set[int]()
    if any(_is_ours(row) and not (row["valid"] and row["ready"] and row["live"]) for row in found):
        # A build may begin or end in between: whoever holds the lock before or after the indexes are read is counted.
        holders = lock_holders(connection)
        found = _index_rows(connection)
        holders |= lock_holders(connection)
    indexes = [
        row | {name: tuple(row[name]) for name in _LISTS} | {"unique": row["unique"] and not row["exclusion"]}
        for row in found
        if _is_ours(row) and (row["unique"] or row["exclusion"])
    ]
    taken = {
        row["name"]: row["definition"] or f"a relation of kind {row['relkind']}"
        for row in found
        if row["name"] in INDEX_NAMES and not (row["on_table"] and row["unique"])
    }
    covers = {text: _covers_active(connection, text) for text in {row["predicate"] for row in indexes}}
    made = tuple(
        UniqueIndex(**{name: row[name] for name in _FIELDS}, covers_active=covers[row["predicate"]]) for row in indexes
    )
    if any(row["on_table"] and row["relkind"] == "i" for row in found):  # a partitioned table has no such index
        return Catalog(made, taken, tuple(sorted(holders)))
    return _with_partitions(connection, Catalog(made, taken, tuple(sorted(holders))))


def _is_ours(row: dict[str, Any]) -> bool:
    """Whether it is an index of the table or of a partition of it."""
    return bool(row["on_table"] or row["partition"])


def _with_partitions(connection: Connection, catalog: Catalog) -> Catalog:
    """The catalog with the partitions of the table, where it has any; their harmless indexes are left out."""
    rows = fetch_all(connection, "database/partitions", {"schema": SCHEMA, "table": TABLE})
    if not rows:
        return catalog
    tables = tuple(Partition(**row) for row in rows if row["parent"])
    kept = (index for index in catalog.indexes if not (index.partition and index.kind is IndexKind.HARMLESS))
    own, partitions = sort_indexes(kept, tables)
    return replace(catalog, indexes=own, partitions=partitions)


def _index_rows(connection: Connection) -> list[dict[str, Any]]:
    """The indexes' rows; read again where another session drops one of them meanwhile (XX000: cache lookup failed)."""
    reads = 0
    while True:
        reads += 1
        try:
            return fetch_all(connection, "database/indexes", _PARAMETERS)
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


def _covers_active(connection: Connection, predicate: str | None) -> bool:
    """Whether an index with this predicate covers the active threads with a whole key and no others."""
    if predicate in USUAL_PREDICATES:
        return True
    if predicate is None or not is_decidable(predicate):
        return False
    question = sql.SQL(query_text("database/covers_active")).format(sql.SQL(predicate))
    row = connection.execute(question).fetchone()
    return bool(row and row[0])


def lock_holders(connection: Connection, *, autovacuum: bool = True) -> set[int]:
    """The pids of other sessions that hold SHARE UPDATE EXCLUSIVE or more on q_threads or a partition.

    Args:
        connection: any.
        autovacuum: whether an autovacuum worker counts that does not end itself for others, or may be one.
    """
    rows = fetch_all(connection, "database/lock_holders", _PARAMETERS)
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
    """Read what the table is, and what this role may do with it.

    Raises:
        Failed: there is no such table, a column is missing or of an odd type, or the role may not read it.
    """
    row = fetch_one(connection, "database/table_access", _PARAMETERS)
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
    if not row["readable"]:
        raise Failed(
            f"This role may not read {SCHEMA}.{TABLE}.",
            "It has no SELECT right on it.",
            f"Ask the owner: GRANT SELECT ON {SCHEMA}.{TABLE} TO the role of this environment.",
        )
    same = ("server_version", "standby", "owned", "may_create", "writable", "hides_rows")
    return TableAccess(partitioned=row["relkind"] == "p", **{name: row[name] for name in same})
