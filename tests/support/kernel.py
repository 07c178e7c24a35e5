"""A real IPython kernel, as a notebook talks to it."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psutil
from jupyter_client.blocking.client import BlockingKernelClient

from incident_lib.runs.forked import FORK_SERVER
from incident_lib.runs.kernels import Kernels

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Ran:
    """What one cell gave."""

    bundles: list[dict[str, str]] = field(default_factory=list)
    printed: str = ""
    error: str = ""

    @property
    def text(self) -> str:
        """The text of the last thing that it displayed."""
        return self.bundles[-1]["text/plain"]


class Kernel:
    """A kernel and its client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def run(self, code: str) -> Ran:
        """Run a cell, which is in the history as a notebook's cells are."""
        ran = Ran()

        def take(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] in {"execute_result", "display_data"}:
                ran.bundles.append(content["data"])
            elif message["msg_type"] == "stream":
                ran.printed += content["text"]
            elif message["msg_type"] == "error":
                ran.error = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(content["traceback"]))

        self._client.execute_interactive(code, output_hook=take, timeout=120)
        return ran

    def complete(self, code: str) -> list[str]:
        """What Tab offers at the end of a text, without what is in front of the last dot."""
        matches = self._reply(self._client.complete(code))["matches"]
        return [match.rpartition(".")[2] for match in matches]

    def help(self, code: str) -> str:
        """What Shift-Tab shows for a name."""
        found = self._reply(self._client.inspect(code, detail_level=0))["data"]
        return re.sub(r"\x1b\[[0-9;]*m", "", found.get("text/plain", ""))

    def _reply(self, asked: str) -> dict[str, Any]:
        while True:
            reply = self._client.get_shell_msg(timeout=60)
            if reply["parent_header"].get("msg_id") == asked:
                content: dict[str, Any] = reply["content"]
                return content


@contextmanager
def started() -> Iterator[Kernel]:
    """A kernel with the variables of this process; shut down at the end."""
    with Kernels(1) as kernels:
        manager = kernels.take()
        manager.client_factory = BlockingKernelClient
        client = manager.client()
        client.start_channels()
        client.wait_for_ready(timeout=60)
        try:
            yield Kernel(client)
        finally:
            client.stop_channels()


def kernels_of(process: psutil.Process) -> list[psutil.Process]:
    """The kernels among the descendants of a process: interpreters, and processes that its fork server forked."""
    return [one for one in process.children(recursive=True) if is_kernel(one)]


def is_kernel(process: psutil.Process) -> bool:
    """Whether a process is a kernel: an interpreter of its own, or the fork of a fork server."""
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if "ipykernel_launcher" in process.cmdline():
            return True
        return is_fork_server(process) and is_fork_server(process.parent())
    except psutil.NoSuchProcess:
        return False


def is_fork_server(process: psutil.Process | None) -> bool:
    """Whether a process is a fork server, or one of its kernels."""
    return process is not None and FORK_SERVER in process.cmdline()
