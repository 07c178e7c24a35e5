"""The build of the fixed index while clients write, compared with a plain CREATE UNIQUE INDEX without clients.

python benchmarks/build.py [--threads 5000000] [--rounds 5]
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import harness
import psycopg
import swap
from harness import Row

from incident_lib.migration import apply
from incident_lib.model.change import PURPOSE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from incident_lib.database import Environment


@contextmanager
def traffic(environment: Environment) -> Iterator[None]:
    """Clients that insert and update threads until the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "writer.sql"
        script.write_text(swap.WRITER)
        words = ["-n", "-c", str(swap.CLIENTS), "-j", "2", "-R", str(swap.RATE), "-T", "3600", "-f", str(script)]
        command = [harness.program("pgbench"), *words, environment.address]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as writers:
            time.sleep(swap.BEFORE)
            yield
            writers.terminate()


def ours(environment: Environment) -> float:
    """The step `build` of a migration."""
    swap.reset(environment)
    with traffic(environment):
        steps = apply(environment, confirm=environment.name).steps
    return next(step.seconds for step in steps if step.name == "build")


def plain(environment: Environment) -> float:
    """The same index, built without CONCURRENTLY and without clients."""
    swap.reset(environment)
    with psycopg.connect(environment.address, autocommit=True) as connection:
        began = time.perf_counter()
        connection.execute(swap.FIXED.format(PURPOSE.build_name))
        return time.perf_counter() - began


def main() -> None:
    """Measure, and write the section."""
    parser = harness.parser(__doc__, rounds=5)
    parser.add_argument("--threads", type=int, default=5_000_000)
    options = parser.parse_args()
    environment = harness.database(options.threads)
    took = harness.medians(options.rounds, {"ours": lambda: ours(environment), "plain": lambda: plain(environment)})
    swap.reset(environment)
    row = Row(
        f"build of the fixed index, {options.threads:,} threads, {swap.RATE} writes a second",
        "plain CREATE UNIQUE INDEX, no writes",
        f"{took['ours']:.2f} s",
        f"{took['plain']:.2f} s",
        took["ours"] / took["plain"],
        2,
    )
    harness.report("build", [row], options.out)


if __name__ == "__main__":
    main()
