"""Scratch databases of the embedded server: created for one purpose, and dropped at the end, whatever ends it."""

from __future__ import annotations

import secrets
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import psycopg
from psycopg import conninfo, sql

from incident_lib.database import Environment, bounded, connecting, demo, fetch_all, seconds_left

if TYPE_CHECKING:
    from collections.abc import Iterator

    from incident_lib.database import Connection

VERSIONS = (18, 16)  # in the package of the embedded server
PREFIX = "incident_scratch_"
NO_FLUSH = "-c synchronous_commit=off"  # the data need not survive a crash, and others use the disk, too
CREATE = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY wal_log")  # file_copy takes two checkpoints
DROP = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
DROP_SECONDS = 3.0  # also where a budget has ended


def nearest_version(server_version: int) -> int:
    """The version of the embedded server that is nearest to another server's; of two, the later."""
    major = server_version // 10000
    return min(VERSIONS, key=lambda version: (abs(version - major), -version))


@contextmanager
def scratch_database(
    purpose: str, version: int = demo.VERSION, *, copy_of: Environment | None = None
) -> Iterator[Environment]:
    """A database of the embedded server of a version; the server is started if it does not run.

    At the end the database is dropped; the server is stopped if it was started here and no other client is connected.
    Databases that killed processes left are dropped at the beginning.

    Args:
        purpose: its name in messages.
        version: one of VERSIONS.
        copy_of: another scratch database, without connections; by default it is empty.

    Raises:
        Failed: the server does not start, or cannot create a database.
    """
    unused = started = not demo.is_running(version)
    server = Environment(purpose, "the embedded server", demo.maintenance(version))
    name = f"{PREFIX}{secrets.token_hex(6)}"
    template = conninfo.conninfo_to_dict(copy_of.address)["dbname"] if copy_of else "template0"
    try:
        with connecting(server, name) as connection:
            _drop_abandoned(connection)
            try:
                connection.execute(CREATE.format(sql.Identifier(name), sql.Identifier(str(template))))
                address = conninfo.make_conninfo(server.address, dbname=name, options=NO_FLUSH)
                yield Environment(purpose, server.source, address)
            finally:
                with bounded(max(DROP_SECONDS, seconds_left()), over=True) as connection.deadline:
                    connection.execute(DROP.format(sql.Identifier(name)))
                    unused = started and _is_alone(connection)
    finally:
        if unused:
            demo.stop(version)


def _drop_abandoned(connection: Connection) -> None:
    """Drop the scratch databases of killed processes; a process keeps a session open that is named after its own."""
    for row in fetch_all(connection, "experiments/abandoned_databases", {"prefix": PREFIX}):
        with suppress(psycopg.Error):  # another process drops it at the same time
            connection.execute(DROP.format(sql.Identifier(row["name"])))


def _is_alone(connection: Connection) -> bool:
    """Whether no other client is connected to the server."""
    others = "SELECT FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    return connection.execute(others).fetchone() is None
