"""Text of users, servers and colleagues in a report: shown unchanged in every field and form, never as markup."""

from __future__ import annotations

import base64
import copy
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import pytest

from incident_lib.model import PLAN_OWNER
from incident_lib.report import render
from tests.support.reports import (
    EXAMPLE,
    FORMS,
    NO_AFTER,
    drawn,
    empty_pictures,
    end,
    page,
    read,
    rendered,
    rendered_strictly,
    run_folder,
    squeezed,
    wiki,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Markup of HTML and of Markdown, the end of a cell, a code span, an entity, and line breaks.
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> | a`b` &lt;i&gt; **c** [d](http://e)\n\n# f\n- g"
HARMLESS = "Nothing that is markup, and about as long as the other, so that its cells are as wide: yes; a b c d e f"
# Values of a record that are times, constants, or names of packages.
PLAIN = {"status", "blocked_for", "kind", "schema_version", "state", "per", "because"}
MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]")


def rewritten(thing: Any, text: str, key: str = "") -> Any:
    """A record with every free text replaced."""
    if isinstance(thing, dict):
        named = {text: 7} if key == "active_by_purpose" else thing
        return {k: rewritten(v, text, k) for k, v in named.items()}
    if isinstance(thing, list):
        return [rewritten(value, text, key) for value in thing]
    return thing if not isinstance(thing, str) or key in PLAIN or MOMENT.match(thing) else text


PICTURES = ("before-after", "over-time", "blockers", "recovered", "remaining")
ERROR = {"what": "?", "why": "?", "next": "?"}


def everywhere(folder: Path, text: str, *names: str) -> list[Path]:
    """The folders of runs with every free text replaced, including the names of their environments."""
    changes = rewritten({**copy.deepcopy(EXAMPLE), "error": ERROR}, text)
    return [run_folder(folder, changes, name) for name in names or ("run",)]


@pytest.mark.parametrize("made", [*FORMS, rendered_strictly])
@pytest.mark.parametrize("names", [("run",), ("one", "two"), tuple("abcdefgh")], ids=len)
def test_hostile_text_adds_no_structure(tmp_path: Path, made: Any, names: tuple[str, ...]) -> None:
    """Markup in a text adds no element, heading, row or cell: the structure equals that of a harmless report."""
    (tmp_path / "harmless").mkdir()
    bad = made(*everywhere(tmp_path, HOSTILE, *names))
    good = made(*everywhere(tmp_path / "harmless", HARMLESS, *names))

    assert [tag for tag, _ in bad.elements] == [tag for tag, _ in good.elements]
    assert bad.open == []
    assert [attributes for _, attributes in bad.elements if any(name.startswith("on") for name in attributes)] == []


@pytest.mark.parametrize("made", [*FORMS, rendered_strictly])
def test_hostile_text_after_an_address_adds_no_element(tmp_path: Path, made: Any) -> None:
    """Markup after an address, which a wiki changes into a link, adds no element."""
    found = made(*everywhere(tmp_path, "http://e<img src=x onerror=alert(2)>"))

    assert len(found.of("img")) == len(PICTURES)


def test_hostile_text_is_shown_in_html(tmp_path: Path) -> None:
    """The page shows hostile text unchanged."""
    assert page(*everywhere(tmp_path, HOSTILE)).text.count(HOSTILE) >= 60


def test_hostile_text_is_shown_in_markdown(tmp_path: Path) -> None:
    """The rendered Markdown shows hostile text unchanged, on one line."""
    assert rendered(*everywhere(tmp_path, HOSTILE)).text.count(squeezed(HOSTILE)) >= 60


def test_hostile_text_adds_no_cell(tmp_path: Path) -> None:
    """A pipe in a text adds no cell to a Markdown table."""
    lines = render.render_markdown(read(*everywhere(tmp_path, HOSTILE)), "pictures").splitlines()
    tables = re.findall(r"(?:^\|.*\n)+", "\n".join(lines), re.MULTILINE)
    widths = [{len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()} for table in tables]

    assert len(tables) >= 10
    assert [width for width in widths if len(width) != 1] == []


LEADING = (
    "- a",
    "1. a",
    "+ a",
    "> a",
    "# a",
    "~~~",
    "```",
    "    a",
    "| a |",
    "===",
    "---",
    "[a]: http://e",
    "*a*",
    "\\",
)


@pytest.mark.parametrize("text", LEADING)
def test_text_like_the_begin_of_a_block_begins_none(tmp_path: Path, text: str) -> None:
    """Text like the begin of a list, a quote, a fence or a rule begins none in the Markdown, in any field."""
    (tmp_path / "harmless").mkdir()
    bad = rendered(*everywhere(tmp_path, text))
    good = rendered(*everywhere(tmp_path / "harmless", "an a"))

    assert [tag for tag, _ in bad.elements] == [tag for tag, _ in good.elements]


ODD = {
    "formula": '=HYPERLINK("http://e","a")',
    "a page's end": "</td></tr></table></section></body>]]>-->",
    "a template": "{{ 7 * 7 }}{% raw %}",
    "a format": "%s %(a)s {0} {a!r}",
    "other scripts": "日本語 العربية 😀",
    "marks": "~~a~~ $b$ @c &amp; &d;",
}


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("made", FORMS)
@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_unusual_text_is_shown_unchanged(tmp_path: Path, made: Any, text: str) -> None:
    """Text in other scripts, and of other formats, is shown completely and unchanged."""
    found = made(*everywhere(tmp_path, text))

    assert found.open == []
    assert found.cells.count(text) > 20


@pytest.mark.parametrize("made", FORMS)
def test_direction_marks_are_shown_as_codes(tmp_path: Path, made: Any) -> None:
    """Direction marks are shown as their code, and the text itself has none."""
    found = made(*everywhere(tmp_path, "\u202egnp.exe\u202c\u200f"))

    assert found.cells.count(r"\u202egnp.exe\u202c\u200f") > 20
    assert set("\u202e\u202c\u200f") & set(found.text) == set()


@pytest.mark.parametrize("made", FORMS)
@pytest.mark.parametrize("word", ["x", "word "], ids=["a word", "words"])
def test_long_text_is_cut(tmp_path: Path, made: Any, word: str) -> None:
    """Of ten thousand characters each table shows two thousand, and the number of the others."""
    text = (word * 10_000)[:10_000]
    found = made(run_folder(tmp_path, rewritten(EXAMPLE, text)))

    assert found.cells.count(squeezed(f"{text[:2_000]}… (8,000 more characters)")) > 20
    assert text[:2_001] not in found.text


@pytest.mark.parametrize("made", FORMS)
@pytest.mark.parametrize("length", [1_999, 2_000])
def test_shorter_text_is_not_cut(tmp_path: Path, made: Any, length: int) -> None:
    """Up to two thousand characters are shown."""
    assert made(run_folder(tmp_path, rewritten(EXAMPLE, "x" * length))).cells.count("x" * length) > 20


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize(
    "text",
    [
        "$\\nosuch{$",
        pytest.param("$$", marks=pytest.mark.slow),
        pytest.param("a$b$c", marks=pytest.mark.slow),
        "\x01\x0b \ufffe a--b-->\na\nb",
    ],
    ids=ascii,
)
def test_unusual_text_is_drawn(tmp_path: Path, text: str) -> None:
    """With any text a chart is rendered: the text is neither a formula nor the end of an element."""
    pictures = [
        base64.b64decode(str(image["src"]).partition(",")[2]).decode()
        for image in drawn(*everywhere(tmp_path, text, "one", "two")).of("img")
    ]
    tags = {element.tag for picture in pictures for element in ET.fromstring(picture).iter()}

    assert len(pictures) == len(PICTURES)
    assert [tag for tag in tags if "script" in tag] == []


@pytest.mark.parametrize("made", FORMS)
def test_markup_in_a_folders_name_is_text(tmp_path: Path, made: Any) -> None:
    """Markup in the name of a run's folder is shown as text."""
    found = made(run_folder(tmp_path, {}, "<script>alert(1)<b>|`c`"))

    assert [tag for tag, _ in found.elements] == [tag for tag, _ in made(run_folder(tmp_path, {}, "harmless")).elements]
    assert "<script>alert(1)<b>|`c`" in found.cells


def test_markup_in_the_files_name_is_text(tmp_path: Path) -> None:
    """Markup in the name of the report's file does not end the links to its pictures, and adds no element."""
    name = "a) <img src=x> ![b](c"
    with empty_pictures():
        render.write_report(read(run_folder(tmp_path, {})), tmp_path / f"{name}.html")
    found = wiki((tmp_path / f"{name}.md").read_text("utf-8")).of("img")

    assert [unquote(str(image["src"])) for image in found] == [f"{name}/{kind}.svg" for kind in PICTURES]


# Ids

RAW = "5b0c1a52-7a0e-4dd9-8a11-3c6f1e0d9b77"
FIELDS: dict[str, Callable[[str], dict[str, Any]]] = {
    "environment": lambda text: {"environment": text},
    "error": lambda text: {**end("failed"), "error": {"what": text, "why": text, "next": text}},
    "purpose": lambda text: {"counts": rewritten(EXAMPLE["counts"], text)},
    "provider": lambda text: {"blocked_by": [{**EXAMPLE["blocked_by"][0], "purpose": text, "provider": text}]},
    "example": lambda text: {"example": rewritten(EXAMPLE["example"], text)},
    "indexes": lambda text: {"indexes": rewritten(EXAMPLE["indexes"], text)},
    "step": lambda text: {"steps": rewritten(EXAMPLE["steps"], text)},
    "check": lambda text: {"preflight": rewritten(EXAMPLE["preflight"], text)},
    "verification": lambda text: {"verification": rewritten(EXAMPLE["verification"], text)},
    "results": lambda text: {"probes": [text], "retries": text, "integrity": text},
    "unknown": lambda text: {"unknown": [text, f"{text}."]},
    "made with": lambda text: {"git_commit": text, "versions": rewritten(EXAMPLE["versions"], text)},
}


IDS = f"{RAW} {RAW.upper()} Key (owner_id)=({RAW}) exists."


@pytest.mark.parametrize("field", FIELDS)
def test_a_raw_id_is_hidden_in_every_field(tmp_path: Path, field: str) -> None:
    """A raw id in any field of a record is neither in the page nor in the Markdown."""
    post = read(run_folder(tmp_path, FIELDS[field](IDS)))
    with empty_pictures():
        places = {"html": render.render_html(post), "markdown": render.render_markdown(post, "p")}

    assert [place for place, found in places.items() if RAW in found.lower()] == []


def test_a_raw_id_is_hidden_in_pictures(tmp_path: Path) -> None:
    """A raw id in any field of a record is in no chart."""
    changes = {key: value for made in FIELDS.values() for key, value in made(IDS).items()}
    pictures = [
        figure.chart for s in read(run_folder(tmp_path, changes)).sections for figure in render.figures(s.blocks)
    ]

    assert len(pictures) >= 4
    assert [chart.title for chart in pictures if RAW in chart.svg().lower()] == []


@pytest.mark.parametrize("made", FORMS)
def test_a_published_id_is_not_hidden(tmp_path: Path, made: Any) -> None:
    """A published id of the fix plan is not hidden."""
    assert str(PLAN_OWNER) in made(run_folder(tmp_path, {"unknown": [str(PLAN_OWNER)]})).text


@pytest.mark.parametrize("made", FORMS)
def test_a_raw_id_as_a_folders_name_is_hidden(tmp_path: Path, made: Any) -> None:
    """A raw id as the name of a run's folder is hidden."""
    assert RAW not in made(run_folder(tmp_path, NO_AFTER, RAW)).text
