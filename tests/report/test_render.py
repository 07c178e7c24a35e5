"""The forms of a report: whole, asking nobody for anything, showing the same, the same bytes each time."""

from __future__ import annotations

import base64
import itertools
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from incident_lib import paths
from incident_lib.model.errors import Failed, UsageError
from tests.support.reports import EXAMPLE, FORMS, GONE, NOTHING_SEEN, UNWRITTEN, Page, drawn, kept, page, read, squeezed

if TYPE_CHECKING:
    from pathlib import Path

PICTURES = ("before-after", "over-time", "blockers", "recovered", "claims", "left")


@pytest.fixture(scope="module")
def example() -> Page:
    """The page over the example run, its pictures drawn."""
    return drawn(paths.EXAMPLE_RUN)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """A folder into which the report over the example run was written, and what writing it returned."""
    folder = tmp_path_factory.mktemp("written")
    return folder, read(paths.EXAMPLE_RUN).write(folder / "my post.html")


# A page


def test_a_page_loads_nothing(example: Page) -> None:
    """Nothing in the page refers to anything outside of it, but to its own sections."""
    names = ("src", "href", "srcset", "action", "data", "poster", "background", "ping", "formaction")
    references = [attributes[name] or "" for _, attributes in example.elements for name in names if name in attributes]
    anchors = {f"#{attributes['id']}" for _, attributes in example.elements if "id" in attributes}

    assert [value[:40] for value in references if not value.startswith("data:image/svg+xml;base64,")] == sorted(
        anchors, key=references.index
    )
    assert re.findall(r"url\(|@import|https?:", example.style) == []
    assert example.of("script") + example.of("link") + example.of("iframe") == []


def test_a_page_forbids_loading_anything(example: Page) -> None:
    """The page tells browsers to load nothing, whatever should stand in it."""
    (policy,) = (a["content"] for a in example.of("meta") if a.get("http-equiv") == "Content-Security-Policy")

    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_the_pictures_in_a_page_load_nothing(example: Page) -> None:
    """The charts inside the page refer to nothing outside of them, either."""
    pictures = [base64.b64decode(str(image["src"]).partition(",")[2]).decode() for image in example.of("img")]

    assert len(pictures) == len(PICTURES)
    assert [re.findall(r'(?:href|src)="(?!#)|url\((?!#)|<script', picture) for picture in pictures] == [[]] * len(
        PICTURES
    )


def test_a_page_is_well_formed(example: Page) -> None:
    """Every element of the page is closed, in order."""
    assert example.open == []


def test_a_page_says_its_language_and_title(example: Page) -> None:
    """The page has a language, a title, and one heading of the first order, which is the finding."""
    assert example.of("html") == [{"lang": "en"}]
    assert example.headings.count("h1") == 1
    assert "Postmortem: 1,088 families could not start a chat; now none is blocked" in example.text


@pytest.mark.parametrize("made", FORMS)
def test_no_heading_is_left_out(made: Any) -> None:
    """No heading is more than one order below the one before it."""
    orders = [int(tag[1]) for tag in made(paths.EXAMPLE_RUN).headings]

    assert [pair for pair in itertools.pairwise(orders) if pair[1] > pair[0] + 1] == []


def test_contents_lead_to_every_section(example: Page) -> None:
    """The table of contents has a link to each section, in the order in which they stand."""
    linked = [link["href"] for link in example.of("a")]

    assert linked == [f"#{heading['id']}" for heading in example.of("h2")]
    assert linked == [f"#{section.name}" for section in read(paths.EXAMPLE_RUN).sections]


def test_ids_are_apart(tmp_path: Path) -> None:
    """No two elements of a page share an id, also where two runs are of one environment."""
    one, two = (kept(tmp_path, {}, name) for name in ("one", "two"))
    ids = [attributes["id"] for _, attributes in page(one, two).elements if "id" in attributes]

    assert len(ids) == len(set(ids))


BACK = f"{EXAMPLE['recovery']['recovered']:,}"


@pytest.mark.parametrize("made", FORMS)
def test_every_picture_has_a_text(made: Any) -> None:
    """Each chart has a text in its place, with its numbers."""
    texts = [image["alt"] for image in made(paths.EXAMPLE_RUN).of("img")]

    assert texts == [
        "1,088 families could not start a chat; now none is blocked. Families blocked for chat: 1,088 before, 0 after. "
        "Families blocked for run: 168 before, 0 after.",
        f"1,029 of 1,088 families were blocked at once, on 2025-09-22. demo: 1,029 at 2025-09-22 06:00:00, 1,084 at "
        f"last (4 more of unknown since); ended {squeezed(EXAMPLE['incident_ended_at'][:-1].replace('T', ' '))}, "
        "0 after. Rejected inserts in the servers' logs: 1,340.",
        "1,057 of 1,088 families are blocked for chat by a thread of run, openai. run, openai: 1,057 families kept "
        "from a chat. run, no provider: 14 families blocked for chat. eval, openai: 7 families blocked for chat. run, "
        "anthropic: 6 families blocked for chat. run, manus: 4 families blocked for chat. chat, openai: 161 families "
        "blocked for run. eval, openai: 7 families blocked for run.",
        f"{BACK} families of 1,088 that were blocked have a chat again. demo: {BACK} of 1,088.",
        texts[4],  # of the claims, which has its own tests
        "What the fix leaves: 65 provider conflicts, 159 active threads without an owner. Of 1,408 active threads.",
    ]


@pytest.mark.parametrize("made", FORMS)
def test_the_table_stands_behind_each_picture(made: Any) -> None:
    """Each chart is followed by the table that it was drawn from."""
    found = made(paths.EXAMPLE_RUN)
    tags = [tag for tag, _ in found.elements if tag in ("img", "table", "h2")]
    followers = [tags[place + 1] for place, tag in enumerate(tags) if tag == "img"]

    assert followers == ["table"] * len(PICTURES)


# Files


def test_the_same_records_are_the_same_bytes(written: tuple[Path, list[Path]], tmp_path: Path) -> None:
    """A report that is written twice is the same bytes, in each of its files."""
    read(paths.EXAMPLE_RUN).write(tmp_path / "my post.html")
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
from incident_lib.report import forms
print(forms.render_html(report.read([Path(sys.argv[1])], Path(sys.argv[2]))), end="")
"""


@pytest.mark.slow
def test_another_process_makes_the_same_bytes() -> None:
    """The bytes depend on no process: not on how it hashes texts, nor on its language or time zone."""
    made = []
    for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo")):
        environ = {"PYTHONHASHSEED": seed, "TZ": zone, "PYTHONPATH": str(paths.ROOT / "src"), "PATH": "/usr/bin:/bin"}
        command = [sys.executable, "-c", _REPORT, str(paths.EXAMPLE_RUN), str(UNWRITTEN)]
        made.append(subprocess.run(command, capture_output=True, check=True, env=environ).stdout)

    assert made[0] == made[1]


def test_write_names_its_files(written: tuple[Path, list[Path]]) -> None:
    """Writing a report returns the page, the Markdown beside it, and the folder of its charts."""
    folder, names = written

    assert names == [folder / "my post.html", folder / "my post.md", folder / "my post"]
    assert sorted(file.name for file in names[2].iterdir()) == sorted(f"{name}.svg" for name in PICTURES)


def test_markdown_shows_the_charts_beside_it(written: tuple[Path, list[Path]]) -> None:
    """The Markdown's pictures are files of the folder beside it, each with its text."""
    folder, _ = written
    markdown = (folder / "my post.md").read_text("utf-8")

    assert re.findall(r"!\[[^\]]{40,}\]\(([^)]*)\)", markdown) == [f"my%20post/{name}.svg" for name in PICTURES]
    assert all((folder / "my post" / f"{name}.svg").exists() for name in PICTURES)


def test_write_where_nothing_can_be_written_is_a_message(tmp_path: Path) -> None:
    """Where the report cannot be written, an error with a message says so."""
    (tmp_path / "file").touch()
    with pytest.raises(Failed):
        read(paths.EXAMPLE_RUN).write(tmp_path / "file" / "post.html")


def test_a_hostile_environment_leads_nowhere_else(tmp_path: Path) -> None:
    """A record whose environment is a path, as no run makes it, writes nothing outside the report's own folder."""
    folder = kept(tmp_path, {"environment": "../../outside", **NOTHING_SEEN, "blocked_by": None, "recovery": GONE})
    out = tmp_path / "reports" / "postmortem.html"
    read(folder).write(out)

    assert {file.relative_to(tmp_path).parts[0] for file in tmp_path.rglob("*")} == {"run", "reports"}


@pytest.mark.filterwarnings("error")
def test_a_report_over_nothing_draws_nothing() -> None:
    """Without a run there is a page, and no chart that has nothing to show."""
    assert page().of("img") == []


def test_every_form_has_the_same_words() -> None:
    """Page and wiki show the same cells, in the same order; the page's head is no table."""
    in_page, in_wiki = (made(paths.EXAMPLE_RUN).cells for made in FORMS)

    assert in_page == in_wiki[2 + 2 * len(read(paths.EXAMPLE_RUN).facts) :]


# PDF


@pytest.mark.slow
def test_a_pdf_is_written(tmp_path: Path) -> None:
    """If wanted, a PDF lies beside the page, with the finding as its title."""
    try:
        import weasyprint  # noqa: F401
    except (ImportError, OSError) as error:
        pytest.skip(f"WeasyPrint cannot be loaded: {error}")
    written = read(paths.EXAMPLE_RUN).write(tmp_path / "post.html", pdf=True)

    assert written[-1] == tmp_path / "post.pdf"
    assert (tmp_path / "post.pdf").read_bytes().startswith(b"%PDF-")


@pytest.mark.parametrize("raised", [ImportError, OSError])
def test_a_pdf_without_its_package_is_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: type[Exception]
) -> None:
    """Where WeasyPrint, or what it draws with, is missing, a message says what to install; nothing is written."""

    class Missing:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "weasyprint":
                raise raised(name)

    monkeypatch.delitem(sys.modules, "weasyprint", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(UsageError) as refused:
        read(paths.EXAMPLE_RUN).write(tmp_path / "post.html", pdf=True)

    assert str(refused.value) == (
        "A PDF needs the extra `pdf`.\n"
        "  why:  WeasyPrint, or the library Pango that it draws with, is not installed.\n"
        "  next: pip install -e '.[pdf]', and Pango from your system's packages; or print the HTML from a browser."
    )
    assert list(tmp_path.iterdir()) == []
