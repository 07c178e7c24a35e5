"""The start of commands, compared with what they cannot do without: click, psycopg, a connection, their statements.

python benchmarks/startup.py [--rounds 15]
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import harness
from harness import Row

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECT = "import sys, click, psycopg; psycopg.connect(sys.argv[1]).close()"
IMPORT = "import time; began = time.perf_counter(); import {}; print(time.perf_counter() - began)"
COMMANDS = ("plan", "investigate")


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


def command(name: str) -> list[str]:
    """The words of a command on the benchmark's environment."""
    return ["-m", "incident_lib", name, "--env", "bench"]


def statements(name: str, address: str) -> float:
    """The seconds of a command's statements, as --verbose prints them."""
    words, environ = [sys.executable, *command(name), "--verbose"], {**os.environ, "INCIDENT_BENCH_URL": address}
    printed = subprocess.run(words, capture_output=True, text=True, check=True, env=environ).stderr
    return sum(map(float, re.findall(r"^ *([\d.]+) ms ", printed, re.MULTILINE))) / 1000


def profile(address: str) -> str:
    """What `incident plan` imports, the slowest last."""
    words, environ = (
        [sys.executable, "-X", "importtime", *command("plan")],
        {**os.environ, "INCIDENT_BENCH_URL": address},
    )
    output = subprocess.run(words, capture_output=True, text=True, check=True, env=environ).stderr
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
            "click": process("-c", "import click"),
            "help": process("-m", "incident_lib", "--help"),
            "connection": process("-c", CONNECT, address),
            **{name: process(*command(name), INCIDENT_BENCH_URL=address) for name in COMMANDS},
            "import": importing("incident_lib"),
            "heavy": importing("pandas, sqlalchemy, matplotlib"),
        },
    )
    rows = [
        Row(
            "`incident --help`", "`python -c 'import click'`",
            f"{took['help']:.3f} s", f"{took['click']:.3f} s", took["help"] / took["click"], 1.5,
        ),
    ]  # fmt: skip
    for name in COMMANDS:
        asked = statements(name, address)
        peer = took["connection"] + asked
        rows.append(
            Row(
                f"`incident {name}`", "click, psycopg, one connection, and its statements",
                f"{took[name]:.3f} s", f"{took['connection']:.3f} s + {asked:.3f} s", took[name] / peer, 1.3,
            )
        )  # fmt: skip
    heavy, ours = took["heavy"], took["import"]
    what = "pandas, sqlalchemy and matplotlib"
    rows.append(Row("`import incident_lib`", what, f"{ours:.4f} s", f"{heavy:.3f} s", ours / heavy, 0.1, "{:.3f} ×"))
    harness.report(
        "startup", rows, options.out, harness.details("What `incident plan` imports (-X importtime)", profile(address))
    )


if __name__ == "__main__":
    main()
