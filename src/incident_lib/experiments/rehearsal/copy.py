"""Copy what the unique indexes see of an environment into a scratch database: one stream, named on its way, guarded alike."""

from __future__ import annotations

import secrets
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from incident_lib.database import connecting, query_text, translate_errors
from incident_lib.migration import PREDICATE
from incident_lib.model import KEYS, SCHEMA, TABLE, Catalog, UniqueIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from incident_lib.database import Connection, Environment

_BLOCK = 64  # bytes that SHA-256 takes at a time: HMAC's key is padded to it
_AT_ONCE = 1000  # rows: each call of psycopg has its price
_COLUMNS = ("root_prompt_row_id", "owner_id", "purpose", "provider", "is_active")


@dataclass(frozen=True)
class CopySize:
    """How much was copied: rows, and the bytes of the stream."""

    threads: int
    bytes: int


def copy_threads(
    source: Connection, name: str, scratch: Environment, catalog: Catalog, listener: Callable[[int], None]
) -> CopySize:
    """Stream the threads that the unique indexes see into a new table, whose unique indexes are there and asleep.

    The ids are named at the source, by HMAC under a key that nobody keeps: none of them leaves it.

    Args:
        source: as `environments.reading` yields it: its snapshot is what is copied.
        name: the source's, for messages.
        scratch: an empty database, of a superuser.
        catalog: the source's unique indexes.
        listener: is told now and then how many threads there are.

    Raises:
        Failed: either side failed.
    """
    name_by(source, secrets.token_bytes(32))
    columns = sql.SQL(", ").join(map(sql.Identifier, _COLUMNS))
    table = sql.Identifier(SCHEMA, TABLE)
    into = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary, FREEZE)").format(table, columns)
    with connecting(scratch, "copy") as connection, connection.transaction():
        connection.execute(query_text("experiments/rehearsal_table"))
        for index in reproducible(catalog):
            _make_asleep(connection, index)
        with closing(_stream(source, name)) as chunks, connection.cursor() as cursor:
            return _pour(cursor, into, chunks, listener)


def name_by(source: Connection, key: bytes) -> None:
    """Give the transaction the two padded keys by which `sql/rehearsed.sql` names what it reads."""
    for setting, pad in (("inner", 0x36), ("outer", 0x5C)):
        padded = bytes(byte ^ pad for byte in key.ljust(_BLOCK, b"\0"))
        source.execute("SELECT set_config(%s, %s, true)", [f"incident_lib.{setting}", padded.hex()])


def _stream(source: Connection, name: str) -> Generator[bytes]:
    """The source's rows; what fails there is told of the source, whoever reads."""
    question = sql.SQL(query_text("experiments/rehearsal_threads").rstrip("; \n"))
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(question)
    with translate_errors(name), source.cursor().copy(statement) as chunks:
        yield from map(bytes, chunks)


def _pour(
    cursor: psycopg.Cursor[tuple[object, ...]],
    into: sql.Composed,
    chunks: Iterator[bytes],
    listener: Callable[[int], None],
) -> CopySize:
    """Write what comes row by row, many rows at once."""
    threads = size = 0
    with cursor.copy(into) as copy:
        for rows in iter(lambda: list(islice(chunks, _AT_ONCE)), []):
            part = b"".join(rows)
            copy.write(part)
            threads, size = threads + len(rows), size + len(part)
            listener(threads)
    return CopySize(cursor.rowcount, size)


def reproducible(catalog: Catalog) -> list[UniqueIndex]:
    """The unique indexes whose like can be made: those whose definition we can read."""
    return [index for index in catalog.family_indexes if index.kind in KEYS]


def _make_asleep(connection: Connection, index: UniqueIndex) -> None:
    """Make a unique index of the same name and key, that takes no part in what is written."""
    statement = sql.SQL("CREATE UNIQUE INDEX {} ON {} ({}) WHERE " + PREDICATE).format(
        sql.Identifier(index.name),
        sql.Identifier(SCHEMA, TABLE),
        sql.SQL(", ").join(sql.Identifier(str(column)) for column in index.columns),
    )
    connection.execute(statement)
    _set_flags(connection, index.name, valid=False, ready=False, live=True)


def _set_flags(connection: Connection, name: str, *, valid: bool, ready: bool, live: bool) -> None:
    flags = {"name": name, "valid": valid, "ready": ready, "live": live}
    connection.execute(query_text("experiments/rehearsal_flags"), flags)


def fill_indexes(scratch: Environment, catalog: Catalog) -> tuple[str, ...]:
    """Fill the copy's unique indexes, and put them into the states that the source's are in.

    Returns:
        What of the source's unique indexes the copy does not have, a phrase each.
    """
    with connecting(scratch, "guards") as connection:
        lacking = [*_unlike(catalog), *filter(None, (_wake(connection, index) for index in reproducible(catalog)))]
        table = sql.Identifier(SCHEMA, TABLE)
        connection.execute(sql.SQL("CREATE INDEX ON {} (root_prompt_row_id)").format(table))
        connection.execute(sql.SQL("ANALYZE {}").format(table))
    return tuple(lacking)


def _wake(connection: Connection, index: UniqueIndex) -> str | None:
    """Fill a unique index, if the rows let it, set its flags, and give it a comment where its like has one."""
    name, lacking = sql.Identifier(SCHEMA, index.name), None
    try:
        connection.execute(sql.SQL("REINDEX INDEX {}").format(name))
    except psycopg.errors.UniqueViolation:
        lacking = f"{index.name} ({index.flags()}): the rows break it, so that it is empty here"
    _set_flags(connection, index.name, valid=index.valid, ready=index.ready, live=index.live)
    if index.comment:
        connection.execute(sql.SQL("COMMENT ON INDEX {} IS 'as there'").format(name))
    return lacking


def _unlike(catalog: Catalog) -> Iterator[str]:
    """What cannot be made like it is at the source."""
    for index in catalog.family_indexes:
        if index.kind not in KEYS:
            yield f"{index.name}: its definition cannot be read"
        elif index.builder:
            yield f"{index.name}: a session builds it there; here it is a leftover"
    for name, held in sorted(catalog.taken_names.items()):
        yield f"{name}: there it is {held}"
