"""Notes in a report: rendered as Markdown only, and without raw ids."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from incident_lib.model import PLAN_OWNER, UsageError
from incident_lib.report import notes, render
from incident_lib.report.chapter import Chapter
from incident_lib.report.notes import WANTED, WELCOME
from incident_lib.report.postmortem import Postmortem
from tests.support.examples import examples
from tests.support.reports import (
    EXAMPLE,
    FORMS,
    NEITHER,
    Contents,
    Page,
    commonmark,
    empty_pictures,
    record_of,
    run_folder,
    wiki,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECTIONS = (*WANTED, *WELCOME)
RAW = "5b0c1a52-7a0e-4dd9-8a11-3c6f1e0d9b77"
PLACES = {
    **{title: f"## {title}\n\nIt was {{0}}.\n" for title in SECTIONS},
    "the incident's id": "# {0}\n",
    "an event": "## Timeline\n- 2025-10-13 08:18 UTC: {0} wrote ({0})\n",
    "an action item": "## Action items\n- [ ] Ask {0} (owner: {0})\n",
    "code": "## Summary\n\n    {0}\n\n`{0}`\n\n```\n{0}\n```\n",
    "a link": "## Summary\n\n[a](http://e/{0}) <http://e/{0}> [b]\n\n[b]: http://e/{0} '{0}'\n",
}


def _forms(text: str) -> dict[str, str]:
    """Each form of a report with notes; its record is almost empty."""
    found = Postmortem((Chapter(record_of(NOTHING), "run"),), notes.parse_notes(text, "notes.md"))
    with empty_pictures():
        html = render.render_html(found)
    return {"html": html, "markdown": render.render_markdown(found, "p")}


NOTHING: Contents = {
    **EXAMPLE,
    **dict.fromkeys(("counts", "indexes", "example_threads"), NEITHER),
    "blocked_since": None,
    "steps": [],
    "preflight": [],
    "verification": [],
    "blocked_by": None,
    "example": None,
}


@pytest.mark.parametrize("place", PLACES)
def test_raw_ids_are_hidden(place: str) -> None:
    """A raw id in notes is hidden in each form, wherever it is, also in upper case."""
    made = _forms(PLACES[place].format(RAW)) | {
        f"{form} in capitals": text for form, text in _forms(PLACES[place].format(RAW.upper())).items()
    }

    assert [form for form, text in made.items() if RAW in text.lower()] == []
    assert [form for form, text in made.items() if "(an id, hidden)" not in text] == []


@pytest.mark.parametrize("place", PLACES)
def test_published_ids_are_not_hidden(place: str) -> None:
    """A published id of the fix plan is shown in each form."""
    made = _forms(PLACES[place].format(PLAN_OWNER))

    assert [form for form, text in made.items() if str(PLAN_OWNER) not in text] == []


def test_raw_ids_are_hidden_without_their_dashes() -> None:
    """A raw id without dashes is hidden."""
    bare = RAW.replace("-", "")

    assert [form for form, text in _forms(f"## Summary\n\nIt was {bare}.\n").items() if bare in text] == []


# Markup that is not rendered


ATTACKS = {
    "a script": "<script>alert(1)</script>",
    "an image": "<img src=http://e/x.png onerror=alert(1)>",
    "over two lines": "<img\nsrc=http://e/x.png>",
    "behind a backslash": "\\<img src=http://e/x.png>",
    "behind two backslashes": "\\\\<img src=http://e/x.png>",
    "a comment": "<!-- x",
    "a picture": "![x](http://e/x.png)",
    "a picture behind a mark": "!![x](http://e/x.png)",
    "a picture by reference": "![x][y]\n\n[y]: http://e/x.png",
    "a picture in a link": "[![x](http://e/x.png)](http://e)",
    "a javascript: link": "[x](javascript:alert(1))",
    "a javascript: link with a space": "[x]( JaVaScRiPt:alert(1) )",
    "a javascript: link by reference": "[x]\n\n[x]: javascript:alert(1)",
    "a javascript: link, spelled": "[x](java&#115;cript:alert(1))",
    "a javascript: address": "<javascript:alert(1)>",
    "a data: link": "[x](data:text/html,<script>alert(1)</script>)",
    "escaped marks of code": "\\`<img src=http://e/x.png>\\`",
    "marks of code that differ": "`<img src=http://e/x.png>``",
    "a fence that is none": "```a`b\n<img src=http://e/x.png>\n```",
    "a fence that a list ends": "- a\n  ```\n<img src=http://e/x.png>\n```",
    "a fence that a quote ends": "> ```\n<img src=http://e/x.png>\n> ```",
    "a cell that cuts code": "| a | b |\n|---|---|\n| `a | <img src=http://e/x.png>` |",
    "code after code": "`a`<img src=http://e/x.png>`b`",
    "a fence after a fence": "```\na\n```\n<img src=http://e/x.png>\n```\nb\n```",
    "fences of two kinds": "```\n~~~\n```\n<img src=http://e/x.png>\n",
    "an unclosed fence": "```\na\n\n<img src=http://e/x.png>",
    "a style": "<style>@import 'http://e'</style>",
    "a frame": "<iframe src=http://e>",
    "an end of ours": "</div></section></main><script>alert(1)</script>",
    "an end of a disclosure": "</details>",
    "behind an address": "http://e<img src=http://e/x.png>",
    "a declaration": "<!DOCTYPE html><?php x ?><![CDATA[ x ]]>",
}
MARKDOWNS = {
    *("p", "a", "em", "strong", "code", "pre", "ul", "ol", "li", "blockquote", "del", "hr", "br"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"),
    "div",  # around a table, to make it scrollable
}


# The element around a table in notes, which makes it scrollable.
TABLES_FRAME = ("div", {"class": "wide", "tabindex": "0", "role": "region", "aria-label": "Table"})


def _check_harmless(page: Page) -> None:
    """Assert that there are only elements of Markdown, no external resources, and no active links."""
    elements = [element for element in page.elements if element != TABLES_FRAME]
    used = {tag for tag, _ in elements}
    attributes = {name for _, of_one in elements for name in of_one}
    links = [str(link.get("href")) for link in page.of("a")]

    assert used <= MARKDOWNS, used - MARKDOWNS
    assert attributes <= {"href", "title", "class", "start", "style", "tabindex", "role", "aria-label"}, attributes
    assert [link for link in links if not re.match(r"(https?:|mailto:|#|/|[^:]*$)", link)] == []


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_html_in_notes_adds_no_element_to_the_page(attack: str) -> None:
    """HTML in notes adds no element to the page, and pictures are not loaded."""
    _check_harmless(Page(render.render_prose(attack)))


@pytest.mark.parametrize("shown", [wiki, commonmark])
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_html_in_notes_adds_no_element_to_a_wiki(attack: str, shown: Callable[[str], Page]) -> None:
    """HTML in notes adds no element to a wiki that allows HTML, and pictures are not loaded."""
    _check_harmless(shown(render.safe_markdown(attack)))


MARKS = (
    *("<", ">", "!", "[", "]", "(", ")", "`", "``", "```", "~~~", "\\", "\n", "\n\n", " ", "- ", "> ", "|", "a", "&"),
    *("<img src=x>", "![x](http://e)", "<script>", "</p>", "<!--", "-->", "    ", "\t", "<b\n", "|---|\n", "# "),
)
MARKUP = st.lists(st.sampled_from(MARKS), max_size=24).map("".join)


@given(MARKUP)
def test_any_marks_give_markdown_only_in_the_page(text: str) -> None:
    """Any sequence of marks gives only elements of Markdown in the page, all of them closed."""
    _check_harmless(Page(render.render_prose(text)))


@pytest.mark.parametrize("shown", [wiki, commonmark])
@settings(max_examples=examples(200))
@given(text=MARKUP)
def test_any_marks_give_markdown_only_in_a_wiki(text: str, shown: Callable[[str], Page]) -> None:
    """Any sequence of marks gives only elements of Markdown in a wiki."""
    _check_harmless(shown(render.safe_markdown(text)))


def _why_not(text: str) -> str | None:
    """The reason why notes cannot be read; None if they can, and each form shows them."""
    try:
        found = Postmortem((Chapter(record_of(EXAMPLE), "run"),), notes.parse_notes(text, "notes.md"))
    except UsageError as error:
        return error.why
    assert render.render_markdown(found, "p").startswith("# 1,088 families")
    assert Page("".join(render.render_prose(body) for body in found.notes.sections.values())).open == []
    return None


@settings(max_examples=12)  # each renders a report
@given(st.sampled_from(SECTIONS), st.text() | MARKUP)
def test_any_text_is_shown_or_an_error(title: str, text: str) -> None:
    """Any text below a heading is shown in each form, or an error has its line."""
    why = _why_not(f"# INC-1\n\n## {title}\n{text}\n")

    assert why is None or re.fullmatch(r"Line \d+: .*\.", why, re.DOTALL)


@pytest.mark.parametrize("made", FORMS)
def test_code_is_shown_unchanged(tmp_path: Path, made: Any) -> None:
    """Code in notes is shown unchanged in each form, including angle brackets."""
    code = ["List<String> x;", "<b>", "a < b", "![a](b)"]
    text = "## Summary\n\n" + "".join(f"`{line}` and\n\n```\n{line}\n```\n\n" for line in code)
    (tmp_path / "notes.md").write_text(text, "utf-8")
    found = made(run_folder(tmp_path, {}), notes=tmp_path / "notes.md").sections["Summary"].text

    assert [(line, found.count(line)) for line in code] == [(line, 2) for line in code]
