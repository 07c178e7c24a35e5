"""What a terminal shows while people wait: nothing on standard output, and nothing where there is no terminal."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

QUIET_SECONDS = 2.0  # what takes no longer needs no line


def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Say on standard error what one waits for, once that takes a while, where that is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    done = threading.Event()
    line = threading.Thread(target=_tell, args=[what, done])
    line.start()
    try:
        yield
    finally:
        done.set()
        line.join()


def _tell(what: str, done: threading.Event) -> None:
    if done.wait(QUIET_SECONDS):
        return
    began = time.monotonic() - QUIET_SECONDS
    with _console().status(what) as status:
        while not done.wait(0.5):
            status.update(f"{what} {time.monotonic() - began:.0f} s")


@contextmanager
def bars() -> Iterator[Callable[[str, float | None, str], None]]:
    """Bars on standard error, one for each name that is told of; none where that is no terminal."""
    if not sys.stderr.isatty():
        yield lambda name, share, note: None  # noqa: ARG005 - nobody looks
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=_console()) as progress:
        tasks: dict[str, object] = {}

        def show(name: str, share: float | None, note: str) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=None, note="")
            progress.update(tasks[name], completed=share or 0, total=None if share is None else 1, note=note)  # type: ignore[arg-type]

        yield show
