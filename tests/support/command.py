"""The command line as a shell sees it: in a process of its own, or in this one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


SECONDS = 120  # that a command may take
READ_ONCE = ("PYTHON", "LANG", "LC_")  # variables that an interpreter reads when it starts


def shell(*words: str, **variables: str) -> Ran:
    """Run a command as a shell does, with its two streams apart."""
    environ = {**os.environ, **variables}
    with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        code = forked(words, environ, out.fileno(), err.fileno())
        if code is not None:
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(list(words), code, out.read(), err.read())
    command = [sys.executable, "-m", "incident_lib", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS, env=environ)


def forked(words: Sequence[str], environ: Mapping[str, str], *streams: int) -> int | None:
    """Run a command in a forked process with these streams; its exit code, or None where none can be forked now."""
    forks = _forks()
    if sys.platform != "linux" or not forks.fit(environ) or not forks.lock.acquire(blocking=False):
        return None
    try:
        return forks.run(words, environ, streams)
    finally:
        forks.lock.release()


@cache
def _forks() -> _Forks:
    return _Forks()


class _Forks:
    """Commands in processes that are forked from one that has imported their libraries, one at a time."""

    def __init__(self) -> None:
        self.lock = Lock()
        self._at_start = self._read_once(os.environ)
        self._line, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._line.settimeout(SECONDS)
        script = Path(__file__).with_name("fork_commands.py")
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(script), str(far.fileno())], pass_fds=[far.fileno()]
        )
        far.close()

    @staticmethod
    def _read_once(environ: Mapping[str, str]) -> dict[str, str]:
        return {name: value for name, value in environ.items() if name.startswith(READ_ONCE)}

    def fit(self, environ: Mapping[str, str]) -> bool:
        """Whether an interpreter that was started with these variables would be as this one."""
        return self._read_once(environ) == self._at_start

    def run(self, words: Sequence[str], environ: Mapping[str, str], streams: Sequence[int]) -> int:
        """Run a command with these streams: output and error, or input, too, as the first; its exit code."""
        request = json.dumps({"words": words, "cwd": str(Path.cwd()), "env": dict(environ)}).encode()
        socket.send_fds(self._line, [request], list(streams))
        pid = int(self._line.recv(20))
        try:
            return int(self._line.recv(20))
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise


def message(what: str, why: str, next_: str) -> str:
    """A message as it is on standard error."""
    return f"incident: {what}\n  why:  {why}\n  next: {next_}\n"


def streams(ran: Ran) -> tuple[int, str, str]:
    """The exit code, standard output, standard error."""
    return ran.returncode, ran.stdout, ran.stderr
