"""Progress: on a terminal's standard error, under a notebook's cell, or nowhere.

Nowhere, too, where INCIDENT_PROGRESS is `off`: for outputs that are to be the same each time.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import contextmanager
from contextvars import copy_context
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

QUIET_SECONDS = 2.0  # what takes no longer needs no line
TICK_SECONDS = 0.5


def shell() -> Any:
    """The IPython shell that runs us; None outside of one."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def _place() -> str:
    """Where progress is shown: `cell`, `terminal`, or the empty string for nowhere."""
    if os.environ.get("INCIDENT_PROGRESS") == "off":
        return ""
    return "cell" if hasattr(shell(), "kernel") else "terminal" if sys.stderr.isatty() else ""


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Say what one waits for, and for how long already, once that takes a while."""
    line = {"cell": _cell_line, "terminal": _terminal_line}.get(_place())
    if line is None:
        yield
        return
    done = threading.Event()
    teller = threading.Thread(target=copy_context().run, args=[_tell, line, what, done])
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


def _tell(line: Callable[[], Any], what: str, done: threading.Event) -> None:
    if done.wait(QUIET_SECONDS):
        return
    began = time.monotonic() - QUIET_SECONDS
    with line() as show:
        while True:
            show(f"{what} {time.monotonic() - began:.0f} s")
            if done.wait(TICK_SECONDS):
                return


@contextmanager
def _terminal_line() -> Iterator[Callable[[str], None]]:
    with _console().status("") as status:
        yield status.update


@contextmanager
def _cell_line() -> Iterator[Callable[[str], None]]:
    """A line of the cell's output, which stays: how long a cell waited is worth knowing later, too."""
    from IPython.display import HTML, display

    line = display(HTML(""), display_id=True)
    yield lambda text: line.update(HTML(escape(text)))


def _nothing(name: str, share: float | None, note: str) -> None:
    """Progress is shown nowhere."""


def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False)


@contextmanager
def bars() -> Iterator[Callable[[str, float | None, str], None]]:
    """Bars on standard error, one for each name; none where that is no terminal."""
    if _place() != "terminal":
        yield _nothing
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


def cell_bars() -> Callable[[str, float | None, str], None]:
    """Bars under a notebook's cell, one for each name, once it has taken a while."""
    if _place() != "cell":
        return _nothing
    shown: dict[str, Any] = {}
    begun: dict[str, float] = {}

    def show(name: str, share: float | None, note: str) -> None:
        from IPython.display import HTML, display

        if time.monotonic() - begun.setdefault(name, time.monotonic()) < QUIET_SECONDS:
            return
        value = "" if share is None else f' value="{share:.3f}"'
        bar = HTML(f"<progress{value}></progress> {escape(f'{name}: {note}')}")
        if name in shown:
            shown[name].update(bar)
        else:
            shown[name] = display(bar, display_id=True)

    return show
