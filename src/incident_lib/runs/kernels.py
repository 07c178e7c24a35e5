"""Kernels started ahead: while one notebook runs, the kernel of the next one starts on another core.

All sockets of a run belong to the thread that runs it: ZeroMQ's are not safe in two threads.
"""

from __future__ import annotations

import gc
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Self

from incident_lib.runs.forked import SERVER

if TYPE_CHECKING:
    from types import TracebackType

    from incident_lib.runs.managers import Manager

KERNEL = "python3"  # its name in the notebooks
ENGINE = "incident"  # papermill's name of the engine that runs them


def prepare_worker() -> None:
    """Start what kernels are forked from and, while it imports, import what executes notebooks."""
    SERVER.begin()
    gc.disable()  # imports leave no garbage
    from incident_lib.runs import managers, runner  # noqa: F401 - imported for later

    runner.load_papermill()
    gc.freeze()
    gc.enable()


class Kernels:
    """As many kernels as there are notebooks, taken one after the other; the block's end shuts the rest down."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._folder = TemporaryDirectory(prefix="incident-", ignore_cleanup_errors=True)
        self._ahead: Manager | None = None  # of a kernel that was started, but not taken
        self._taken: Manager | None = None

    def __enter__(self) -> Self:
        SERVER.begin()  # it imports while this process imports jupyter_client and papermill
        return self

    def take(self) -> Manager:
        """The manager of the next kernel, as nbclient takes it; the kernel taken before is shut down.

        Raises:
            ValueError: all of them have been taken.
            RuntimeError, OSError: it cannot be started.
        """
        self._end()
        if not self._left:
            raise ValueError("All of these kernels have been taken.")
        self._taken, self._ahead = self._ahead or self._start(), None
        self._left -= 1
        if self._left:
            with suppress(RuntimeError, OSError):  # it is started again when it is taken, and the error told then
                self._ahead = self._start()
        return self._taken

    def _start(self) -> Manager:
        from incident_lib.runs.managers import started

        return started(Path(self._folder.name) / f"{self._left}.json")

    def _end(self) -> None:
        if self._taken:
            self._taken.end()
            self._taken = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        if self._ahead:
            self._ahead.end()
        self._folder.cleanup()
