"""`incident investigate` as typed, its parts, and a snapshot, compared with what one would type in psql.

python benchmarks/investigate.py [--threads 2000000 5000000] [--rounds 5]

Twenty million threads take 7 GB of disk.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import harness
from harness import Row
from listing import statement

from incident_lib.database.demo import PURPOSE_SINCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from incident_lib.database import Environment

# What an engineer would type in psql: the active threads, counted in one pass over an index, and the first families.
ACTIVE = """
SELECT count(*) AS families, sum(n) AS active, count(owner_id) AS blocked,
       count(owner_id) FILTER (WHERE chats < n) AS chat, count(owner_id) FILTER (WHERE runs < n) AS run,
       count(owner_id) FILTER (WHERE n > 1) AS coexisting
FROM (SELECT root_prompt_row_id, owner_id, count(*) AS n, count(*) FILTER (WHERE purpose = 'chat') AS chats,
             count(*) FILTER (WHERE purpose = 'run') AS runs
      FROM public.q_threads WHERE is_active AND root_prompt_row_id IS NOT NULL GROUP BY 1, 2) AS family
"""
FIRST = """
SELECT root_prompt_row_id, owner_id, row_id, purpose, provider, created_at FROM public.q_threads
WHERE is_active AND root_prompt_row_id IS NOT NULL AND owner_id IS NOT NULL AND purpose <> 'chat'
ORDER BY root_prompt_row_id, owner_id LIMIT 20
"""
START = "import sys, click, psycopg; psycopg.connect(sys.argv[1]).close()"
COUNTS = """
import sys, time
from incident_lib.analysis import count_threads
from incident_lib.database import Environment, read_catalog, reading
with reading(Environment("bench", "", sys.argv[1]), seconds=0) as connection:
    catalog = read_catalog(connection)
    began = time.perf_counter()
    count_threads(connection, catalog)
    seconds = time.perf_counter() - began
"""
JSON = f"""
import sys, time
from datetime import datetime
from incident_lib.analysis import copy_blocked_json
from incident_lib.database import Environment, read_catalog, reading
since = datetime.fromisoformat({PURPOSE_SINCE.isoformat()!r})
began = time.perf_counter()
with reading(Environment("bench", "", sys.argv[1]), seconds=0) as connection, open(sys.argv[2], "wb") as out:
    copy_blocked_json(connection, read_catalog(connection), out, purpose_since=since)
seconds = time.perf_counter() - began
"""
# The statements' share of a snapshot: what is left is Python's.
SNAPSHOT = """
import logging, sys, tempfile, time
from pathlib import Path
import incident_lib as il
statements = []
class Seconds(logging.Handler):
    def emit(self, record):
        statements.append(record.args[0] / 1000)
logger = logging.getLogger("incident_lib.statements")
logger.setLevel(logging.DEBUG)
logger.addHandler(Seconds())
incident = il.connect("bench")
incident.snapshot().counts
statements.clear()
began = time.perf_counter()
incident.snapshot().counts
seconds = time.perf_counter() - began
print(sum(statements), file=sys.stderr)
"""


def typed(environment: Environment) -> Callable[[], float]:
    """The seconds of the command as typed."""
    environ = os.environ | {"INCIDENT_BENCH_URL": environment.address, "INCIDENT_PROGRESS": "off"}
    return lambda: _seconds([sys.executable, "-m", "incident_lib", "investigate", "--env", "bench"], environ)


def _seconds(command: list[str], environ: dict[str, str] | None = None) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environ)
    return time.perf_counter() - began


def profile(environment: Environment) -> str:
    """The statements that take a hundredth of a command's time or more: as typed, and with all families as JSON.

    The two that count run at the same time.
    """
    environ = os.environ | {"INCIDENT_BENCH_URL": environment.address, "INCIDENT_PROGRESS": "off"}
    lines = []
    for options in ([], ["--format", "json", "--limit", "0"]):
        command = ["investigate", "--env", "bench", "--verbose", *options]
        began = time.perf_counter()
        ran = subprocess.run(
            [sys.executable, "-m", "incident_lib", *command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
            env=environ,
        )
        whole = 1000 * (time.perf_counter() - began)
        statements = [(float(ms), text) for ms, text in re.findall(r"^ *([\d.]+) ms  (.*)", ran.stderr, re.MULTILINE)]
        lines += ["", f"{whole:8.1f} ms  incident {' '.join(command)}"]
        lines += [f"{ms:8.1f} ms      {text[:100]}" for ms, text in statements if ms >= whole / 100]
    return "\n".join(lines[1:])


def snapshot(environment: Environment) -> tuple[float, float]:
    """The seconds of a snapshot, and of its statements."""
    code = f"{SNAPSHOT}\nprint(seconds)"
    environ = os.environ | {"INCIDENT_BENCH_URL": environment.address, "INCIDENT_PROGRESS": "off"}
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True, env=environ
    )
    return float(ran.stdout.splitlines()[-1]), float(ran.stderr.splitlines()[-1])


def measure(threads: int, rounds: int) -> list[Row]:
    """All rows of one size."""
    environment = harness.database(threads)
    asked = statement(environment)
    with tempfile.TemporaryDirectory() as folder:
        made, copy = Path(folder) / "blocked.json", Path(folder) / "copy.csv"
        took = harness.medians(
            rounds,
            {
                "typed": typed(environment),
                "start": lambda: _seconds([sys.executable, "-c", START, environment.address]),
                "active": lambda: harness.psql(environment, ACTIVE),
                "first": lambda: harness.psql(environment, FIRST),
                "counts": lambda: harness.child(COUNTS, environment.address).seconds,
                "json": lambda: harness.child(JSON, environment.address, str(made)).seconds,
                "copy": lambda: harness.psql(environment, rf"\copy ({asked}) TO '{copy}' CSV HEADER"),
            },
        )
    whole, statements = snapshot(environment)
    by_hand = took["active"] + took["first"]
    size = f"{threads:,} threads"
    return [
        Row(
            f"incident investigate, first 20 families, {size}",
            "psql: a count of the active threads, LIMIT 20; Python's start is taken off",
            f"{took['typed']:.2f} s",
            f"{by_hand:.2f} s; {took['start']:.2f} s",
            (took["typed"] - took["start"]) / by_hand,
            1.3,
        ),
        Row(
            f"all counts, {size}", "psql: one pass over the active threads",
            f"{took['counts']:.2f} s", f"{took['active']:.2f} s", took["counts"] / took["active"], 2.0,
        ),
        Row(
            f"JSON of all blocked families, {size}", r"psql, \copy of the same query",
            f"{took['json']:.2f} s", f"{took['copy']:.2f} s", took["json"] / took["copy"], 1.5,
        ),
        Row(
            f"one snapshot, {size}", "the sum of its statements",
            f"{whole:.2f} s", f"{statements:.2f} s", whole / statements, 1.2,
        ),
    ]  # fmt: skip


def main() -> None:
    """Measure, and write the section."""
    parser = harness.parser(__doc__, rounds=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[2_000_000, 5_000_000])
    options = parser.parse_args()
    rows = [row for threads in options.threads for row in measure(threads, options.rounds)]
    largest = harness.database(max(options.threads))
    title = "Where the time goes, with the most threads: the two queries that count run at the same time"
    harness.report("investigate", rows, options.out, harness.details(title, profile(largest)))


if __name__ == "__main__":
    main()
