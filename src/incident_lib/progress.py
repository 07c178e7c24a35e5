"""Progress: bars on a terminal's standard error, lines where that is no terminal, or under a notebook's cell.

It is shown nowhere where INCIDENT_PROGRESS is `off`: for outputs that are to be the same each time.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from contextlib import contextmanager, nullcontext, suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

QUIET_SECONDS = 2.0  # what takes no longer needs no line
TICK_SECONDS = 0.5
BAR_WIDTH = 12  # columns, of as few as 60
LINE_SECONDS = 30.0  # without a terminal: a line that often, where no phase changes


def shell() -> Any:
    """The IPython shell that runs us; None outside of one."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def _place() -> str:
    """Where progress is shown: `cell`, `terminal`, `log` where that is none, or the empty string for nowhere."""
    if os.environ.get("INCIDENT_PROGRESS") == "off":
        return ""
    return "cell" if hasattr(shell(), "kernel") else "terminal" if sys.stderr.isatty() else "log"


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
    from html import escape

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
    """Bars on standard error, one for each name; where that is no terminal, a line for each phase and every 30 s."""
    if _place() != "terminal":
        with _lines() if _place() == "log" else nullcontext(_nothing) as show:
            yield show
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Column

    columns = (
        TextColumn("{task.description}"),
        BarColumn(BAR_WIDTH),
        TextColumn("{task.fields[note]}", table_column=Column(overflow="fold")),  # a narrow terminal wraps it
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=_console(), transient=True) as progress:
        tasks: dict[str, object] = {}

        def show(name: str, share: float | None, note: str) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=None, note="")
            progress.update(tasks[name], completed=share or 0, total=None if share is None else 1, note=note)  # type: ignore[arg-type]

        yield show


@contextmanager
def _lines() -> Iterator[Callable[[str, float | None, str], None]]:
    """Plain lines on standard error, for work that takes longer than two seconds."""
    lines, done = _Lines(), threading.Event()

    def tick() -> None:
        while not done.wait(TICK_SECONDS):
            lines.tick()

    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    try:
        yield lines.show
    finally:
        done.set()
        ticker.join()


class _Lines:
    """Which lines are printed: one for each change of a phase, and one every 30 s where none changes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._quiet_until = time.monotonic() + QUIET_SECONDS
        self._latest: dict[str, tuple[str, str]] = {}  # phase and line of each name, the latest name last
        self._shown: dict[str, str] = {}  # the phase of each name that was printed last
        self._printed: dict[str, float] = {}  # when each phase was printed
        self._last = 0.0

    def show(self, name: str, share: float | None, note: str) -> None:
        """Take the state of a name, and print it if its phase has changed."""
        line = f"{name}: {note}"
        percent = "" if share is None or share >= 1 else f", {share * 100:.0f} %"
        with self._lock:
            self._latest.pop(name, None)
            self._latest[name] = _phase(line), line + percent
            self._print_changed()

    def tick(self) -> None:
        """Print what has become due."""
        with self._lock:
            self._print_changed()
            if self._last and time.monotonic() - self._last >= LINE_SECONDS:
                self._print([*self._latest][-1])

    def _print_changed(self) -> None:
        now = time.monotonic()
        if now < self._quiet_until:
            return
        for name, (phase, _) in [*self._latest.items()]:
            # a phase that was printed within 30 s is not printed again: two phases by turns are few lines
            if phase != self._shown.get(name) and now - self._printed.get(phase, now - LINE_SECONDS) >= LINE_SECONDS:
                self._print(name)

    def _print(self, name: str) -> None:
        phase, line = self._latest[name]
        self._last = self._printed[phase] = time.monotonic()
        self._shown[name] = phase
        with suppress(OSError, ValueError):  # standard error is closed
            print("".join(c if c.isprintable() else "?" for c in line), file=sys.stderr, flush=True)  # noqa: T201


def _phase(line: str) -> str:
    """A line without the numbers that change all the time; the pids of sessions stay."""
    return re.sub(r"(?<!pid )(?<![\d,.])\d[\d,.]*", "", line)


def cell_bars() -> Callable[[str, float | None, str], None]:
    """Bars under a notebook's cell, one for each name, once it has taken a while."""
    if _place() != "cell":
        return _nothing
    shown: dict[str, Any] = {}
    begun: dict[str, float] = {}

    def show(name: str, share: float | None, note: str) -> None:
        from html import escape

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
