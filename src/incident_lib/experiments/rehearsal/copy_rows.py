"""Copy the rows of a change of any table into a scratch database: the parts of its key, replaced by HMACs."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from psycopg import sql

from incident_lib.database import connecting, covered_sql, key_sql, query_text, table_sql
from incident_lib.experiments.rehearsal.copy import create_disabled, new_key, reproducible_indexes, stream, write
from incident_lib.model import IndexKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from incident_lib.database import Connection, Environment
    from incident_lib.experiments.rehearsal.copy import CopySize
    from incident_lib.model import Catalog, IndexChange


def change_of_copy(change: IndexChange) -> IndexChange:
    """The same change on a copy, whose columns are the parts of the key, and which has the covered rows alone."""
    names = {part: f"part_{place}" for place, part in enumerate(change.after.parts, 1)}

    def renamed(key: IndexKey) -> IndexKey:
        return replace(key, parts=tuple(names[part] for part in key.parts))

    return replace(
        change,
        before=renamed(change.before),
        after=renamed(change.after),
        predicate=None,
        words=change.wording,
        related=frozenset(),
    )


def catalog_of_copy(catalog: Catalog, change: IndexChange) -> Catalog:
    """The unique indexes that the copy has, judged by its own change."""
    indexes = [
        replace(
            index,
            columns=change.key(index.kind).parts,
            expressions=(),
            predicate=None,
            include=(),
            special=(),
            tablespace=None,
            change=change,
        )
        for index in reproducible_indexes(catalog)
    ]
    return replace(catalog, indexes=tuple(indexes), taken_names={}, partitions=None, change=change)


def copy_rows(
    source: Connection,
    name: str,
    scratch: Environment,
    original: IndexChange,
    catalog: Catalog,
    listener: Callable[[int], None],
) -> CopySize:
    """Stream the covered rows into a new table; its indexes are there, but not enforced.

    Args:
        source: as `database.reading` yields it: its snapshot is copied.
        name: the source's, for messages.
        scratch: an empty database, of a superuser.
        original: the change at the source.
        catalog: the copy's unique indexes.
        listener: gets the number of rows now and then.

    Raises:
        Failed: either side failed.
    """
    new_key(source)
    change = catalog.change
    columns = [sql.Identifier(column) for column in change.after.parts]
    with connecting(scratch, "copy") as connection, connection.transaction():
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(change.schema)))
        of_text = sql.SQL(", ").join(sql.SQL("{} text").format(column) for column in columns)
        table = sql.SQL("CREATE TABLE {} ({}) WITH (autovacuum_enabled = off)")
        connection.execute(table.format(table_sql(change), of_text))
        for index in catalog.indexes:
            create_disabled(connection, index)
        into = sql.SQL("COPY {} FROM STDIN (FORMAT binary, FREEZE)").format(table_sql(change))
        with closing(stream(source, name, _rows(original))) as chunks, connection.cursor() as cursor:
            return write(cursor, into, chunks, listener)


def _rows(change: IndexChange) -> sql.Composed:
    """The covered rows at the source: the HMAC of each part of the key; NULL stays NULL."""
    part = sql.SQL(query_text("experiments/rehearsal_part").rstrip("; \n"))
    parts = sql.SQL(", ").join(part.format(value=key_sql([each])) for each in change.after.parts)
    return sql.SQL("SELECT {} FROM {}{}").format(parts, table_sql(change), covered_sql(change))
