"""A network of its own for a client: a line to this machine's servers that can swallow every packet."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER, CLIENT, NETWORK = "169.254.77.1", "169.254.77.2", "169.254.77.0/30"  # link-local: nobody routes them


@dataclass(frozen=True)
class Line:
    """A network namespace, connected to this machine's own by a pair of interfaces.

    Attributes:
        name: of the namespace, and of the interface here.
    """

    name: str

    @property
    def within(self) -> tuple[str, ...]:
        """The words before a command that is to run at the line's far end."""
        return ("ip", "netns", "exec", self.name)

    def swallow(self) -> None:
        """Send nothing from the far end any more, no acknowledgement either: here, the client is just silent."""
        _ip("-n", self.name, "route", "add", "blackhole", f"{SERVER}/32")

    def pass_on(self) -> None:
        """Send again."""
        _ip("-n", self.name, "route", "delete", "blackhole", f"{SERVER}/32")


@contextmanager
def line() -> Iterator[Line]:
    """A line; the test is skipped where this process may not make one (Linux, root, iproute2)."""
    if not shutil.which("ip") or os.geteuid() != 0:
        pytest.skip("a network namespace needs Linux, root and the program ip")
    made = Line(f"incident{os.getpid() % 100_000}")
    try:
        try:
            _make(made.name)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"a network namespace cannot be made here: {error.stderr.strip()}")
        yield made
    finally:
        for words in (("link", "delete", made.name), ("netns", "delete", made.name)):
            with suppress(subprocess.CalledProcessError):
                _ip(*words)


def _make(name: str) -> None:
    _ip("netns", "add", name)
    _ip("link", "add", name, "type", "veth", "peer", "name", "far", "netns", name)
    _ip("address", "add", f"{SERVER}/30", "dev", name)
    _ip("link", "set", name, "up")
    _ip("-n", name, "address", "add", f"{CLIENT}/30", "dev", "far")
    _ip("-n", name, "link", "set", "far", "up")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
