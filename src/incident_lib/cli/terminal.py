"""Standard output: how wide it is, whether it has colours, and the pager where a text is longer than the screen."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from incident_lib.cli.layout import lay_out, printable, wrap

if TYPE_CHECKING:
    from incident_lib.model import Table


class Verbatim(str):
    """Lines that are printed as they are: commands to type, SQL, paths."""

    __slots__ = ()


class Page:
    """A text for people, built up of paragraphs, tables and lines that are never wrapped; printed as a whole.

    On a terminal it is laid out in its columns. Elsewhere a paragraph is one line, and a table is its headings and
    rows separated by tabs.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._terminal = sys.stdout.isatty()
        self._width = shutil.get_terminal_size().columns
        self._colours = has_colours(sys.stdout)

    def add(self, block: Table | Verbatim | str) -> None:
        """Add a table, lines that are never wrapped, or a paragraph."""
        if isinstance(block, Verbatim):
            self.verbatim(block)
        elif isinstance(block, str):
            self.paragraph(block)
        else:
            self.table(block)

    def paragraph(self, text: str, **style: Any) -> None:
        """Add a text that is wrapped at spaces."""
        for line in printable(text).split("\n"):
            made = wrap(line, self._width) if self._terminal else [line]
            self._lines.extend(self._style(part, **style) for part in made or [""])

    def verbatim(self, text: str) -> None:
        """Add lines that stay as they are: commands to type, SQL, paths."""
        self._lines.extend(printable(text).split("\n"))

    def table(self, table: Table) -> None:
        """Add a table under its title, with an empty line before it."""
        if self._lines:
            self._lines.append("")
        if table.title:
            self.paragraph(table.title, bold=True)
        if self._terminal:
            self._lines.extend(lay_out(table, self._width, self._style))
        else:
            rows = [table.headings, *table.cells]
            self._lines.extend("\t".join(" ".join(printable(cell).split()) for cell in row) for row in rows)

    def _style(self, text: str, **style: Any) -> str:
        return click.style(text, **style) if self._colours and style else text

    def show(self, *, pager: bool) -> None:
        """Print it; through the pager where it is longer than the terminal is high, unless `pager` is false."""
        text = "\n".join((*self._lines, ""))
        if pager and self._terminal and len(self._lines) >= shutil.get_terminal_size().lines:
            os.environ.setdefault("LESS", "FRX")  # as git does: end on one screen, keep colours, leave the text there
            click.echo_via_pager(text, color=self._colours)
        else:
            click.echo(text, nl=False, color=self._colours or None)


def has_colours(stream: Any) -> bool:
    """Whether colours are printed there: NO_COLOR and FORCE_COLOR decide, then TERM, then whether it is a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return bool(stream.isatty()) and os.environ.get("TERM") != "dumb"


def print_file(spooled: BinaryIO) -> None:
    """Print a file that was written before, from its beginning."""
    spooled.seek(0)
    sys.stdout.flush()
    shutil.copyfileobj(spooled, sys.stdout.buffer)
    sys.stdout.buffer.flush()
