"""The forms of a report: one HTML file, Markdown with its charts beside it, PDF; and its blocks, for notebooks."""

from __future__ import annotations

import base64
import re
from functools import cache, partial
from html import escape
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from incident_lib import paths
from incident_lib.model import UsageError, hide_ids
from incident_lib.report.chart import import_matplotlib
from incident_lib.report.document import Figure, Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from incident_lib.report.chart import Chart
    from incident_lib.report.document import Block, Report


def prepare_report() -> None:
    """Import what a report needs, and compile its templates: half of the time that the first one takes."""
    import markdown_it  # noqa: F401 - imported for later
    import mistune  # noqa: F401 - the same

    import_matplotlib()
    for template in ("report.html.j2", "blocks.html.j2"):
        _templates(autoescape=True).get_template(template)
    _templates(autoescape=False).get_template("report.md.j2")


def render_html(post: Report, *, themed: bool = True, appendix: bool = False, folded: bool = True) -> str:
    """One HTML file that loads nothing: its charts and styles are in it.

    Args:
        post: the report.
        themed: whether the charts follow the reader's light or dark colour scheme.
        appendix: whether the appendix and the folded parts are printed, too.
        folded: whether the file has them at all.
    """
    template = _templates(autoescape=True).get_template("report.html.j2")
    picture = partial(_inline, themed=themed)
    return hide_ids(template.render(post=post, picture=picture, appendix=appendix, folded=folded))


def render_markdown(post: Report, pictures: str) -> str:
    """Markdown, for a pull request or a wiki; `pictures` is the folder of its charts beside it."""
    template = _templates(autoescape=False).get_template("report.md.j2")
    return hide_ids(template.render(post=post, pictures=pictures))


def render_block(block: Block) -> str:
    """One block as HTML, for a notebook, which shows the chart of a figure itself: of a figure, the folded table."""
    macros = _templates(autoescape=True).get_template("blocks.html.j2").module
    if isinstance(block, Figure):
        return hide_ids(str(macros.folded_table(block.table)))
    return hide_ids(str(macros.show(block, 3, partial(_inline, themed=False))))


def write_report(post: Report, out: Path, *, pdf: bool = False, appendix: bool = False) -> list[Path]:
    """Write `out` (.html), the Markdown beside it, the folder of its charts and, if wanted, a PDF; returns them.

    Args:
        post: the report.
        out: the HTML file.
        pdf: whether to write the PDF.
        appendix: whether print and PDF have the appendix and the folded parts.

    Raises:
        Failed: a file cannot be written.
        UsageError: the extra `pdf` is not installed.
    """
    markdown, pictures = out.with_suffix(".md"), out.with_suffix("")
    printed = _pdf(post, appendix=appendix) if pdf else None
    with paths.writable(pictures):
        pictures.mkdir(parents=True, exist_ok=True)
    for figure in figures(block for section in post.sections for block in section.blocks):
        paths.replace_text(pictures / f"{figure.name}.svg", figure.chart.svg())
    paths.replace_text(out, render_html(post, appendix=appendix))
    paths.replace_text(markdown, render_markdown(post, pictures.name))
    if not printed:
        return [out, markdown, pictures]
    with paths.replacing(out.with_suffix(".pdf")) as file:
        file.write(printed)
    return [out, markdown, pictures, out.with_suffix(".pdf")]


def figures(blocks: Iterable[Block]) -> Iterator[Figure]:
    """Every figure among these blocks and in their parts."""
    for block in blocks:
        if isinstance(block, Figure):
            yield block
        elif isinstance(block, Part):
            yield from figures(block.blocks)


def _pdf(post: Report, *, appendix: bool) -> bytes:
    try:
        from weasyprint import HTML  # or a system library that it loads may be missing
    except (ImportError, OSError):
        raise UsageError(
            "A PDF needs the extra `pdf`.",
            "WeasyPrint, or the library Pango that it needs, is not installed.",
            "pip install -e '.[pdf]', and Pango from your system's packages; or print the HTML from a browser.",
        ) from None
    html = render_html(post, themed=False, appendix=appendix, folded=appendix)
    return bytes(HTML(string=html).write_pdf(pdf_variant="pdf/ua-1"))


def _inline(chart: Chart, *, themed: bool, narrow: bool = False) -> str:
    svg = chart.svg(themed=themed, narrow=narrow)
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


@cache
def _templates(*, autoescape: bool) -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("incident_lib.report"),
        autoescape=autoescape,  # noqa: S701 - Markdown is escaped text by text
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "literal": escape_markdown,
        "in_code": code_cell,
        "prose": render_prose,
        "safe_markdown": safe_markdown,
        "whole_dates": whole_dates,
    }
    made.tests["with_long_words"] = lambda text: any(len(word) > LONG for word in text.split())
    made.globals["kind"] = lambda block: type(block).__name__
    return made


def whole_dates(text: str) -> Markup:
    """A text as HTML in which no line ends within a date."""
    return Markup(_DATE.sub(r'<span class="time">\g<0></span>', escape(text)))  # noqa: S704 - the text is escaped


_DATE = re.compile(r"\b\d{4}-\d\d-\d\d\b")
LONG = 24  # characters of a word from which on it may be broken, so that its column stays narrow
# `<` as an entity: after an address a backslash would be read as the end of the address.
_MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"} | {c: f"\\{c}" for c in "\\`*_{}[]#|~$"})
_BLOCK = re.compile(r"^(\d*)([-+=.)])(?=[-=]*$|\s)")  # the begin of a list, a rule or a heading's underline


def escape_markdown(text: object) -> str:
    """Text for Markdown, on one line and with its markup escaped: also for the cell of a table."""
    return _BLOCK.sub(r"\1\\\2", " ".join(str(text).split()).translate(_MARKUP))


def code_cell(text: object) -> str:
    """Text for Markdown as code, for the cell of a table."""
    line = " ".join(str(text).split())
    return f"<code>{escape_markdown(line)}</code>" if set("\\`") & set(line) else f"`{line}`".replace("|", "\\|")


def render_prose(markdown: str) -> str:
    """What people wrote, as HTML: only Markdown is markup; a picture, which would be loaded, is shown as its text."""
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


# Fences and code within a line, as CommonMark has them; a fence without an end is code to the end of the text.
CODE = re.compile(
    r"^ {0,3}(`{3,}(?=[^`\n]*$)|~{3,})[^\n]*(?:\n.*?)??(?:^ {0,3}\1[`~]*[ \t]*$|\Z)"
    r"|(?<![`\\])(`+)(?!`)[^\n]+?(?<!`)\2(?!`)",
    re.DOTALL | re.MULTILINE,
)
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_PICTURE = re.compile(r"!+(?=\[)")


def safe_markdown(markdown: str) -> str:
    """What people wrote, as Markdown without HTML and without pictures; code stays as it is."""
    parts, end = list[str](), 0
    for found in CODE.finditer(markdown):
        parts += [_plain(markdown[end : found.start()]), _code(found[0])]
        end = found.end()
    return "".join([*parts, _plain(markdown[end:])])


def _plain(text: str) -> str:
    return _PICTURE.sub("", _TAG.sub("&lt;", text))


def _code(text: str) -> str:
    """Code as it is; as escaped HTML where a reader that does not see it as code would see HTML or a picture in it."""
    if not (_TAG.search(text) or _PICTURE.search(text)):
        return text
    if "\n" not in text:
        return f"<code>{escape_markdown(text.strip('`'))}</code>"
    lines = text.splitlines()[1:]
    inner = lines if lines[-1].strip(" `~\t") else lines[:-1]
    return f"<pre><code>{escape(chr(10).join(inner), quote=False)}\n</code></pre>"
