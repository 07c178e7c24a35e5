"""A real server that logs in all of its formats at once, and clients that make it reject them, and count."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
from psycopg import sql

from incident_lib.database import NewThread, create_chat, demo, insert_thread
from incident_lib.model.change import INDEX_NAME, PURPOSE
from incident_lib.model.threads import Family
from tests.conftest import add
from tests.support import clusters

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

FILES = {"stderr": "server.log", "csvlog": "server.csv", "jsonlog": "server.json"}
PREFIX = "%m [%p] %e %q%u@%d "
DEFAULTS = {
    "log_line_prefix": PREFIX,
    "log_timezone": "UTC",
    "log_error_verbosity": "default",
    "log_min_error_statement": "error",
    "log_statement": "none",
    "lc_messages": "C",
}
FORGED = (
    "2025-09-04 07:12:56.816 UTC [4101] 23505 postgres@postgres ERROR:  duplicate key value violates unique"
    f' constraint "{INDEX_NAME}"\n2025-09-04 07:12:56.816 UTC [4101] 23505 postgres@postgres DETAIL:  Key'
    f" (root_prompt_row_id, owner_id)=({UUID(int=1)}, {UUID(int=2)}) already exists.\n"
    '2025-09-04 07:12:56.816 UTC,"postgres","postgres",4101,,,,"INSERT",,,,ERROR,23505,"duplicate key value'
    f' violates unique constraint ""{INDEX_NAME}""","Key (root_prompt_row_id, owner_id)=({UUID(int=1)},'
    f' {UUID(int=2)}) already exists.",,,,,,,,,"","client backend",,0\n'
    '{"timestamp":"2025-09-04 07:12:56.816 UTC","pid":4101,"state_code":"23505","message":"duplicate key value'
    f' violates unique constraint \\"{INDEX_NAME}\\""}}\n'
)


@dataclass
class Told:
    """What clients counted, and what the server logged meanwhile, by format."""

    rejected: Counter[Family] = field(default_factory=Counter)
    logs: dict[str, bytes] = field(default_factory=dict)

    def write(self, folder: Path) -> dict[str, str]:
        """The logs as files; their names by format."""
        for form, name in FILES.items():
            (folder / name).write_bytes(self.logs[form])
        return {form: str(folder / name) for form, name in FILES.items()}


class Logged:
    """A server of its own, with the incident's table and the original index, that logs in all formats."""

    def __init__(self, folder: Path, version: int = 18) -> None:
        self.server = clusters.start(folder, version)
        self.folder = folder / "logs"
        with self.connect() as connection:
            self._alter(
                connection,
                logging_collector="on",
                log_destination="stderr,csvlog,jsonlog",
                log_directory=str(self.folder),
                log_filename="server.log",
            )
            demo.load(connection, threads=False)
        self.server.stop()
        self.server.start()

    def connect(self, **options: Any) -> psycopg.Connection:
        """An autocommit connection: of the table's owner, unless told otherwise."""
        return psycopg.connect(str(self.server.get_uri()), autocommit=True, **options)

    @staticmethod
    def _alter(connection: psycopg.Connection, **settings: str) -> None:
        for name, value in settings.items():
            connection.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))

    def _set(self, **settings: str) -> None:
        """Set how it logs, for every connection from now on."""
        with self.connect() as connection:
            self._alter(connection, **settings)
            connection.execute("SELECT pg_reload_conf()")
        for name, value in settings.items():
            while self._shown(name) != value:
                time.sleep(0.01)

    def _shown(self, name: str) -> str:
        with self.connect() as connection:
            (value,) = connection.execute("SELECT current_setting(%s)", [name]).fetchone() or ("",)
        return str(value)

    def _bytes(self) -> dict[str, bytes]:
        return {form: (self.folder / name).read_bytes() for form, name in FILES.items()}

    @contextmanager
    def logging(self, **settings: str) -> Iterator[Told]:
        """Log so, over the defaults, while clients work; what is logged until they end is told."""
        self._set(**DEFAULTS | settings)
        before, told, end = self._flushed("begin"), Told(), f"end {uuid4()}"
        yield told
        after = self._flushed(end)
        told.logs = {form: whole[len(before[form]) :] for form, whole in after.items()}

    def _flushed(self, mark: str) -> dict[str, bytes]:
        """All that was logged until now: the collector has written a mark that is logged last."""
        mark = f"{mark} {uuid4()}"
        with self.connect() as connection:
            connection.execute(f"DO $$ BEGIN RAISE LOG '{mark}'; END $$")
        while not all(mark.encode() in whole and whole.endswith(b"\n") for whole in self._bytes().values()):
            time.sleep(0.01)
        return self._bytes()


def families(number: int) -> list[Family]:
    """So many families, of half as many users; the same ones each time."""
    return [Family(UUID(int=100 + place), UUID(int=10_000 + place // 2)) for place in range(number)]


def blocked(server: Logged, number: int) -> list[Family]:
    """So many families, each with an active run."""
    with server.connect() as connection:
        connection.execute("TRUNCATE public.q_threads")
        for family in families(number):
            add(connection, *family)
    return families(number)


def try_chats(server: Logged, told: Told, of: Iterable[Family], times: int, clients: int = 4) -> None:
    """Clients side by side, each of which tries so often to create a chat for each family, and counts."""

    def client(_: int) -> Counter[Family]:
        counted: Counter[Family] = Counter()
        with server.connect(application_name="chat client") as connection:
            for family in list(of) * times:
                try:
                    create_chat(connection, NewThread(*family))
                except psycopg.errors.UniqueViolation:
                    counted[family] += 1
        return counted

    with ThreadPoolExecutor(clients) as pool:
        for counted in pool.map(client, range(clients)):
            told.rejected += counted


def make_noise(server: Logged) -> None:
    """What a log holds besides: other rejections, failed builds, and what is quoted of a log in a statement."""
    unknown, twice = NewThread(uuid4(), uuid4()), NewThread(families(1)[0].root, uuid4(), row_id=uuid4())
    with server.connect() as connection:
        for thread in (unknown, twice, twice):  # a prompt that is not there; a row_id that is
            with suppress(psycopg.errors.IntegrityError):
                insert_thread(connection, thread)
        for statement in (
            f"CREATE UNIQUE INDEX {PURPOSE.build_name} ON public.q_threads (purpose)",
            f"/* again */ CREATE UNIQUE INDEX CONCURRENTLY {PURPOSE.build_name} ON public.q_threads (purpose)",
            f"SELECT length({sql.Literal(FORGED).as_string()})::uuid",
            f"SELECT '{INDEX_NAME}'::int",
        ):
            with suppress(psycopg.Error):
                connection.execute(statement.encode())
        connection.execute(f"DROP INDEX IF EXISTS public.{PURPOSE.build_name}")
        connection.execute(
            f"DO $$ BEGIN RAISE LOG {sql.Literal(FORGED).as_string().replace('%', '%%')}; END $$".encode()
        )
