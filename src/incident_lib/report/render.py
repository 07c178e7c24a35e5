"""The forms of a report: one HTML file, Markdown with its charts beside it, PDF. All of the same blocks."""

from __future__ import annotations

import base64
import re
from html import escape
from typing import TYPE_CHECKING, Any

from incident_lib import paths
from incident_lib.model import UsageError, hide_ids
from incident_lib.report.document import Figure, Part
from incident_lib.report.notes import CODE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from incident_lib.report.chart import Chart
    from incident_lib.report.document import Block
    from incident_lib.report.postmortem import Postmortem


def render_html(post: Postmortem, *, themed: bool = True) -> str:
    """One HTML file that asks nobody for anything: charts and styles are in it.

    Args:
        post: the report.
        themed: whether the charts follow their reader's light or dark scheme.
    """
    template = _templates(autoescape=True).get_template("report.html.j2")
    return hide_ids(template.render(post=post, picture=lambda chart: _inline(chart, themed=themed)))


def render_markdown(post: Postmortem, pictures: str) -> str:
    """Markdown, for a pull request or a wiki; `pictures` is the folder of its charts beside it."""
    template = _templates(autoescape=False).get_template("report.md.j2")
    return hide_ids(template.render(post=post, pictures=pictures))


def write_report(post: Postmortem, out: Path, *, pdf: bool) -> list[Path]:
    """Write each form; see `Postmortem.write`."""
    beside, pictures = out.with_suffix(".md"), out.with_suffix("")
    printed = _pdf(post) if pdf else None
    with paths.writable(out.parent):
        pictures.mkdir(parents=True, exist_ok=True)
        for figure in figures(block for section in post.sections for block in section.blocks):
            (pictures / f"{figure.name}.svg").write_text(figure.chart.svg(), "utf-8")
        out.write_text(render_html(post), "utf-8")
        beside.write_text(render_markdown(post, pictures.name), "utf-8")
        if printed:
            out.with_suffix(".pdf").write_bytes(printed)
    return [out, beside, pictures, *([out.with_suffix(".pdf")] if printed else [])]


def figures(blocks: Iterable[Block]) -> Iterator[Figure]:
    """Every figure among blocks, and within them."""
    for block in blocks:
        if isinstance(block, Figure):
            yield block
        elif isinstance(block, Part):
            yield from figures(block.blocks)


def _pdf(post: Postmortem) -> bytes:
    try:
        from weasyprint import HTML  # its libraries of the system may be missing, too
    except (ImportError, OSError):
        raise UsageError(
            "A PDF needs the extra `pdf`.",
            "WeasyPrint, or the library Pango that it draws with, is not installed.",
            "pip install -e '.[pdf]', and Pango from your system's packages; or print the HTML from a browser.",
        ) from None
    return bytes(HTML(string=render_html(post, themed=False)).write_pdf(pdf_variant="pdf/ua-1"))


def _inline(chart: Chart, *, themed: bool) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(chart.svg(themed=themed).encode()).decode()


def _templates(*, autoescape: bool) -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("incident_lib.report"),
        autoescape=autoescape,  # noqa: S701 - Markdown escapes its own way, cell by cell
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "literal": escape_markdown,
        "in_code": code_cell,
        "prose": render_prose,
        "safe_markdown": safe_markdown,
    }
    made.tests["shown_folded"] = lambda table: len(table.rows) > MOST_ROWS
    made.tests["with_long_words"] = lambda text: any(len(word) > LONG for word in text.split())
    made.globals["kind"] = lambda block: type(block).__name__
    return made


LONG = 24  # characters of a word that may be broken, so that its column stays narrow
MOST_ROWS = 12  # of a table behind a chart, before it is folded
# `<` as an entity: a backslash before it would be taken for the end of an address that stands before both.
_MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"} | {c: f"\\{c}" for c in "\\`*_{}[]#|~$"})
_BLOCK = re.compile(r"^(\d*)([-+=.)])(?=[-=]*$|\s)")  # what a list, a rule or a heading's underline begins with


def escape_markdown(text: object) -> str:
    """Text in Markdown whose markup is taken literally, on one line: also as a table's cell."""
    return _BLOCK.sub(r"\1\\\2", " ".join(str(text).split()).translate(_MARKUP))


def code_cell(text: object) -> str:
    """Text in Markdown as code, as a table's cell."""
    line = " ".join(str(text).split())
    return f"<code>{escape_markdown(line)}</code>" if set("\\`") & set(line) else f"`{line}`".replace("|", "\\|")


def render_prose(markdown: str) -> str:
    """What people wrote, as HTML: markup of Markdown alone; pictures, which would be fetched, as their text."""
    import mistune

    class Renderer(mistune.HTMLRenderer):
        def image(self, text: str, url: str, title: str | None = None) -> str:  # noqa: ARG002 - the renderer's interface
            return mistune.escape(text)

        def heading(self, text: str, level: int, **_: Any) -> str:
            return super().heading(text, max(3, level))

        def link(self, text: str, url: str, title: str | None = None) -> str:
            return text if self.safe_url(url).startswith("#harmful") else super().link(text, url, title)

        def table(self, text: str) -> str:
            return f'<div class="wide" tabindex="0" role="region" aria-label="Table"><table>{text}</table></div>'

    render = mistune.create_markdown(
        escape=True, renderer=Renderer(escape=True), plugins=["table", "strikethrough", "url"]
    )
    return str(render(markdown))


_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_PICTURE = re.compile(r"!+(?=\[)")


def safe_markdown(markdown: str) -> str:
    """What people wrote, as Markdown without HTML and without pictures; code says what it said."""
    parts, end = list[str](), 0
    for found in CODE.finditer(markdown):
        parts += [_plain(markdown[end : found.start()]), _code(found[0])]
        end = found.end()
    return "".join([*parts, _plain(markdown[end:])])


def _plain(text: str) -> str:
    return _PICTURE.sub("", _TAG.sub("&lt;", text))


def _code(text: str) -> str:
    """Code as it is; what would be HTML or a picture to a reader that sees no code in it, as HTML that shows it."""
    if not (_TAG.search(text) or _PICTURE.search(text)):
        return text
    if "\n" not in text:
        return f"<code>{escape_markdown(text.strip('`'))}</code>"
    lines = text.splitlines()[1:]
    inner = lines if lines[-1].strip(" `~\t") else lines[:-1]
    return f"<pre><code>{escape(chr(10).join(inner), quote=False)}\n</code></pre>"
