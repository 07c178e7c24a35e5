"""Standard input, output and error as a shell may leave them: closed, in any encoding, or without a reader."""

from __future__ import annotations

import io
import os
import sys


def prepare() -> None:
    """Replace closed streams by the null device; what an encoding lacks is printed as a question mark."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - open until the end
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def discard_output() -> None:
    """Print nothing from now on: the reader of standard output has ended."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
