"""Kernels as jupyter_client takes them: forked where that can be done, of this interpreter, used in one thread."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel
from jupyter_client.manager import KernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from incident_lib.runs.forked import SERVER
from incident_lib.runs.kernels import KERNEL

# What every notebook imports in its first cells; its names stay out of the notebook's.
PRELOADED = "exec('import incident_lib.notebook.begin, incident_lib.notebook.display, matplotlib.figure', {})"
NO_HISTORY = "--HistoryManager.hist_file=:memory:"


def started(file: Path) -> Manager:
    """A kernel that listens on sockets beside its connection file, in a folder of this user alone.

    A TCP port is chosen before the kernel binds it: in between, another program may take it, and the kernel never
    answers. Where there are no such sockets, TCP is used, encrypted.
    """
    manager = Manager(
        kernel_name=KERNEL,
        kernel_spec_manager=ThisInterpreter(),
        connection_file=str(file),
        transport="ipc" if os.name == "posix" else "tcp",
        transport_encryption="auto",
        client_factory=Client,
    )
    if SERVER.is_usable():
        manager.provisioner = ForkProvisioner(kernel_id="", kernel_spec=manager.kernel_spec, parent=manager)
        manager.start_kernel(extra_arguments=[NO_HISTORY])
    else:
        manager.start_kernel(extra_arguments=[NO_HISTORY, f"--IPKernelApp.exec_lines={PRELOADED}"])
    return manager


class Client(AsyncKernelClient):
    """A client without the thread that listens to a kernel's heartbeat: its manager knows whether the kernel lives."""

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Wait until the kernel answers, and what it publishes arrives here.

        jupyter_client then waits until nothing has been published for 0.2 s; nbclient knows what is another message's.

        Raises:
            RuntimeError: the kernel has died, or does not answer.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            self.kernel_info()
            with suppress(Empty):
                reply = await self.get_shell_msg(timeout=1)
                if reply["msg_type"] == "kernel_info_reply":
                    await self.get_iopub_msg(timeout=0.2)
                    self._handle_kernel_info_reply(reply)
                    return
            if not await self.is_alive():
                raise RuntimeError("Kernel died before replying to kernel_info")
            if until is not None and time.monotonic() > until:
                raise RuntimeError(f"Kernel didn't respond in {timeout:.0f} seconds")

    def start_channels(self, *words: bool, **options: bool) -> None:
        """Open the sockets; see `jupyter_client.KernelClient.start_channels`."""
        super().start_channels(*words, **{**options, "hb": False})


class Manager(KernelManager):
    """A manager that can close its clients' sockets: nbclient leaves those of a given kernel open."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._clients: list[Any] = []

    def client(self, **options: Any) -> Any:
        """A new client of the kernel."""
        self._clients.append(super().client(**options))
        return self._clients[-1]

    def end(self) -> None:
        """Close the sockets, and kill the kernel."""
        for client in self._clients:
            client.stop_channels()
        self.shutdown_kernel(now=True)
        self.cleanup_resources()


class ThisInterpreter(KernelSpecManager):
    """The only kernel that is known: this interpreter's, which has this package.

    A kernel `python3` that somebody installed for this user or this system is another interpreter, and comes first on
    Jupyter's path.
    """

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The command of that kernel; NoSuchKernel for another name."""
        if kernel_name != KERNEL:
            raise NoSuchKernel(kernel_name)
        return KernelSpec(
            name=KERNEL,
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            display_name="Python 3 (ipykernel)",
            language="python",
            metadata={"kernel_provisioner": {"provisioner_name": "local-provisioner", "config": {}}},
        )


class ForkProvisioner(LocalProvisioner):
    """jupyter_client's way of starting a kernel, with a fork in place of a new interpreter."""

    async def launch_kernel(self, cmd: list[str], **options: Any) -> Any:
        """Fork a kernel for a command `python -m ipykernel_launcher …`."""
        arguments = cmd[cmd.index("ipykernel_launcher") + 1 :]
        process: Any = SERVER.fork(arguments, options.get("cwd") or str(Path.cwd()), options["env"])
        self.process = process
        self.pid = self.pgid = process.pid  # it makes itself the leader of its group
        return self.connection_info
