"""The start of a command, compared with the start of Python and with one connection.

python benchmarks/startup.py [--rounds 15]
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import harness
from harness import Row

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECT = "import sys, psycopg; psycopg.connect(sys.argv[1]).close()"
IMPORT = "import time; began = time.perf_counter(); import {}; print(time.perf_counter() - began)"


def process(*words: str, **variables: str) -> Callable[[], float]:
    """A function that measures a Python process with these arguments."""

    def measure() -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, *words], capture_output=True, check=True, env={**os.environ, **variables})
        return time.perf_counter() - began

    return measure


def importing(modules: str) -> Callable[[], float]:
    """A function that measures the import of these modules only."""

    def measure() -> float:
        command = [sys.executable, "-c", IMPORT.format(modules)]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    return measure


def profile(address: str) -> str:
    """What `incident plan` imports, the slowest last."""
    command = [sys.executable, "-X", "importtime", "-m", "incident_lib", "plan", "--env", "bench"]
    environ = {**os.environ, "INCIDENT_BENCH_URL": address}
    output = subprocess.run(command, capture_output=True, text=True, check=True, env=environ).stderr
    lines = [line for line in output.splitlines() if line.startswith("import time:")][1:]
    return "\n".join(sorted(lines, key=lambda line: int(line.split("|")[1]))[-25:])


def main() -> None:
    """Measure, and write the section."""
    parser = harness.parser(__doc__, rounds=15)
    parser.add_argument("--threads", type=int, default=1000)
    options = parser.parse_args()
    address = harness.database(options.threads).address
    took = harness.medians(
        options.rounds,
        {
            "python": process("-c", "pass"),
            "help": process("-m", "incident_lib", "--help"),
            "connection": process("-c", CONNECT, address),
            "plan": process("-m", "incident_lib", "plan", "--env", "bench", INCIDENT_BENCH_URL=address),
            "import": importing("incident_lib"),
            "heavy": importing("pandas, sqlalchemy, matplotlib"),
        },
    )
    rows = [
        Row(what, against, f"{took[name]:.3f} s", f"{took[peer]:.3f} s", took[name] - took[peer], 0.15, "{:.3f} s over")
        for name, what, peer, against in (
            ("help", "`incident --help`", "python", "`python -c pass`"),
            ("plan", "`incident plan`", "connection", "Python with one psycopg connection"),
        )
    ]
    heavy, ours = took["heavy"], took["import"]
    what = "pandas, sqlalchemy and matplotlib"
    rows.append(Row("`import incident_lib`", what, f"{ours:.4f} s", f"{heavy:.3f} s", ours / heavy, 0.1, "{:.3f} ×"))
    harness.report(
        "startup", rows, options.out, harness.details("What `incident plan` imports (-X importtime)", profile(address))
    )


if __name__ == "__main__":
    main()
