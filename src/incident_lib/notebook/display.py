"""What a notebook shows: charts with their texts, sentences, and the sections of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from incident_lib.model import hide_ids
from incident_lib.notebook import frames
from incident_lib.report import WIDTH, document, render

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

    from incident_lib.model import Counts
    from incident_lib.report import Block, Chart, Postmortem, Table


def show(chart: Chart) -> None:
    """Display a chart with its text in place of the picture, and its caption under it."""
    from IPython.display import Image, Markdown, display

    picture = Image(chart.png(), width=int(96 * WIDTH), alt=chart.alt)
    display(picture, metadata={"image/png": {"alt": chart.alt}})
    display(Markdown(f"*{chart.caption}*"))


def say(line: str) -> None:
    """Display one line, the one to read first."""
    from IPython.display import Markdown, display

    display(Markdown(f"**{line}**"))


def counts(**looks: Counts | None) -> Styler:
    """The counts of one look or of several beside each other, and what each means."""
    return frames.styled(frames.counts(**looks))


def tell(lines: list[str]) -> None:
    """Display sentences as a list."""
    from IPython.display import Markdown, display

    display(Markdown(hide_ids("\n".join(f"- {render.escape_markdown(line)}" for line in lines))))


def present(post: Postmortem, name: str = "") -> None:
    """Display one section of a report, block by block: the same content as its other forms have.

    Args:
        post: the report.
        name: of the section; empty: the report's head.

    Raises:
        UsageError: the report has no such section.
    """
    if not name:
        say(post.title)
        tell([f"{fact}: {value}" for fact, value in post.facts] + post.unfinished)
        return
    for block in post.section(name).blocks:
        _present(block)


def _present(block: Block) -> None:
    if isinstance(block, document.Figure):
        show(block.chart)
        _html(f"<details><summary>The table behind it</summary>{_table(block.table)}</details>")
    elif isinstance(block, document.Table):
        _html(_table(block))
    elif isinstance(block, document.Part):
        _markdown(f"**{render.escape_markdown(block.title)}**")
        for inner in block.blocks:
            _present(inner)
    else:
        _markdown(_text(block))


def _text(block: Any) -> str:
    """What is neither a table nor a chart, in Markdown."""
    if isinstance(block, document.Bullets):
        return "\n".join(f"- {render.escape_markdown(item)}" for item in block.items)
    if isinstance(block, document.Prose):
        return render.safe_markdown(block.markdown)
    if isinstance(block, document.Unwritten):
        return f"*To be written.* {render.escape_markdown(block.hint)}"
    if isinstance(block, document.Code):
        return f"{render.escape_markdown(block.title)}\n\n```{block.language}\n{block.text}```"
    return str(render.escape_markdown(block.text))


def _table(table: Table) -> str:
    frame = frames.frame(table.rows, dict.fromkeys(table.columns, "str"))
    return str(frames.styled(frame).to_html())


def _html(text: str) -> None:
    from IPython.display import HTML, display

    display(HTML(hide_ids(text)))


def _markdown(text: str) -> None:
    from IPython.display import Markdown, display

    display(Markdown(hide_ids(text)))
