"""A command on a terminal of so many columns: what it prints there, standard output and standard error together."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from tests.support.command import forked

LINES = 500  # of the terminal: nothing is longer, so that no pager starts


def on_terminal(*words: str, columns: int, lines: int = LINES, **variables: str) -> tuple[int, str]:
    """Run `incident` on a terminal; its exit code, and what it printed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    environ = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    environ |= {"TERM": "xterm-256color", **variables}
    with ThreadPoolExecutor(1) as thread:
        printed = thread.submit(_read, ours)
        try:
            # The pager starts only where input and output are a terminal.
            code = forked(words, environ, theirs, theirs, theirs)
            if code is None:
                command = [sys.executable, "-m", "incident_lib", *words]
                code = subprocess.call(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ)
        finally:
            os.close(theirs)
        text = printed.result().decode()
    os.close(ours)
    return code, text.replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    """Everything that is printed on a terminal, until nothing has it open any more."""
    printed = b""
    with suppress(OSError):  # the terminal's end, once the command has ended
        while part := os.read(terminal, 65536):
            printed += part
    return printed
