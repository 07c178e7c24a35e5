"""How a table is laid out in so many columns of a terminal: rows where they fit, else a paragraph for each row.

No word is broken, an id or a command least of all. Long texts are wrapped at spaces, under the short columns of their
row.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from incident_lib.model import Column, Table

GAP = "  "
SHORT = 28  # columns: where rows do not fit, longer texts than these are below the others
NARROWEST = 30  # columns of a text beside others
INDENT = "    "
NOTHING = "–"
COLOURS: dict[str, dict[str, object]] = {  # by model.Status, and by model.Verdict
    "pass": {"fg": "green"},
    "info": {"fg": "cyan"},
    "warn": {"fg": "yellow"},
    "fail": {"fg": "red", "bold": True},
    "holds": {"fg": "green"},
    "holds only with this project's method": {"fg": "yellow"},
    "does not hold": {"fg": "red", "bold": True},
}


@dataclass(frozen=True)
class _Cells:
    """One column as it is printed."""

    column: Column
    heading: str
    texts: tuple[str, ...]

    @property
    def width(self) -> int:
        return max(map(columns_of, (self.heading, *self.texts)))

    @property
    def is_empty(self) -> bool:
        """Whether no row has a value: such a column is not printed."""
        return all(text in {"", NOTHING} for text in self.texts)


def lay_out(table: Table, width: int, style: Callable[..., str]) -> Iterator[str]:
    """The lines of a table, without its title.

    Args:
        table: what to print.
        width: of the terminal, in columns.
        style: takes a text and the keywords of `click.style`, and returns it with them or without.
    """
    rows = [tuple(map(printable, row)) for row in table.cells]
    every = [
        _Cells(column, heading, tuple(row[place] if row[place] != NOTHING or column.is_number else "" for row in rows))
        for place, (column, heading) in enumerate(zip(table.columns, table.headings, strict=True))
    ]
    cells = [each for each in every if not each.is_empty]
    lines = any("\n" in text for each in cells for text in each.texts)
    if not lines and _total(cells) <= width:
        return _aligned(cells, width, style)
    by_width = sorted(cells, key=lambda each: (each is not cells[0], each.column.code, each.width))
    long = [by_width.pop()]
    if not long[0].column.code and width - _total(by_width) - len(GAP) >= NARROWEST:
        return _aligned([each for each in cells if each not in long] + long, width, style)
    while by_width and (_total(by_width) > width or (by_width[-1] is not cells[0] and by_width[-1].width > SHORT)):
        long.append(by_width.pop())
    beside = [each for each in cells if each in by_width]
    return _stacked(beside, [each for each in cells if each in long], width, style)


def _total(cells: Sequence[_Cells]) -> int:
    return sum(each.width for each in cells) + len(GAP) * (len(cells) - 1)


def _aligned(cells: Sequence[_Cells], width: int, style: Callable[..., str]) -> Iterator[str]:
    """One line for each row; the last column is wrapped in what the others leave."""
    *fixed, last = cells
    left = sum(each.width + len(GAP) for each in fixed)
    yield style(_line(cells, [each.heading for each in cells]), dim=True)
    for place in range(len(last.texts)):
        texts = [each.texts[place] for each in cells]
        if last.column.is_number:
            yield _line(cells, texts, style)
            continue
        first, *rest = wrap(texts[-1], width - left) or [""]
        yield _line(cells, [*texts[:-1], first], style)
        yield from (" " * left + line for line in rest)


def _stacked(beside: Sequence[_Cells], long: Sequence[_Cells], width: int, style: Callable[..., str]) -> Iterator[str]:
    """The short columns of a row on one line, and under it each long one; code is not wrapped beyond its words.

    The first text below a row needs no label; numbers and times do, where their column has a heading.
    """
    if len(beside) > 1:
        yield style(_line(beside, [each.heading for each in beside]), dim=True)
    for place in range(len((*beside, *long)[0].texts)):
        if place:
            yield ""
        if beside:
            yield _line(beside, [each.texts[place] for each in beside], partial(style, bold=True))
        for each in long:
            if not each.texts[place]:
                continue
            is_clear = (each is long[0] and each.column.dtype == "str") or not each.heading.strip()
            label = "" if is_clear else f"{each.heading}: "
            for paragraph in f"{label}{each.texts[place]}".split("\n"):
                yield from (INDENT + line for line in wrap(paragraph, width - len(INDENT), hang="  "))


def _line(cells: Sequence[_Cells], texts: Sequence[str], style: Callable[..., str] | None = None) -> str:
    parts = []
    for each, text in zip(cells, texts, strict=True):
        pad = " " * (each.width - columns_of(text))
        shown = style(text, **COLOURS.get(text, {})) if style else text
        parts.append(pad + shown if each.column.is_number else shown + pad)
    return GAP.join(parts).rstrip()


def wrap(text: str, width: int, hang: str = "") -> list[str]:
    """A text in lines of so many columns, broken at spaces only; not in what is between quotes or backticks."""
    kept = _QUOTED.sub(lambda found: found[0].replace(" ", _KEPT), text)
    lines = textwrap.wrap(kept, max(width, 10), subsequent_indent=hang, break_long_words=False, break_on_hyphens=False)
    return [line.replace(_KEPT, " ") for line in lines]


_QUOTED = re.compile(r"`[^`]*`|(?<!\w)'[^']*'|\"[^\"]*\"")
_KEPT = "\N{NO-BREAK SPACE}"


def columns_of(text: str) -> int:
    """How many columns of a terminal a text takes: some letters take two, some none."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def printable(text: object) -> str:
    """Text that cannot control a terminal: control characters are shown as escapes."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in str(text))
