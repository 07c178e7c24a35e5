"""What a report is made of: sections of blocks, which each form of the report shows in its own way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from incident_lib.report.chart import Chart


@dataclass(frozen=True)
class Paragraph:
    """A sentence or a few. Its tone: plain, verdict, note, or failed (numbers that must not be read as a success)."""

    text: str
    tone: str = "plain"


@dataclass(frozen=True)
class Bullets:
    """Sentences, each by itself."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Prose:
    """What people wrote, in Markdown."""

    markdown: str


@dataclass(frozen=True)
class Unwritten:
    """Where people have still to write."""

    hint: str


@dataclass(frozen=True)
class Table:
    """A table; every cell is text as it is to be seen."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()  # the columns that are aligned as numbers
    code: frozenset[int] = frozenset()  # the columns that are code
    title: str = ""


@dataclass(frozen=True)
class Figure:
    """A chart, and the table behind it."""

    name: str  # of its file
    chart: Chart
    table: Table


@dataclass(frozen=True)
class Code:
    """A text in a language of machines, behind a disclosure."""

    title: str
    text: str
    language: str = "sql"


@dataclass(frozen=True)
class Part:
    """Blocks under a heading of their own; folded: behind a disclosure."""

    title: str
    blocks: tuple[Block, ...]
    folded: bool = False


Block = Paragraph | Bullets | Prose | Unwritten | Table | Figure | Code | Part


@dataclass(frozen=True)
class Section:
    """One section of a report."""

    name: str  # of its anchor, and in `incident_lib.present`
    title: str
    blocks: tuple[Block, ...]


def table(columns: str, rows: list[tuple[object, ...]], *, numbers: str = "", code: str = "", title: str = "") -> Table:
    """A table; columns are named in one text, apart by `|`; so are those of numbers, and those of code."""
    names = tuple(columns.split("|"))

    def places(named: str) -> frozenset[int]:
        return frozenset(names.index(name) for name in named.split("|") if name)

    return Table(names, tuple(tuple(map(str, row)) for row in rows), places(numbers), places(code), title)
