"""Kernels started ahead: while one notebook runs, the kernel of the next one starts on another core.

A kernel is forked from a process that has imported everything, where that can be done, and else is a new interpreter.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

from incident_lib.runs.forked import SERVER

if TYPE_CHECKING:
    from types import TracebackType

# What every notebook imports in its first cells; its names stay out of the notebook's.
PRELOADED = "exec('import incident_lib.notebook.begin, incident_lib.notebook.display, matplotlib.figure', {})"
KERNEL = "python3"  # its name in the notebooks
ENGINE = "incident"  # papermill's name of the engine that runs them
NO_HISTORY = "--HistoryManager.hist_file=:memory:"


class Kernels:
    """As many kernels as there are notebooks, taken one after the other; the block's end shuts the rest down."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._folder = TemporaryDirectory(prefix="incident-", ignore_cleanup_errors=True)
        self._thread = ThreadPoolExecutor(1)
        self._ahead: Future[Any] | None = None
        self._taken: Any = None
        self._context: Any = None

    def __enter__(self) -> Self:
        SERVER.begin()  # it imports while this process imports jupyter_client and papermill
        from zmq import Context

        self._context = Context()  # jupyter_client would destroy its own in another thread, and crash now and then
        self._begin()
        return self

    def _begin(self) -> None:
        self._left -= 1
        file = Path(self._folder.name) / f"{self._left}.json"
        self._ahead = self._thread.submit(_started, file, self._context) if self._left >= 0 else None

    def take(self) -> Any:
        """The manager of the next kernel, as nbclient takes it; the kernel taken before is shut down."""
        self._end()
        if self._ahead is None:
            raise ValueError("All of these kernels have been taken.")
        self._taken = self._ahead.result()
        self._begin()
        return self._taken

    def _end(self) -> None:
        """Shut down the kernel taken before. The thread that opened its sockets closes them, as ZeroMQ demands."""
        if self._taken is not None:
            self._taken.disconnect()
            self._thread.submit(_ended, self._taken)
            self._taken = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        if self._ahead is not None and not self._ahead.cancel():
            self._thread.submit(_ended, self._ahead.result())
        self._thread.shutdown()
        self._context.destroy(linger=0)
        self._folder.cleanup()


def _started(file: Path, context: Any) -> Any:
    """A kernel that listens on sockets beside its connection file, in a folder of this user alone.

    A TCP port is chosen before the kernel binds it: in between, another program may take it, and the kernel never
    answers. Where there are no such sockets, TCP is used, encrypted.
    """
    manager = _manager_class()(
        kernel_name=KERNEL,
        context=context,
        kernel_spec_manager=_this_interpreter(),
        connection_file=str(file),
        transport="ipc" if os.name == "posix" else "tcp",
        transport_encryption="auto",
        client_class="jupyter_client.asynchronous.AsyncKernelClient",
    )
    if _is_forked(manager):
        manager.start_kernel(extra_arguments=[NO_HISTORY])
    else:
        manager.start_kernel(extra_arguments=[NO_HISTORY, f"--IPKernelApp.exec_lines={PRELOADED}"])
    return manager


def _is_forked(manager: Any) -> bool:
    """Have a manager's kernel forked, where that can be done; whether it is."""
    from incident_lib.runs.provisioner import ForkProvisioner

    if not SERVER.is_usable():
        return False
    manager.provisioner = ForkProvisioner(kernel_id="", kernel_spec=manager.kernel_spec, parent=manager)
    return True


def _manager_class() -> Any:
    """A manager that can close its clients' sockets: nbclient leaves those of a given kernel open."""
    from jupyter_client.manager import KernelManager

    class Manager(KernelManager):
        def client(self, **options: Any) -> Any:
            self.clients = [*getattr(self, "clients", []), super().client(**options)]
            return self.clients[-1]

        def disconnect(self) -> None:
            for client in getattr(self, "clients", []):
                client.stop_channels()

    return Manager


def _this_interpreter() -> Any:
    """The only kernel that is known: this interpreter's, which has this package.

    A kernel `python3` that somebody installed for this user or this system is another interpreter, and comes first on
    Jupyter's path.
    """
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel

    class ThisInterpreter(KernelSpecManager):
        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            if kernel_name != KERNEL:
                raise NoSuchKernel(kernel_name)
            return KernelSpec(
                name=KERNEL,
                argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
                display_name="Python 3 (ipykernel)",
                language="python",
                metadata={"kernel_provisioner": {"provisioner_name": "local-provisioner", "config": {}}},
            )

    return ThisInterpreter()


def _ended(manager: Any) -> None:
    manager.shutdown_kernel(now=True)
    manager.cleanup_resources()
