"""How long does a writer stand still while the unique index is swapped: five ways, side by side, in the same run.

python benchmarks/swap.py [--threads 1000000 5000000] [--rounds 5] [--scenario swap deploy]

It writes benchmarks/swap.md and benchmarks/swap.svg. One scenario alone replaces its own part of swap.md.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import harness
import psycopg

from incident_lib.migration import apply
from incident_lib.migration.monitor import MAX_BLOCK
from incident_lib.model import INDEX_NAME
from incident_lib.model.change import PURPOSE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from incident_lib.database import Environment

CLIENTS, RATE = 8, 200  # pgbench writers, transactions a second together
# How long they are open: a reader, and a long transaction, which has not touched the table.
SECONDS = {"reader": 6.0, "long": 10.0}
DEPLOY_AFTER = 1.5  # seconds from the beginning of the swap to an ALTER TABLE
DEPLOY = "ALTER TABLE public.q_threads ADD COLUMN IF NOT EXISTS deployed integer"
DEPLOY_HEAD = "## A long transaction, and an ALTER TABLE while the index is replaced"
BEFORE, AFTER = 1.0, 2.0  # seconds of writing around the swap; pgbench keeps the last one in a buffer
HERE = Path(__file__).parent

ACTIVE = "WHERE is_active = true AND root_prompt_row_id IS NOT NULL"
ORIGINAL = f"CREATE UNIQUE INDEX {{}} ON public.q_threads (root_prompt_row_id, owner_id) {ACTIVE}"
FIXED = f"CREATE UNIQUE INDEX {{}} ON public.q_threads (root_prompt_row_id, owner_id, purpose) {ACTIVE}"
# A run client's insert, under the unique index, and a change of a thread that is there.
WRITER = """\
\\set prompt random(1, 1000000000)
INSERT INTO public.q_prompts VALUES (md5(:prompt::text)::uuid) ON CONFLICT DO NOTHING;
INSERT INTO public.q_threads (root_prompt_row_id, owner_id, name, is_active, created_at)
VALUES (md5(:prompt::text)::uuid, gen_random_uuid(), 'written', true, now());
UPDATE public.q_threads SET message_count = 1
WHERE row_id = (SELECT row_id FROM public.q_threads
                WHERE root_prompt_row_id = md5('root' || :prompt % 250000)::uuid LIMIT 1);
"""

READER = """\
\\set root random(1, 250000)
SELECT count(*) FROM public.q_threads WHERE root_prompt_row_id = md5('root' || :root)::uuid AND is_active;
"""


class Stall(NamedTuple):
    """What one round measured."""

    longest: float  # seconds that the slowest write took
    total: float  # seconds that the swap took
    waiting: int  # times that a writer was seen waiting for a lock of ours
    read: float = 0.0  # seconds that the slowest read took, where reads were measured
    deploy: float = 0.0  # seconds that the ALTER TABLE took


def nothing(_: Environment) -> None:
    """(a) No migration: what the machine itself does to writes."""
    time.sleep(1)


def plain(environment: Environment) -> None:
    """(b) The plan's SQL, each statement by itself."""
    with psycopg.connect(environment.address, autocommit=True) as connection:
        connection.execute(f"DROP INDEX IF EXISTS {INDEX_NAME}")
        connection.execute(FIXED.format(INDEX_NAME))


def transaction(environment: Environment) -> None:
    """(c) The plan's SQL in one transaction."""
    with psycopg.connect(environment.address) as connection:
        connection.execute(f"DROP INDEX IF EXISTS {INDEX_NAME}")
        connection.execute(FIXED.format(INDEX_NAME))


def retries(environment: Environment) -> None:
    """(d) Built concurrently, then dropped and renamed under lock_timeout 200 ms, again and again."""
    with psycopg.connect(environment.address, autocommit=True) as connection:
        connection.execute(FIXED.format(PURPOSE.build_name).replace("UNIQUE INDEX", "UNIQUE INDEX CONCURRENTLY"))
        while True:
            try:
                with connection.transaction():
                    connection.execute("SET LOCAL lock_timeout = '200ms'")
                    connection.execute(f"DROP INDEX {INDEX_NAME}")
                    connection.execute(f"ALTER INDEX {PURPOSE.build_name} RENAME TO {INDEX_NAME}")
            except psycopg.errors.LockNotAvailable:
                time.sleep(random.uniform(0.1, 0.5))
            else:
                return


def ours(environment: Environment) -> None:
    """(e) Ours."""
    apply(environment, confirm=environment.name)


WAYS: dict[str, Callable[[Environment], None]] = {
    "(a) no migration": nothing,
    "(b) the plan's SQL": plain,
    "(c) the plan's SQL, one transaction": transaction,
    "(d) lock_timeout and retries": retries,
    "(e) ours": ours,
}


def reset(environment: Environment) -> None:
    """Back to the original index alone, whatever a way left."""
    with psycopg.connect(environment.address, autocommit=True) as connection:
        for name in (INDEX_NAME, PURPOSE.build_name, PURPOSE.retired_name):
            connection.execute(f"DROP INDEX IF EXISTS {name}")
        connection.execute("ALTER TABLE public.q_threads DROP COLUMN IF EXISTS deployed")
        connection.execute(ORIGINAL.format(INDEX_NAME))
        connection.execute("DELETE FROM public.q_threads WHERE name = 'written'")
        connection.execute("VACUUM (ANALYZE, INDEX_CLEANUP ON) public.q_threads")
        connection.execute("CHECKPOINT")


def measure(environment: Environment, way: Callable[[Environment], None], *, reader: bool) -> Stall:
    """One round: writers before, while and after the swap; the slowest write of them all."""
    reset(environment)
    with tempfile.TemporaryDirectory() as folder:
        with pgbench(environment, Path(folder), WRITER), Waiting(environment) as waiting:
            reading = threading.Thread(target=read, args=[environment]) if reader else None
            if reading:
                reading.start()
                time.sleep(0.2)
            began = time.monotonic()
            way(environment)
            total = time.monotonic() - began
            if reading:
                reading.join()
        longest = max(latencies(Path(folder)))
    return Stall(longest / 1e6, total, waiting.seen)


def measure_deploy(environment: Environment, way: Callable[[Environment], None]) -> Stall:
    """One round with a long transaction and an ALTER TABLE: the slowest write and the slowest read of them all."""
    reset(environment)
    took: list[float] = []

    def deploy() -> None:
        time.sleep(DEPLOY_AFTER)
        began = time.monotonic()
        with psycopg.connect(environment.address, autocommit=True, application_name="deploy") as connection:
            connection.execute(DEPLOY)
        took.append(time.monotonic() - began)

    with tempfile.TemporaryDirectory() as writes, tempfile.TemporaryDirectory() as reads:
        with (
            pgbench(environment, Path(writes), WRITER),
            pgbench(environment, Path(reads), READER),
            Waiting(environment) as waiting,
        ):
            others = [threading.Thread(target=hold, args=[environment]), threading.Thread(target=deploy)]
            others[0].start()
            time.sleep(0.2)
            began = time.monotonic()
            others[1].start()
            way(environment)
            total = time.monotonic() - began
            for other in others:
                other.join()
        write, slowest = max(latencies(Path(writes))), max(latencies(Path(reads)))
    return Stall(write / 1e6, total, waiting.seen, slowest / 1e6, took[0])


@contextmanager
def pgbench(environment: Environment, folder: Path, text: str) -> Iterator[None]:
    """Pgbench's clients, from some time before the block to some time after it; they log what each transaction took."""
    script = folder / "script.sql"
    script.write_text(text)
    options = ["-n", "-c", str(CLIENTS), "-j", "2", "-R", str(RATE), "-T", "3600", "-f", str(script)]
    command = [harness.program("pgbench"), *options, "-l", "--log-prefix", f"{folder}/log", environment.address]
    clients = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(BEFORE)
        yield
        time.sleep(AFTER)
    finally:
        clients.terminate()
        clients.wait()


def latencies(folder: Path) -> Iterator[int]:
    """Microseconds that each write took; a line that the end cut off is no measurement."""
    for log in folder.glob("log*"):
        for fields in map(str.split, log.read_text().splitlines()):
            if len(fields) == 7:
                yield int(fields[2])


def read(environment: Environment) -> None:
    """A reader's transaction that stays open."""
    with psycopg.connect(environment.address, application_name="reader") as connection:
        connection.execute("SELECT count(*) FROM public.q_threads WHERE name = 'nobody'")
        time.sleep(SECONDS["reader"])


def hold(environment: Environment) -> None:
    """A long transaction's old snapshot: the last wait of a concurrent build waits for it."""
    with psycopg.connect(environment.address, application_name="long transaction") as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT 1")
        time.sleep(SECONDS["long"])


class Waiting:
    """Counts how often a writer is seen waiting behind a session of ours."""

    QUERY = """
        SELECT count(*) FROM pg_stat_activity w
        WHERE w.application_name = 'pgbench' AND w.wait_event_type = 'Lock'
          AND EXISTS (SELECT FROM unnest(pg_blocking_pids(w.pid)) AS b (pid) JOIN pg_stat_activity a ON a.pid = b.pid
                      WHERE a.application_name LIKE 'incident_lib%%')"""

    def __init__(self, environment: Environment) -> None:
        self.environment, self.seen, self._done = environment, 0, threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Waiting:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        with psycopg.connect(self.environment.address, autocommit=True) as connection:
            while not self._done.wait(0.02):
                (count,) = connection.execute(self.QUERY).fetchone() or (0,)
                self.seen += count


Results = dict[tuple[int, bool, str], list[Stall]]
Deploys = dict[tuple[int, str], list[Stall]]


def report(results: Results, rounds: int, head: str) -> list[str]:
    """The table, and whether the targets hold."""
    lines = [
        "# Longest stall of a writer while the unique index is swapped",
        "",
        f"{head}. {CLIENTS} pgbench writers at {RATE} transactions a second;",
        f"medians of {rounds} rounds, worst in brackets.",
        "Measured with `python benchmarks/swap.py`; the ratios are the point.",
        "",
        "![Longest stall, by way of swapping](swap.svg)",
        "",
        "| threads | reader open for 6 s | way | longest stall | whole swap | writers seen waiting for us |",
        "|---:|---|---|---:|---:|---:|",
    ]
    for (threads, reader, way), stalls in results.items():
        longest = [stall.longest for stall in stalls]
        lines.append(
            f"| {threads:,} | {'yes' if reader else 'no'} | {way} | {shown(statistics.median(longest))} "
            f"({shown(max(longest))}) | {statistics.median(s.total for s in stalls):.2f} s "
            f"| {sum(stall.waiting for stall in stalls) if way.startswith('(e)') else ''} |"
        )
    return [*lines, "", *(f"- {line}" for line in targets(results))]


def targets(results: Results) -> list[str]:
    """Each target of ours, cell by cell."""
    lines = []
    for threads, reader in dict.fromkeys((threads, reader) for threads, reader, _ in results):
        cell = {way[:3]: results[threads, reader, way] for way in WAYS}
        median = {way: statistics.median(stall.longest for stall in stalls) for way, stalls in cell.items()}
        where = f"{threads:,} threads, {'with' if reader else 'no'} reader"
        limit = max(2 * median["(a)"], 0.1)
        what = f"{where}: ours {shown(median['(e)'])} ≤ {shown(limit)} (the larger of 2 × (a) and 100 ms)"
        lines.append(harness.passed(what, good=median["(e)"] <= limit))
        seen = sum(stall.waiting for stall in cell["(e)"])
        lines.append(harness.passed(f"{where}: writers seen waiting for a lock of ours: {seen}", good=seen == 0))
        if reader:
            least = min(median["(b)"], median["(c)"]) / median["(e)"]
            lines.append(
                harness.passed(f"{where}: (b) and (c) stall {least:.0f} × as long, at least 10 ×", good=least >= 10)
            )
    return lines


def report_deploys(results: Deploys, rounds: int, head: str) -> list[str]:
    """The table of the second scenario, and whether its target holds."""
    lines = [
        DEPLOY_HEAD,
        "",
        f"{head}. {CLIENTS} pgbench writers and as many readers, each at {RATE} transactions a second;",
        f"a transaction with an old snapshot is open for {SECONDS['long']:g} s; {DEPLOY_AFTER:g} s after the swap",
        f"begins a deploy alters the table. Medians of {rounds} rounds, worst in brackets; max-block: {MAX_BLOCK:g} s.",
        "Measured with `python benchmarks/swap.py --scenario deploy`.",
        "",
        "| threads | way | longest stall of a read | of a write | ALTER TABLE | whole swap |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    for (threads, way), stalls in results.items():
        cells = [[stall.read for stall in stalls], [stall.longest for stall in stalls], [s.deploy for s in stalls]]
        texts = [f"{shown(statistics.median(cell))} ({shown(max(cell))})" for cell in cells]
        total = statistics.median(stall.total for stall in stalls)
        lines.append(f"| {threads:,} | {way} | {' | '.join(texts)} | {total:.2f} s |")
    lines.append("")
    for threads in dict.fromkeys(threads for threads, _ in results):
        ours = results[threads, next(way for way in WAYS if way.startswith("(e)"))]
        worst = max(max(stall.read, stall.longest) for stall in ours)
        what = f"{threads:,} threads: no read or write stalls longer than max-block + 1 s with ours: {shown(worst)}"
        lines.append(f"- {harness.passed(what, good=worst <= MAX_BLOCK + 1)}")
    return lines


def shown(seconds: float) -> str:
    """A stall as people read it."""
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def draw(results: Results) -> Any:
    """The medians as bars, on a scale of logarithms; one panel for each cell."""
    from matplotlib.figure import Figure

    cells = list(dict.fromkeys((threads, reader) for threads, reader, _ in results))
    figure = Figure(figsize=(9, 1.1 + 1.6 * len(cells)), layout="constrained")
    figure.suptitle("With a reader in the way, only ours leaves writers alone", x=0.01, ha="left", fontweight="bold")
    for ax, (threads, reader) in zip(figure.subplots(len(cells), sharex=True, squeeze=False).flat, cells, strict=True):
        medians = [statistics.median(s.longest for s in results[threads, reader, way]) for way in WAYS]
        ax.barh(list(WAYS), medians, color=["#767676", "#D55E00", "#D55E00", "#D55E00", "#56B4E9"])
        for place, seconds in enumerate(medians):
            ax.text(seconds * 1.08, place, shown(seconds), va="center", fontsize=9)
        ax.set_xscale("log")
        ax.set_xlim(0.005, 60)
        ax.invert_yaxis()
        ax.set_title(f"{threads:,} threads{', a reader open for 6 s' if reader else ''}", loc="left", fontsize=10)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(length=0)
    ax.set_xlabel("longest stall of a writer, seconds (median of the rounds)")
    return figure


def main() -> None:
    """Measure every cell, the ways of one round side by side, and write table and chart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1_000_000, 5_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--scenario", nargs="+", choices=["swap", "deploy"], default=["swap", "deploy"])
    parser.add_argument("--seconds", type=float, nargs=2, default=list(SECONDS.values()), metavar=("READER", "LONG"))
    options = parser.parse_args()
    SECONDS.update(zip(SECONDS, options.seconds, strict=True))
    results: Results = {}
    deploys: Deploys = {}
    for threads in options.threads:
        environment = harness.database(threads)
        for reader in (False, True) if "swap" in options.scenario else ():
            for number in range(options.rounds):
                for name, way in WAYS.items():
                    stall = measure(environment, way, reader=reader)
                    results.setdefault((threads, reader, name), []).append(stall)
                    print(f"{threads:,} reader={reader} round {number + 1} {name}: {stall}", flush=True)
        for number in range(options.rounds if "deploy" in options.scenario else 0):
            for name, way in WAYS.items():
                stall = measure_deploy(environment, way)
                deploys.setdefault((threads, name), []).append(stall)
                print(f"{threads:,} deploy round {number + 1} {name}: {stall}", flush=True)
    head = f"{harness.machine(environment)}, {datetime.now(UTC):%Y-%m-%d}"
    file = options.out / "swap.md"
    parts = list((file.read_text("utf-8") if file.exists() else "").partition(DEPLOY_HEAD))
    swap, deploy = parts[0].strip(), "".join(parts[1:]).strip()
    if results:
        swap = "\n".join(report(results, options.rounds, head))
        draw(results).savefig(options.out / "swap.svg", metadata={"Date": None})
    if deploys:
        deploy = "\n".join(report_deploys(deploys, options.rounds, head))
    text = "\n\n".join(filter(None, [swap, deploy])) + "\n"
    file.write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
