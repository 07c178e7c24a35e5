"""A process without threads that has imported what notebooks import, and forks a kernel for each of them.

It answers on a socket: a line of JSON asks for a kernel, and the reply is its pid, with a pidfd of it. It ends when the
other end of the socket is closed; its kernels end with it.
"""

from __future__ import annotations

import gc
import json
import os
import select
import socket
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

# What a kernel and the cells of the notebooks import. No module of this list may start a thread.
IMPORTED = (
    "IPython.core.completerlib",
    "IPython.core.debugger",
    "IPython.extensions.storemagic",
    "encodings.unicode_escape",
    "encodings.utf_8_sig",
    "fasteners",
    "importlib.readers",
    "importlib.resources.readers",
    "incident_lib.notebook.begin",
    "incident_lib.notebook.display",
    "incident_lib.notebook.pictures",
    "incident_lib.notebook.plot",
    "ipykernel.debugger",
    "ipykernel.ipkernel",
    "ipykernel.kernelapp",
    "ipykernel_launcher",
    "mistune.plugins.footnotes",
    "mistune.plugins.formatting",
    "mistune.plugins.table",
    "mistune.plugins.url",
    "sqlite3",
    "tornado.platform.asyncio",
    "zmq.utils.garbage",
    *(f"PIL.{kind}ImagePlugin" for kind in ("Bmp", "Gif", "Jpeg", "Png", "Ppm")),
)
READY, THREADED = b"ready\n", b"threads\n"


def main(descriptor: int) -> None:
    """Serve one process through the socket `descriptor`, as long as it is there; in each fork, run its kernel."""
    gc.disable()  # imports leave no garbage
    from incident_lib.report import prepare_report

    sys.modules["debugpy"] = None  # type: ignore[assignment]  # an import of it fails: no kernel of a run is debugged
    prepare_report()
    for name in IMPORTED:
        import_module(name)
    gc.freeze()  # a collection in a kernel would write to every page that it shares with this process
    gc.enable()
    with socket.socket(fileno=descriptor) as line:
        try:
            line.sendall(READY if _threads() == 1 else THREADED)
        except BrokenPipeError:  # the process that wanted kernels has ended in the meantime
            return
        request = _next_kernel(line) if _threads() == 1 else None
    if request is None:
        os._exit(0)  # it has nothing to write, and its modules need no end one by one
    _become(request)


def _threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def _next_kernel(line: socket.socket) -> dict[str, Any] | None:
    """Fork for each request. Returns it in the new process; in this one None, once the other end is closed."""
    kernels: dict[int, int] = {}  # their pids, by their pidfds
    with line.makefile("rb") as requests:
        while True:
            ready, _, _ = select.select([line.fileno(), *kernels], [], [])
            for ended in [descriptor for descriptor in kernels if descriptor in ready]:
                os.waitpid(kernels.pop(ended), 0)
                os.close(ended)
            if line.fileno() not in ready:
                continue
            request = requests.readline()
            if not request:
                return None
            pid = os.fork()
            if pid == 0:
                for other in kernels:
                    os.close(other)
                return json.loads(request)  # type: ignore[no-any-return]
            descriptor = os.pidfd_open(pid)
            kernels[descriptor] = pid
            socket.send_fds(line, [str(pid).encode()], [descriptor])


def _become(request: dict[str, Any]) -> None:
    """Run a kernel in this process, with the environment, the folder and the arguments of a request."""
    import ipykernel_launcher
    from ipykernel.kernelapp import launch_new_instance
    from numpy import random  # seeded when it was imported, while `random` seeds itself after a fork

    os.setsid()
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"], JPY_PARENT_PID=str(os.getppid()))
    random.seed()
    parent = f"--IPKernelApp.parent_handle={os.getppid()}"  # when it ends, the kernel does
    sys.argv = [ipykernel_launcher.__file__, *request["arguments"], parent]
    launch_new_instance()
