"""Copy an environment's threads into a scratch database: one stream, pseudonymised at the source, with its indexes."""

from __future__ import annotations

import secrets
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from incident_lib.database import connecting, covered_sql, key_sql, query_text, table_sql, translate_errors
from incident_lib.model import SCHEMA, SIDES, TABLE, Catalog, UniqueIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from incident_lib.database import Connection, Environment

_BLOCK = 64  # bytes of a block of SHA-256: HMAC pads its key to that size
_ROWS_AT_ONCE = 1000  # each call of psycopg costs time
_COLUMNS = ("root_prompt_row_id", "owner_id", "purpose", "provider", "is_active")


@dataclass(frozen=True)
class CopySize:
    """How much was copied: rows, and the bytes of the stream."""

    threads: int
    bytes: int


def copy_threads(
    source: Connection, name: str, scratch: Environment, catalog: Catalog, listener: Callable[[int], None]
) -> CopySize:
    """Stream the threads that the unique indexes cover into a new table; its indexes are there, but not enforced.

    The source replaces ids by their HMAC under a key that is not kept: no id leaves it.

    Args:
        source: as `database.reading` yields it: its snapshot is copied.
        name: the source's, for messages.
        scratch: an empty database, of a superuser.
        catalog: the source's unique indexes.
        listener: gets the number of threads now and then.

    Raises:
        Failed: either side failed.
    """
    new_key(source)
    columns = sql.SQL(", ").join(map(sql.Identifier, _COLUMNS))
    table = sql.Identifier(SCHEMA, TABLE)
    threads = sql.SQL(query_text("experiments/rehearsal_threads").rstrip("; \n"))
    into = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary, FREEZE)").format(table, columns)
    with connecting(scratch, "copy") as connection, connection.transaction():
        connection.execute(query_text("experiments/rehearsal_table"))
        for index in reproducible_indexes(catalog):
            create_disabled(connection, index)
        with closing(stream(source, name, threads)) as chunks, connection.cursor() as cursor:
            return write(cursor, into, chunks, listener)


def new_key(source: Connection) -> None:
    """Give the transaction a key that is not kept."""
    set_key(source, secrets.token_bytes(32))


def set_key(source: Connection, key: bytes) -> None:
    """Give the transaction the two padded keys with which `rehearsal_threads.sql` computes its HMACs."""
    for setting, pad in (("inner", 0x36), ("outer", 0x5C)):
        padded = bytes(byte ^ pad for byte in key.ljust(_BLOCK, b"\0"))
        source.execute("SELECT set_config(%s, %s, true)", [f"incident_lib.{setting}", padded.hex()])


def stream(source: Connection, name: str, rows: sql.Composable) -> Generator[bytes]:
    """The rows of a query at the source; an error there names the source, not the copy."""
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(rows)
    with translate_errors(name), source.cursor().copy(statement) as chunks:
        yield from map(bytes, chunks)


def write(
    cursor: psycopg.Cursor[tuple[object, ...]],
    into: sql.Composed,
    chunks: Iterator[bytes],
    listener: Callable[[int], None],
) -> CopySize:
    """Write the rows, many at once."""
    threads = size = 0
    with cursor.copy(into) as copy:
        for rows in iter(lambda: list(islice(chunks, _ROWS_AT_ONCE)), []):
            part = b"".join(rows)
            copy.write(part)
            threads, size = threads + len(rows), size + len(part)
            listener(threads)
    return CopySize(cursor.rowcount, size)


def reproducible_indexes(catalog: Catalog) -> list[UniqueIndex]:
    """The unique indexes that can be created on the copy: those of the table whose definition this project can read."""
    return [index for index in catalog.relevant_indexes if index.kind in SIDES and index.partition is None]


def create_disabled(connection: Connection, index: UniqueIndex) -> None:
    """Create an index of the same name and key that writes ignore."""
    statement = sql.SQL("CREATE UNIQUE INDEX {} ON {} ({}){}{}").format(
        sql.Identifier(index.name),
        table_sql(index.change),
        key_sql(index.parts),
        sql.SQL(" NULLS NOT DISTINCT" if index.nulls_not_distinct else ""),
        covered_sql(index.change),
    )
    connection.execute(statement)
    _set_flags(connection, index, valid=False, ready=False, live=True)


def _set_flags(connection: Connection, index: UniqueIndex, *, valid: bool, ready: bool, live: bool) -> None:
    flags = {"schema": index.change.schema, "name": index.name, "valid": valid, "ready": ready, "live": live}
    connection.execute(query_text("experiments/rehearsal_flags"), flags)


def fill_indexes(scratch: Environment, catalog: Catalog) -> list[str]:
    """Fill the copy's unique indexes, and give them the flags that the source's have.

    Returns:
        What the copy does not have of the source's indexes, a phrase each.
    """
    with connecting(scratch, "indexes") as connection:
        problems = (_fill(connection, index) for index in reproducible_indexes(catalog))
        not_reproduced = [*_not_reproducible(catalog), *filter(None, problems)]
        first = sql.Identifier(catalog.change.before.parts[0])
        connection.execute(sql.SQL("CREATE INDEX ON {} ({})").format(table_sql(catalog.change), first))
        connection.execute(sql.SQL("ANALYZE {}").format(table_sql(catalog.change)))
    return not_reproduced


def _fill(connection: Connection, index: UniqueIndex) -> str | None:
    """Fill an index where the rows allow it, set its flags, and give it a comment if the source's has one."""
    name, problem = sql.Identifier(index.change.schema, index.name), None
    try:
        connection.execute(sql.SQL("REINDEX INDEX {}").format(name))
    except psycopg.errors.UniqueViolation:
        problem = f"{index.name} ({index.flags()}): the rows violate it, so it is empty on the copy"
    _set_flags(connection, index, valid=index.valid, ready=index.ready, live=index.live)
    if index.comment:
        connection.execute(sql.SQL("COMMENT ON INDEX {} IS 'a comment'").format(name))
    if index.constraint and index.usable:
        own = sql.Identifier(index.name)
        constraint = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} UNIQUE USING INDEX {}")
        connection.execute(constraint.format(table_sql(index.change), own, own))
    return problem


def _not_reproducible(catalog: Catalog) -> Iterator[str]:
    """What of the source's catalog the copy cannot have."""
    for index in catalog.relevant_indexes:
        if index.kind not in SIDES:
            yield f"{index.name}: its definition cannot be read"
        elif index.builder:
            yield f"{index.name}: a session is building it; on the copy it is an unfinished build"
    if catalog.partitions:
        yield "the partitions: the copy is an ordinary table, so creating and attaching their indexes was not measured"
    for name, relation in sorted(catalog.taken_names.items()):
        yield f"{name}: in the environment it is {relation}"
