"""A migration in a process of its own, to be killed: `python migrator.py ADDRESS TARGET BUDGET MAX_BLOCK CHANGE`.

It prints a line when a step begins (`begin build`) and when it has ended (`end build done`).
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from incident_lib.database import Environment
from incident_lib.migration.executor import STEPPED_BACK, MigrationResult, apply
from incident_lib.migration.monitor import MAX_BLOCK, Progress
from incident_lib.model.change import CHANGES, IndexKind
from incident_lib.model.change_file import parse_change
from incident_lib.model.errors import IncidentError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Migrator:
    """The parent's side: start, follow, kill."""

    def __init__(
        self,
        address: str,
        target: IndexKind = IndexKind.FIXED,
        budget: float = 60,
        max_block: float = MAX_BLOCK,
        within: Sequence[str] = (),
        change: str = "purpose",
    ) -> None:
        told = [address, target.value, str(budget), str(max_block), change]
        command = [*within, sys.executable, str(Path(__file__)), *told]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []

    def until(self, line: str) -> bool:
        """Read until the child prints a line; False where it ended before."""
        for read in self.process.stdout or ():
            self.lines.append(read.strip())
            if self.lines[-1] == line:
                return True
        return False

    def kill(self, how: str, address: str) -> None:
        """Kill the client (SIGKILL, SIGINT), or its backend at the server."""
        if how == "terminate":
            with psycopg.connect(address, autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'incident_lib migrate' AND datname = current_database()"
                )
        else:
            self.process.send_signal(signal.SIGKILL if how == "SIGKILL" else signal.SIGINT)

    def finish(self) -> tuple[int, str]:
        """Wait for the end: the exit code, and what stood on standard error."""
        out, err = self.process.communicate(timeout=120)
        self.lines += out.split("\n")
        return self.process.returncode, err

    def steps_back(self) -> bool:
        """Whether the child cancelled a step, because another session waited for it."""
        return any(line.endswith(STEPPED_BACK) for line in self.lines)

    def inside(self, step: str) -> bool:
        """Whether the child was inside a step when it ended: it had begun, and not come to its end."""
        return f"begin {step}" in self.lines and not any(line.startswith(f"end {step} done") for line in self.lines)


def pause(rng: random.Random, most: float) -> None:
    """Sleep for a random moment."""
    time.sleep(rng.uniform(0, most))


def main(address: str, target: str, budget: str, max_block: str, change: str) -> int:
    """The child's side; `change` is a name, or the text of a file."""

    def began(progress: Progress) -> None:
        if progress.phase == "begins":
            print(f"begin {progress.step}", flush=True)

    def ended(migration: MigrationResult) -> None:
        step = migration.steps[-1]
        print(f"end {step.name} {step.outcome}", flush=True)

    environment = Environment("chaos", "a test", address)
    try:
        apply(
            environment,
            confirm="chaos",
            change=CHANGES.get(change) or parse_change(change, "tenant.toml"),
            target=IndexKind(target),
            budget=float(budget),
            max_block=float(max_block),
            listener=began,
            done=ended,
        )
    except IncidentError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
