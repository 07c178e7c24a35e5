"""What a notebook displays: headlines, lists, charts with their texts, counts, and sections of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from incident_lib.model import Column, counts_table, hide_ids
from incident_lib.notebook.frames import make_frame, to_frame
from incident_lib.report import (
    Bullets,
    Code,
    Figure,
    Paragraph,
    Part,
    Prose,
    Query,
    Unwritten,
    escape_markdown,
    render_block,
)

if TYPE_CHECKING:
    from incident_lib.model import Table
    from incident_lib.notebook.frames import Frame
    from incident_lib.notebook.snapshot_frames import Snapshot
    from incident_lib.report import Block, Chart, Postmortem


class Shown:
    """Something to display, in every form that a frontend may choose; outside of IPython, its text is printed."""

    def __init__(self, data: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        self._data, self._metadata = data, metadata or {}

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return self._data, self._metadata

    def __repr__(self) -> str:
        return str(self._data["text/plain"])


def headline(line: str) -> None:
    """Display one line, the one to read first; the command that follows it (`Next: …`) is a line of its own."""
    sentence, _, command = line.partition(" Next: ")
    _markdown(f"**{sentence}**" + (f"\n\nNext: `{command}`" if command else ""))


def bullets(lines: list[str]) -> None:
    """Display sentences as a list; nothing where there is none."""
    if lines:
        _markdown("\n".join(f"- {escape_markdown(line)}" for line in lines))


def counts(**snapshots: Snapshot | None) -> Frame:
    """The counts of several snapshots beside each other: `counts(before=before, after=after)`.

    Args:
        snapshots: by the heading of their column; None: not taken.

    Returns:
        Columns: count (str), one for each snapshot (Int64; <NA>: not known, or not taken), meaning (str).
    """
    return to_frame(counts_table(**{name: taken.totals if taken else None for name, taken in snapshots.items()}))


def show(chart: Chart) -> None:
    """Display a chart with its alternative text, and its caption under it."""
    from IPython.display import display

    display(chart)


def show_section(post: Postmortem, name: str = "") -> None:
    """Display one section of a report, block by block: the same content as in its other forms.

    Args:
        post: the report.
        name: of the section; empty: the report's head.

    Raises:
        UsageError: the report has no such section.
    """
    from IPython.display import display

    if not name:
        headline(post.title)
        bullets([f"{fact}: {value}" for fact, value in post.facts] + post.unfinished)
        return
    for block in post.section(name).blocks:
        if isinstance(block, Figure):
            show(block.chart)
        display(Shown({"text/html": hide_ids(render_block(block)), "text/plain": hide_ids(_as_text(block))}))


def _as_text(block: Block) -> str:
    """A block as lines of text, which a diff can compare."""
    match block:
        case Paragraph(text) | Prose(text):
            lines = [text]
        case Bullets(items):
            lines = [f"- {item}" for item in items]
        case Unwritten(hint):
            lines = [f"To be written. {hint}"]
        case Code(title, text) | Query(title, text):
            lines = [title, text]
        case Part(title, blocks):
            lines = [title, *map(_as_text, blocks)]
        case Figure():
            lines = [_cells_as_text(block.table)]
        case _:
            lines = [_cells_as_text(block)]
    return "\n".join(lines)


def _cells_as_text(table: Table) -> str:
    """A table whose cells are as the report has them, already formatted."""
    return repr(make_frame([Column(heading) for heading in table.headings], table.cells))


def _markdown(text: str) -> None:
    from IPython.display import display

    display(Shown({"text/markdown": hide_ids(text), "text/plain": hide_ids(text)}))
