"""What a notebook displays: headlines, lists, charts with their texts, counts, and sections of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from incident_lib.model import counts_table, hide_ids
from incident_lib.notebook.frames import styled
from incident_lib.report import WIDTH, Figure, escape_markdown, render_block

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

    from incident_lib.model import Counts
    from incident_lib.report import Chart, Postmortem


def headline(line: str) -> None:
    """Display one line, the one to read first."""
    _markdown(f"**{line}**")


def bullets(lines: list[str]) -> None:
    """Display sentences as a list."""
    _markdown("\n".join(f"- {escape_markdown(line)}" for line in lines))


def counts(**snapshots: Counts | None) -> Styler:
    """The counts of one snapshot, or of several beside each other, and what each count means."""
    return styled(counts_table(**snapshots))


def show(chart: Chart) -> None:
    """Display a chart with its alternative text, and its caption under it."""
    from IPython.display import Image, display

    picture = Image(chart.png(), width=int(96 * WIDTH), alt=chart.alt)
    display(picture, metadata={"image/png": {"alt": chart.alt}})
    _markdown(f"*{escape_markdown(chart.caption)}*")


def show_section(post: Postmortem, name: str = "") -> None:
    """Display one section of a report, block by block: the same content as in its other forms.

    Args:
        post: the report.
        name: of the section; empty: the report's head.

    Raises:
        UsageError: the report has no such section.
    """
    from IPython.display import HTML, display

    if not name:
        headline(post.title)
        bullets([f"{fact}: {value}" for fact, value in post.facts] + post.unfinished)
        return
    for block in post.section(name).blocks:
        if isinstance(block, Figure):
            show(block.chart)
        display(HTML(hide_ids(render_block(block))))


def _markdown(text: str) -> None:
    from IPython.display import Markdown, display

    display(Markdown(hide_ids(text)))
