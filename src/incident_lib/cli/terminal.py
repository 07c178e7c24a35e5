"""What the terminal prints: tables for people, CSV and JSON for programs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from incident_lib import paths
from incident_lib.model import Status, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from incident_lib.model import Table

WIDE = 2000  # columns where the output is no terminal: nothing is cut or wrapped there
_STYLES: dict[str, str] = {
    Status.PASS: "green",
    Status.INFO: "cyan",
    Status.WARN: "yellow",
    Status.FAIL: "bold red",
    Verdict.HOLDS: "green",
    Verdict.ONLY_HERE: "yellow",
    Verdict.NO: "bold red",
}


def console() -> Console:
    """Standard output; as wide as anything where it is no terminal."""
    from rich.console import Console

    made = Console(highlight=False, markup=False)
    if not made.is_terminal:
        made.width = WIDE
    return made


def print_line(text: str, style: str = "") -> None:
    """Print a line of text that cannot control the terminal."""
    console().print(printable(text), style=style or None)


def print_table(table: Table, *, columns: Iterable[str] = ()) -> None:
    """Print a table under its title; numbers are aligned to the right.

    Args:
        table: what to print.
        columns: the names of the columns to print; all of them if empty.
    """
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    wanted = set(columns) or {column.name for column in table.columns}
    places = [place for place, column in enumerate(table.columns) if column.name in wanted]
    made = RichTable(
        title=table.title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for place in places:
        made.add_column(table.headings[place], justify="right" if table.columns[place].is_number else "left")
    for row in table.cells:
        made.add_row(
            *(Text(printable(row[place]), style=_STYLES.get(row[place], ""), overflow="fold") for place in places)
        )
    console().print(made)


def printable(text: object) -> str:
    """Text that cannot control a terminal: control characters are shown as escapes."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in str(text))


def print_csv(spooled: BinaryIO) -> None:
    """Print a CSV file that was written before, from its beginning."""
    spooled.seek(0)
    sys.stdout.flush()
    shutil.copyfileobj(spooled, sys.stdout.buffer)
    sys.stdout.buffer.flush()


def write_files(folder: str, files: Iterable[tuple[str, str]]) -> None:
    """Write text files into a folder, and print their paths.

    Raises:
        Failed: the folder cannot be written.
    """
    for name, text in files:
        file = Path(folder) / name
        paths.replace_text(file, text)
        print_line(str(file))
