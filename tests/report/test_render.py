"""The forms of a report: complete, self-contained, with the same content, and identical bytes each time."""

from __future__ import annotations

import base64
import itertools
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from incident_lib import paths
from incident_lib.model import Failed, UsageError
from incident_lib.report import Figure, render, render_block, write_report
from incident_lib.report.document import Paragraph, Part
from tests.support.reports import (
    CONFLICTS,
    EXAMPLE,
    FORMS,
    NOTHING_SEEN,
    OWNERLESS,
    UNWRITTEN,
    Page,
    empty_pictures,
    in_words,
    page,
    read,
    run_folder,
    squeezed,
)

if TYPE_CHECKING:
    from pathlib import Path

PICTURES = ("before-after", "over-time", "blockers", "recovered", "remaining", "claims")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """A folder with the written report over the example run, and the return value of writing it."""
    folder = tmp_path_factory.mktemp("written")
    return folder, write_report(read(paths.EXAMPLE_RUN), folder / "my post.html")


@pytest.fixture(scope="module")
def example(written: tuple[Path, list[Path]]) -> Page:
    """The page over the example run, with its pictures."""
    return Page((written[0] / "my post.html").read_text("utf-8"))


# A page


def test_a_page_loads_nothing(example: Page) -> None:
    """The page has no references except to its own sections."""
    names = ("src", "href", "srcset", "action", "data", "poster", "background", "ping", "formaction")
    references = [attributes[name] or "" for _, attributes in example.elements for name in names if name in attributes]
    anchors = {f"#{attributes['id']}" for _, attributes in example.elements if "id" in attributes}

    loaded = {value[:40] for value in references if not value.startswith("data:image/svg+xml;base64,")}
    assert loaded == anchors
    assert re.findall(r"url\(|@import|https?:", example.style) == []
    assert example.of("script") + example.of("link") + example.of("iframe") == []


def test_a_page_forbids_loading_anything(example: Page) -> None:
    """The page's policy forbids browsers to load anything."""
    (policy,) = (a["content"] for a in example.of("meta") if a.get("http-equiv") == "Content-Security-Policy")

    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_the_pictures_in_a_page_load_nothing(example: Page) -> None:
    """The charts inside the page have no external reference."""
    pictures = [base64.b64decode(str(image["src"]).partition(",")[2]).decode() for image in example.of("img")]

    assert len(pictures) == len(PICTURES)
    assert [re.findall(r'(?:href|src)="(?!#)|url\((?!#)|<script', picture) for picture in pictures] == [[]] * len(
        PICTURES
    )


def test_a_page_is_well_formed(example: Page) -> None:
    """Each element of the page is closed, in order."""
    assert example.open == []


def test_a_page_says_its_language_and_title(example: Page) -> None:
    """The page has a language, a title, and one level-one heading with the finding."""
    assert example.of("html") == [{"lang": "en"}]
    assert example.headings.count("h1") == 1
    assert "Postmortem: 1,088 families were blocked for chat; now none is blocked" in example.text


@pytest.mark.parametrize("made", FORMS)
def test_no_heading_level_is_skipped(made: Any) -> None:
    """No heading level is skipped."""
    orders = [int(tag[1]) for tag in made(paths.EXAMPLE_RUN).headings]

    assert [pair for pair in itertools.pairwise(orders) if pair[1] > pair[0] + 1] == []


def test_contents_link_to_every_section(example: Page) -> None:
    """The table of contents has a link to each section, in order."""
    linked = [link["href"] for link in example.of("a")][1:]  # the first one leads to what is missing

    assert linked == [f"#{heading['id']}" for heading in example.of("h2")]
    assert linked == [f"#{section.name}" for section in read(paths.EXAMPLE_RUN).sections]


def test_ids_are_unique(tmp_path: Path) -> None:
    """Element ids of a page are unique, also with two runs of one environment."""
    one, two = (run_folder(tmp_path, {}, name) for name in ("one", "two"))
    ids = [attributes["id"] for _, attributes in page(one, two).elements if "id" in attributes]

    assert len(ids) == len(set(ids))


BEGAN = in_words(EXAMPLE["purpose_since"])
BACK = f"{EXAMPLE['recovery']['recovered']:,}"


@pytest.mark.parametrize("made", FORMS)
def test_every_picture_has_an_alternative_text(made: Any) -> None:
    """Each chart has an alternative text with its numbers."""
    texts = [image["alt"] for image in made(paths.EXAMPLE_RUN).of("img")]

    assert texts == [
        "Blocked families, before the fix and after it. "
        "Families blocked for chat: 1,088 before, 0 after. "
        "Families blocked for run: 168 before, 0 after.",
        f"1,029 of 1,088 families were blocked at once, on {BEGAN[:10]}. demo: 1,029 at {BEGAN}, 1,084 in "
        f"the end (4 more since an unknown time); ended {in_words(EXAMPLE['incident_ended_at'])}, "
        f"0 after. Rejected inserts in the server logs: {EXAMPLE['rejected_inserts']['failed_attempts']:,}.",
        "1,057 of 1,088 families were blocked for chat by a run thread (openai). "
        "chat blocked by a run thread (openai): "
        "1,057 families. chat blocked by a run thread (no provider): 14 families. chat blocked by an eval thread "
        "(openai): 7 families. chat blocked by a run thread (anthropic): 6 families. chat blocked by a run thread "
        "(manus): 4 families. run blocked by a chat thread (openai): 161 families. run blocked by an eval thread "
        "(openai): 7 families.",
        f"{BACK} families of 1,088 that were blocked had a chat again when counted. demo: {BACK} of 1,088.",
        f"The fix does not change {CONFLICTS} provider conflicts and {OWNERLESS} active threads without an owner. "
        f"Of {EXAMPLE['counts']['after']['active_threads']:,} active threads.",
        texts[5],  # except the chart of the claims, which has its own tests
    ]


@pytest.mark.parametrize("made", FORMS)
def test_each_picture_is_followed_by_its_table(made: Any) -> None:
    """Each chart is followed by the table of its data."""
    found = made(paths.EXAMPLE_RUN)
    tags = [tag for tag, _ in found.elements if tag in ("img", "table", "h2")]
    followers = [tags[place + 1] for place, tag in enumerate(tags) if tag == "img"]

    assert followers == ["table"] * len(PICTURES)


# Files


def test_the_same_records_are_the_same_bytes(written: tuple[Path, list[Path]], tmp_path: Path) -> None:
    """Writing a report twice gives the same bytes in each of its files."""
    write_report(read(paths.EXAMPLE_RUN), tmp_path / "my post.html")
    first, second = (
        {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        for folder in (written[0], tmp_path)
    )

    assert {str(file) for file in first} == {
        *(f"my post/{name}.svg" for name in PICTURES),
        "my post.html",
        "my post.md",
    }
    assert first == second


_REPORT = """
import sys
from pathlib import Path
from incident_lib import report
from incident_lib.report import render
print(render.render_html(report.read_runs([Path(sys.argv[1])], Path(sys.argv[2]))), end="")
"""


@pytest.mark.slow
def test_another_process_makes_the_same_bytes() -> None:
    """The bytes do not depend on the process's hash seed, language or time zone."""
    made = []
    for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo")):
        environ = {"PYTHONHASHSEED": seed, "TZ": zone, "PYTHONPATH": str(paths.ROOT / "src"), "PATH": "/usr/bin:/bin"}
        command = [sys.executable, "-c", _REPORT, str(paths.EXAMPLE_RUN), str(UNWRITTEN)]
        made.append(subprocess.run(command, capture_output=True, check=True, env=environ).stdout)

    assert made[0] == made[1]


def test_write_returns_its_files(written: tuple[Path, list[Path]]) -> None:
    """Writing a report returns the page, the Markdown beside it, and the folder of its charts."""
    folder, names = written

    assert names == [folder / "my post.html", folder / "my post.md", folder / "my post"]
    assert sorted(file.name for file in names[2].iterdir()) == sorted(f"{name}.svg" for name in PICTURES)


def test_markdown_shows_the_charts_beside_it(written: tuple[Path, list[Path]]) -> None:
    """The Markdown's pictures are files in the folder beside it, each with its alternative text."""
    folder, _ = written
    markdown = (folder / "my post.md").read_text("utf-8")

    assert re.findall(r"!\[[^\]]{40,}\]\(([^)]*)\)", markdown) == [f"my%20post/{name}.svg" for name in PICTURES]
    assert all((folder / "my post" / f"{name}.svg").exists() for name in PICTURES)


def test_a_report_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """If the report cannot be written, an error says so."""
    (tmp_path / "file").touch()
    with pytest.raises(Failed):
        write_report(read(paths.EXAMPLE_RUN), tmp_path / "file" / "post.html")


def test_an_error_replaces_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a report cannot be rendered, the existing page is unchanged, and no partial file is left."""
    (tmp_path / "post.html").write_text("before", "utf-8")
    monkeypatch.setattr(render, "render_html", lambda *_, **__: "\ud800")  # this text cannot be encoded
    with empty_pictures(), pytest.raises(UnicodeEncodeError):
        write_report(read(paths.EXAMPLE_RUN), tmp_path / "post.html")

    assert (tmp_path / "post.html").read_text("utf-8") == "before"
    assert list(tmp_path.rglob("*.part")) == []


def test_a_path_as_an_environment_does_not_change_the_folder(tmp_path: Path) -> None:
    """If a record's environment is a path, no file is written outside the report's own folder."""
    folder = run_folder(tmp_path, {"environment": "../../outside", **NOTHING_SEEN})
    out = tmp_path / "reports" / "postmortem.html"
    with empty_pictures():
        write_report(read(folder), out)

    assert {file.relative_to(tmp_path).parts[0] for file in tmp_path.rglob("*")} == {"run", "reports"}


@pytest.mark.filterwarnings("error")
def test_a_report_without_runs_has_no_charts() -> None:
    """Without a run there is a page without charts."""
    assert page().of("img") == []


def test_every_form_has_the_same_words() -> None:
    """Page and wiki show the same cells in the same order, except for the page's cards and facts."""
    in_page, in_wiki = (made(paths.EXAMPLE_RUN).cells for made in FORMS)
    head = read(paths.EXAMPLE_RUN).head
    shown = {card.label for card in head.cards} | {cell for row in [*head.table.cells, *head.facts] for cell in row}

    assert [cell for cell in in_page if cell not in shown] == [cell for cell in in_wiki if cell and cell not in shown]


# Blocks for a notebook


def test_a_block_is_the_html_of_the_page() -> None:
    """A block that is rendered alone has the HTML that it has in the page."""
    post = read(paths.EXAMPLE_RUN)
    with empty_pictures():
        whole = render.render_html(post)
    blocks = [block for section in post.sections for block in section.blocks if not isinstance(block, Figure)]

    assert len(blocks) > 20
    assert [block for block in blocks if render_block(block).strip() not in whole] == []


def test_a_figure_alone_is_its_folded_table() -> None:
    """A figure that is rendered alone is its folded table: a notebook shows the chart itself."""
    figure = next(block for block in read(paths.EXAMPLE_RUN).section("impact").blocks if isinstance(block, Figure))
    found = Page(render_block(figure))

    assert found.of("img") == []
    assert found.elements[0][0] == "details"
    assert found.cells == [*figure.table.headings, *(squeezed(cell) for row in figure.table.cells for cell in row)]


def test_a_figure_within_a_part_has_its_picture() -> None:
    """A figure within a part is rendered with its picture, since a notebook shows only those of a section."""
    figure = next(block for block in read(paths.EXAMPLE_RUN).section("impact").blocks if isinstance(block, Figure))
    with empty_pictures():
        found = Page(render_block(Part("A part", (figure,))))

    assert [image["alt"] for image in found.of("img")] == [figure.chart.alt]


def test_a_raw_id_in_a_block_is_hidden() -> None:
    """A raw id in a block that is rendered alone is hidden."""
    assert "(an id, hidden)" in render_block(Paragraph("It was 5b0c1a52-7a0e-4dd9-8a11-3c6f1e0d9b77."))


# PDF


@pytest.fixture
def weasyprint() -> Any:
    """WeasyPrint, where it can be loaded."""
    try:
        import weasyprint
    except (ImportError, OSError) as error:
        pytest.skip(f"WeasyPrint cannot be loaded: {error}")
    return weasyprint


@pytest.mark.slow
@pytest.mark.usefixtures("weasyprint")
def test_a_pdf_is_written(tmp_path: Path) -> None:
    """With pdf=True a PDF is written beside the page, with the finding as its title."""
    written = write_report(read(paths.EXAMPLE_RUN), tmp_path / "post.html", pdf=True)

    assert written[-1] == tmp_path / "post.pdf"
    assert (tmp_path / "post.pdf").read_bytes().startswith(b"%PDF-")


@pytest.mark.slow
def test_what_a_pdf_does_not_show_is_not_laid_out(weasyprint: Any) -> None:
    """A page without its folded parts makes the same PDF as the whole page, which hides them from print."""
    pages = [render.render_html(read(paths.EXAMPLE_RUN), themed=False, folded=folded) for folded in (True, False)]
    whole, shown = (weasyprint.HTML(string=page).write_pdf(pdf_variant="pdf/ua-1") for page in pages)
    assert "<details" not in pages[1]
    assert whole == shown


@pytest.mark.parametrize("raised", [ImportError, OSError])
def test_a_pdf_without_its_package_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: type[Exception]
) -> None:
    """If WeasyPrint or one of its libraries is missing, an error says what to install, and no file is written."""

    class Missing:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "weasyprint":
                raise raised(name)

    monkeypatch.delitem(sys.modules, "weasyprint", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(UsageError) as refused:
        write_report(read(paths.EXAMPLE_RUN), tmp_path / "post.html", pdf=True)

    assert str(refused.value) == (
        "A PDF needs the extra `pdf`.\n"
        "  why:  WeasyPrint, or the library Pango that it needs, is not installed.\n"
        "  next: pip install -e '.[pdf]', and Pango from your system's packages; or print the HTML from a browser."
    )
    assert list(tmp_path.iterdir()) == []


PREPARED = """
import sys
from incident_lib.report import prepare_report
prepare_report()
from matplotlib.artist import kwdoc
from matplotlib.lines import Line2D
print({"jinja2", "markdown_it", "matplotlib.figure", "mistune"} <= set(sys.modules))
print("dash_capstyle" in Line2D.set.__doc__, "dash_capstyle" in kwdoc(Line2D))
"""


def test_a_report_is_prepared_without_help_texts() -> None:
    """What a report needs is imported ahead; of matplotlib without its texts of help, which it still can write."""
    ran = subprocess.run([sys.executable, "-c", PREPARED], capture_output=True, text=True, check=True)

    assert ran.stdout == "True\nFalse True\n"
