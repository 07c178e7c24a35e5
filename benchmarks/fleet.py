"""Seconds of a run for each environment with one, two and four jobs, compared with papermill alone.

python benchmarks/fleet.py [--environments 8]

It writes benchmarks/fleet.md.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import harness
import psycopg

from incident_lib import paths
from incident_lib.database import demo, resolve_environment
from incident_lib.runs import LocalProcesses, run_fleet
from incident_lib.runs.runner import NOTEBOOKS

HERE = Path(__file__).parent
JOBS = (1, 2, 4)


def environments(count: int) -> list[str]:
    """Create so many environments, copies of the demo with the original index; returns their names."""
    demo.reset()
    maintenance = demo.url().replace("/demo?", "/postgres?")
    names = [f"fleet{number}" for number in range(count)]
    with psycopg.connect(maintenance, autocommit=True) as connection:
        for name in names:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {demo.TEMPLATE}")
            os.environ[f"INCIDENT_{name.upper()}_URL"] = maintenance.replace("/postgres?", f"/{name}?")
    return names


def ours(count: int, jobs: int) -> float:
    """Seconds of a confirmed run of so many environments."""
    names = environments(count)
    began = time.monotonic()
    results = run_fleet(names, confirm=names, executor=LocalProcesses(jobs))
    assert {one.status for one in results} == {"succeeded"}, [str(one.error) for one in results]
    return time.monotonic() - began


def busy(began: list[int]) -> float:
    """The share of the time since `began` in which the cores worked."""
    passed = [now - then for now, then in zip(clocks(), began, strict=True)]
    idle = passed[3] + passed[4]  # idle, and waiting for a disk
    return 1 - idle / sum(passed)


def clocks() -> list[int]:
    """What the cores have done since the machine started, in hundredths of a second: /proc/stat."""
    return [int(word) for word in Path("/proc/stat").read_text("ascii").splitlines()[0].split()[1:9]]


def bare(count: int) -> float:
    """Seconds of papermill's own API for the same notebooks, one after the other in one process."""
    names = environments(count)
    from papermill import execute_notebook

    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            for notebook in NOTEBOOKS[:2]:
                parameters = {"environment": name, **({"confirm": name} if notebook == "02_migrate" else {})}
                source, out = paths.NOTEBOOKS / f"{notebook}.ipynb", Path(folder) / f"{notebook}.ipynb"
                execute_notebook(source, out, parameters=parameters, kernel_name="python3", progress_bar=False)
            source, out = paths.NOTEBOOKS / "03_postmortem.ipynb", Path(folder) / "03_postmortem.ipynb"
            execute_notebook(source, out, parameters={"environment": name}, kernel_name="python3", progress_bar=False)
    return time.monotonic() - began


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environments", type=int, default=8)
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    count = options.environments
    with tempfile.TemporaryDirectory() as folder:
        os.environ["INCIDENT_RUNS"] = folder
        ours(1, 1)  # fills the caches before anything is measured
        took, work = {}, {}
        for jobs in [jobs for jobs in JOBS if jobs <= max(2, count)]:
            began = clocks()
            took[jobs] = ours(count, jobs)
            work[jobs] = busy(began)
        plain = bare(count)  # afterwards: the third notebook shows an environment's latest run
    speedup, ratio = took[1] / took[2], took[1] / plain
    head = harness.machine(resolve_environment("demo"))
    lines = [
        "# Seconds for each environment of a fleet",
        "",
        f"{head}, {datetime.now(UTC):%Y-%m-%d}; {count} copies of the demo, confirmed. `python benchmarks/fleet.py`",
        "",
        "| what | seconds | for each environment | cores at work |",
        "|---|---:|---:|---:|",
        f"| papermill alone, one after the other | {plain:.1f} | {plain / count:.2f} | |",
        *(
            f"| ours, {jobs} {'job' if jobs == 1 else 'jobs'} | {took[jobs]:.1f} | {took[jobs] / count:.2f} "
            f"| {100 * work[jobs]:.0f} % |"
            for jobs in took
        ),
        "",
        "- " + harness.passed(f"two jobs are {speedup:.2f} × as fast as one, at least 1.7 ×", good=speedup >= 1.7),
        "- " + harness.passed(f"one job takes {ratio:.2f} × of papermill alone, at most 0.4 ×", good=ratio <= 0.4),
    ]
    (options.out / "fleet.md").write_text("\n".join(lines) + "\n", "utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
