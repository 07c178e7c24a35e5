"""A command on a terminal of so many columns: what it prints there, standard output and standard error together."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from contextlib import suppress

LINES = 500  # of the terminal: nothing is longer, so that no pager starts


def on_terminal(*words: str, columns: int, lines: int = LINES, **variables: str) -> tuple[int, str]:
    """Run `incident` on a terminal; its exit code, and what it printed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    environ = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    with subprocess.Popen(
        [sys.executable, "-m", "incident_lib", *words],
        stdin=theirs,  # the pager starts only where both are a terminal
        stdout=theirs,
        stderr=theirs,
        env={**environ, "TERM": "xterm-256color", **variables},
    ) as process:
        os.close(theirs)
        printed = b""
        with suppress(OSError):  # the terminal's end, once the command has ended
            while part := os.read(ours, 65536):
                printed += part
    os.close(ours)
    return process.returncode, printed.decode().replace("\r\n", "\n")
