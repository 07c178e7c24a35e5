"""The command line as a shell sees it: in a process of its own, or in this one."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

INTERRUPTED = (
    "incident: interrupted. Run the same command again: a migration continues from the catalog, every other command "
    "starts again."
)
# A test run that was started in the background ignores Ctrl-C, one under nohup SIGHUP, and so would their children.
HEARING = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "signal.signal(signal.SIGHUP, signal.SIG_DFL);from incident_lib.cli import main; main()"
)


def unmeasured(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables of a process that gets a signal: coverage has a lock that a signal may leave locked for ever."""
    return {name: value for name, value in variables.items() if not name.startswith("COVERAGE_PROCESS")}


Ran = subprocess.CompletedProcess[str]


def shell(*words: str, **variables: str) -> Ran:
    """Run a command as a shell does, with its two streams apart."""
    command = [sys.executable, "-m", "incident_lib", *words]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env={**os.environ, **variables}
    )


def message(what: str, why: str, next_: str) -> str:
    """A message as it is on standard error."""
    return f"incident: {what}\n  why:  {why}\n  next: {next_}\n"


def streams(ran: Ran) -> tuple[int, str, str]:
    """The exit code, standard output, standard error."""
    return ran.returncode, ran.stdout, ran.stderr
