"""Local processes as an executor; one that dies or hangs does not affect the others."""

from __future__ import annotations

import atexit
import gc
import multiprocessing
import os
import pickle
import signal
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

_SPAWN = multiprocessing.get_context("spawn")


class LocalProcesses(Executor):
    """Several processes side by side. One that dies fails its own call only, and is replaced.

    In a `ProcessPoolExecutor` every call fails when one process dies, and running processes go on after an interrupt.
    """

    def __init__(self, jobs: int) -> None:
        self._threads = ThreadPoolExecutor(jobs)
        self._workers = [_Worker() for _ in range(jobs)]
        self._free: SimpleQueue[_Worker] = SimpleQueue()
        for worker in self._workers:
            self._free.put(worker)

    def begin(self, count: int, initializer: Callable[[], None]) -> None:
        """Start as many processes as so many calls need, before there is a call; each begins with `initializer`."""
        for worker in self._workers[:count]:
            worker.begin(initializer)

    def submit(self, call: Callable[..., Any], /, *words: Any, **options: Any) -> Future[Any]:
        """Begin a call as soon as a process is free for it; BrokenExecutor if that process dies."""
        return self._threads.submit(self._apart, call, words, options)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes: once their calls have ended or, without `wait`, by an interrupt, now."""
        if not wait:
            for worker in self._workers:
                worker.interrupt()
        self._threads.shutdown(wait=True, cancel_futures=cancel_futures)
        for worker in self._workers:
            worker.close()

    def _apart(self, call: Callable[..., Any], words: tuple[Any, ...], options: dict[str, Any]) -> Any:
        worker = self._free.get()
        try:
            return worker.call(call, words, options)
        finally:
            self._free.put(worker)


class _Worker:
    """One process that handles one call after the other; started with the first, and again where it has died."""

    def __init__(self) -> None:
        self._process: Any = None
        self._line: Connection | None = None
        self._called = False

    def call(self, call: Callable[..., Any], words: tuple[Any, ...], options: dict[str, Any]) -> Any:
        line, self._called = self.begin(), True
        try:
            line.send((call, words, options))
            result, error = line.recv()
        except (EOFError, OSError):
            raise BrokenExecutor(self._death()) from None
        if error is not None:
            raise error
        return result

    def begin(self, initializer: Callable[[], None] | None = None) -> Connection:
        if self._line is None:
            self._line, far = _SPAWN.Pipe()
            self._process = _SPAWN.Process(target=_serve, args=(far, initializer))
            self._process.start()
            far.close()
        return self._line

    def _death(self) -> str:
        """How the process ended, as a sentence."""
        self.close()
        code = self._process.exitcode
        return (
            f"Its process was killed by {signal.Signals(-code).name}." if code < 0 else f"Its process exited ({code})."
        )

    def interrupt(self) -> None:
        if self._process is not None and self._process.is_alive():
            self._process.terminate()

    def close(self) -> None:
        if self._line is not None:
            if not self._called:
                self._process.terminate()  # it may still be at its imports
            self._line.close()
            self._process.join()
            self._line = None


def _serve(line: Connection, initializer: Callable[[], None] | None) -> None:
    """Serve calls until the parent closes the pipe; SIGTERM interrupts the call.

    Ctrl-C reaches every process of a terminal: only the parent reacts to it. What kernels print on standard error
    while they shut down is discarded.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    atexit.register(gc.freeze)  # no collection at the end
    with suppress(EOFError, OSError, KeyboardInterrupt):
        if initializer is not None:
            with suppress(Exception):  # the first call meets the same error, and says it
                initializer()
        while True:
            call, words, options = line.recv()
            line.send_bytes(_pickled(*_answer(call, words, options)))


def _answer(
    call: Callable[..., Any], words: tuple[Any, ...], options: dict[str, Any]
) -> tuple[Any, BaseException | None]:
    try:
        return call(*words, **options), None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent raises it
        return None, error


def _pickled(result: Any, error: BaseException | None) -> bytes:
    """Both for the parent; an error that no pickle holds is replaced by its name."""
    try:
        contents = pickle.dumps((result, error))
        pickle.loads(contents)  # noqa: S301 - what this process has just written
    except Exception:  # noqa: BLE001 - pickling runs the code of the object
        return pickle.dumps((None, RuntimeError(type(error or result).__name__)))
    return contents
