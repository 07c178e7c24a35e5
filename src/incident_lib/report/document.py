"""The blocks that the sections of a report are made of; each form of the report renders them in its own way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from incident_lib.model import Table

if TYPE_CHECKING:
    from incident_lib.report.chart import Chart


@dataclass(frozen=True)
class Paragraph:
    """A sentence or a few. Its tone: plain, note, or failed (the numbers are not those of a successful run)."""

    text: str
    tone: str = "plain"


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Prose:
    """Text that people wrote, in Markdown."""

    markdown: str


@dataclass(frozen=True)
class Unwritten:
    """A place where people still have to write something."""

    hint: str


@dataclass(frozen=True)
class Figure:
    """A chart, and the table of its numbers."""

    name: str  # of its file
    chart: Chart
    table: Table


@dataclass(frozen=True)
class Code:
    """A folded text in SQL or another language."""

    title: str
    text: str
    language: str = "sql"


@dataclass(frozen=True)
class Query:
    """One of the project's queries, by its name; a form that is read as a page shows its text, folded."""

    name: str
    text: str


@dataclass(frozen=True)
class Part:
    """Blocks under a heading of their own, which may be folded."""

    title: str
    blocks: tuple[Block, ...]
    folded: bool = False


Block = Paragraph | Bullets | Prose | Unwritten | Table | Figure | Code | Query | Part


@dataclass(frozen=True)
class Card:
    """One of the numbers that a reader looks for first: its label, the number, and what it is made of."""

    label: str
    number: str
    detail: str


class Head(Protocol):
    """The numbers of the first screen."""

    @property
    def cards(self) -> tuple[Card, ...]:
        """Each number."""

    @property
    def table(self) -> Table:
        """The same as a table, for forms without cards."""


class Report(Protocol):
    """What every form of a report is rendered from."""

    @property
    def kind(self) -> str:
        """What it is, in a word or two."""

    @property
    def title(self) -> str:
        """Its finding."""

    @property
    def head(self) -> Head:
        """The numbers of the first screen."""

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Names and values."""

    @property
    def unfinished(self) -> list[str]:
        """What people have still to write."""

    @property
    def sections(self) -> tuple[Section, ...]:
        """Every section, in the order in which it is read; the first one is on the first screen."""


@dataclass(frozen=True)
class Section:
    """One section of a report."""

    name: str  # of its anchor, and in `il.show_section`
    title: str
    blocks: tuple[Block, ...]
