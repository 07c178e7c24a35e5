"""Kernels that are forked from a process of this one's."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from incident_lib.runs.forkserver import READY

if TYPE_CHECKING:
    from collections.abc import Mapping


def _is_available() -> bool:
    """Whether a process can be watched by a descriptor: on Linux. On macOS its libraries do not survive a fork."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):  # no such function, or not in this kernel or sandbox
        return False
    return True


AVAILABLE = _is_available()
FORK_SERVER = "import sys; from incident_lib.runs.forkserver import main; main(int(sys.argv[1]))"
# Variables that the interpreter, its libraries and matplotlib read once, when they start.
READ_ONCE = ("PYTHON", "MPL", "LC_", "LANG", "LD_", "TZ", "HOME", "XDG_")
VARIABLES = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}  # as ipykernel sets it, where it is not set
THREADS = {"OPENBLAS_NUM_THREADS": "1"}  # NumPy would start one for each core; a kernel calculates with one, too


class ForkServer:
    """The process that forks kernels: started with the first request, and again where it has ended."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._state: tuple[Any, ...] = ()
        self._usable: bool | None = None  # None: it has not answered yet

    @property
    def pid(self) -> int | None:
        """Of the process, while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def begin(self) -> None:
        """Start the process, where it does not run: it imports while this one does something else."""
        with self._lock:
            if self._state != _state() or (self._usable is not False and self.pid is None):
                self._close()
                self._state = _state()
                if AVAILABLE:
                    self._start()

    def is_usable(self) -> bool:
        """Whether kernels can be forked here; waits until the process has imported everything."""
        self.begin()
        with self._lock:
            if self._usable is None:
                # It may not fork where an import has started a thread.
                self._usable = self._line is not None and self._line.recv(len(READY), socket.MSG_WAITALL) == READY
            return self._usable

    def _start(self) -> None:
        self._line, far = socket.socketpair()
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter and a module of this package
            [sys.executable, "-P", "-c", FORK_SERVER, str(far.fileno())],
            stdin=subprocess.DEVNULL,
            env=VARIABLES | os.environ | THREADS,
            pass_fds=[far.fileno()],
            start_new_session=True,  # Ctrl-C is for this process alone
        )
        far.close()

    def fork(self, arguments: list[str], cwd: str, env: Mapping[str, str]) -> ForkedProcess:
        """A new kernel with these arguments, in a session of its own.

        Raises:
            RuntimeError: the process that forks has ended.
        """
        request = json.dumps({"arguments": arguments, "cwd": cwd, "env": dict(env)})
        with self._lock, suppress(OSError):
            if self._line is not None:
                self._line.sendall(request.encode() + b"\n")
                pid, descriptors, *_ = socket.recv_fds(self._line, 20, 1)
                if descriptors:
                    return ForkedProcess(int(pid), descriptors[0])
        raise RuntimeError("The process that forks kernels has ended.")

    def close(self) -> None:
        """End the process, and its kernels."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._line is not None and self._process is not None:
            if self._usable is None:
                self._process.kill()  # it may still be at its imports, and has no kernel
            self._line.close()
            self._process.wait()
            self._line = self._process = None
        self._usable = None


def _state() -> tuple[Any, ...]:
    """What a process takes from its parent when it starts."""
    return str(Path.cwd()), {name: value for name, value in os.environ.items() if name.startswith(READ_ONCE)}


SERVER = ForkServer()
atexit.register(SERVER.close)


class ForkedProcess:
    """A process that another one has forked, with the methods of `subprocess.Popen` that a provisioner calls."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self._descriptor = descriptor

    def poll(self) -> int | None:
        """None while it runs, then 0: only its parent knows its exit code."""
        return 0 if select.select([self._descriptor], [], [], 0)[0] else None

    def wait(self) -> int:
        """Wait until it has ended."""
        select.select([self._descriptor], [], [])
        return 0

    def send_signal(self, number: int) -> None:
        """Send it a signal; nothing happens once it has ended."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def __del__(self) -> None:
        os.close(self._descriptor)
