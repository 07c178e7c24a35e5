"""The keys of a unique index that several rows share: what prevents that it is built, and SQL that would settle it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql
from psycopg.rows import dict_row

from incident_lib import paths
from incident_lib.analysis.investigate import list_duplicates, write_duplicates
from incident_lib.database import covered_sql, key_sql, query_text, table_sql, written
from incident_lib.model import PURPOSE, IndexKind, SettledThreads

if TYPE_CHECKING:
    from pathlib import Path

    from incident_lib.database import Connection
    from incident_lib.model import IndexChange, IndexKey


def count_shared_keys(connection: Connection, change: IndexChange, kind: IndexKind) -> dict[str, Any]:
    """How many keys several rows share, with how many rows too many; see `sql/shared_key_counts.sql`."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_query("analysis/shared_key_counts", change, change.key(kind))).fetchone() or {}


def list_shared_keys(connection: Connection, change: IndexChange, kind: IndexKind, limit: int) -> list[dict[str, Any]]:
    """The first of these keys; see `sql/shared_keys.sql`, of `purpose` `sql/duplicates.sql`."""
    if change == PURPOSE:
        return list_duplicates(connection, kind, limit)
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_listed(change, kind) + sql.SQL(" LIMIT {}").format(limit)).fetchall()


def write_shared_keys(connection: Connection, change: IndexChange, kind: IndexKind, file: Path) -> None:
    """Write every such key to a CSV file of mode 0600."""
    if change == PURPOSE:
        write_duplicates(connection, kind, file)
        return
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv, HEADER)").format(_listed(change, kind))
    with paths.replacing(file, private=True) as out, connection.cursor().copy(statement) as rows:
        out.writelines(map(bytes, rows))


def settle(connection: Connection, change: IndexChange, kind: IndexKind) -> SettledThreads:
    """Run `settling_sql`: on the demo alone, which has no users. How many threads it ended, and when."""
    ended = connection.execute(written(settling_sql(kind, change))).rowcount
    (at,) = connection.execute("SELECT pg_catalog.clock_timestamp()").fetchone() or ()
    return SettledThreads(at=at, ended=ended)


def settling_sql(kind: IndexKind, change: IndexChange = PURPOSE) -> str:
    """SQL for people to read, change and run; no command runs it, except on the demo.

    Of the incident's threads it resolves the duplicates: of the active threads that share a key only the newest stays
    active. What is to become of the rows of another index is not known here: it lists them.
    """
    key = change.key(kind)
    names = {"table": table_sql(change), "key": key_sql(key.parts), "where": covered_sql(change, key)}
    return sql.SQL(_SETTLE if change.of_incident else _SHOW).format(**names).as_string()


_SETTLE = """\
UPDATE {table} SET is_active = false
WHERE row_id IN (
    SELECT row_id FROM (
        SELECT row_id, row_number() OVER (PARTITION BY {key} ORDER BY created_at DESC NULLS LAST, row_id) AS place
        FROM {table}{where}
    ) AS t WHERE place > 1
);"""
_SHOW = """\
SELECT {key}, count(*) FROM {table}{where}
GROUP BY {key} HAVING count(*) > 1;"""


def _query(name: str, change: IndexChange, key: IndexKey) -> sql.Composed:
    """A query of this room, with the table, the rows and the key put into its braces."""
    nulls = sql.SQL(" OR ").join(sql.SQL("{} IS NULL").format(key_sql([part])) for part in key.parts)
    values = {"table": table_sql(change), "where": covered_sql(change, key), "key": key_sql(key.parts), "nulls": nulls}
    return sql.SQL(query_text(name).rstrip("; \n")).format(**values, texts=_texts(key))


def _listed(change: IndexChange, kind: IndexKind) -> sql.Composed:
    return _query("analysis/shared_keys", change, change.key(kind))


def _texts(key: IndexKey) -> sql.Composed:
    """The parts as texts that no spreadsheet takes for formulas."""
    text = sql.SQL("regexp_replace(({})::text, '^[=+@[:cntrl:]-]', '''\\&') AS {}")
    return sql.SQL(", ").join(text.format(key_sql([part]), sql.Identifier(part)) for part in key.parts)
