"""The report in a real browser: no requests, no script; readable on all screens, with the keyboard and on paper."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import matplotlib.image
import nbformat
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

from incident_lib import paths
from incident_lib.model import UsageError
from incident_lib.report import render
from incident_lib.report.postmortem import read_runs
from incident_lib.report.style import BEFORE, INK, ON_DARK, TEXT
from tests.support import crafted
from tests.support.browser import CHROMIUM, QUIET
from tests.support.examples import SOAK
from tests.support.reports import NO_AFTER, ended_run, run_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: no command `chromium`"),
]
printed = pytest.mark.skipif(shutil.which("pdftotext") is None, reason="Poppler is not installed: no `pdftotext`")
# A page with 10,000 characters in every field takes seconds to render.
ENDLESS = "endless"

WIDE, TABLET, NARROW = 1280, 800, 360
REPORTS = ("demo", "several", "fleet", "hostile")
FLEETS = {"fleet": 50, "a small fleet": 8}  # eight have every way that a run may end
SCHEMES = ("light", "dark")
INKS = {"light": INK, "dark": ON_DARK[INK]}  # of the text in charts
MARKS = {"light": BEFORE, "dark": ON_DARK[BEFORE]}  # of most bars and lines
SHEET = 658, 986  # pixels of A4 between the page's margins
MOST_BYTES = 5_000_000

# Records the effects of hostile text, and violations of the page's own policy.
WATCHED = """
window.noted = [];
for (const name of ["alert", "confirm", "prompt", "open", "fetch"]) window[name] = () => window.noted.push(name);
document.addEventListener("securitypolicyviolation", event => window.noted.push(event.violatedDirective));
"""
UNFOLDED = "document.querySelectorAll('details').forEach(each => { each.open = true })"
# A chart has a picture for each width and each scheme: it is there once it is decoded.
FROM_THE_TOP = """async unfolded => {
  document.querySelectorAll('details').forEach(each => { each.open = unfolded })
  window.scrollTo({top: 0, behavior: 'instant'})
  await new Promise(requestAnimationFrame)
  await Promise.all([...document.images].map(each => each.decode()))
}"""
# Evaluated in a page with all disclosures open; the page itself has no script.
ANSWERS = """() => {
  const all = found => [...document.querySelectorAll(found)]
  return {
    noted: window.noted,
    ids: all('[id]').map(each => each.id),
    anchors: all('a[href^="#"]').map(each => each.hash.slice(1)),
    levels: all('h1, h2, h3, h4, h5, h6').map(each => Number(each.tagName[1])),
    pictures: all('img').map(each => [each.naturalWidth > 0, each.alt.length > 40]),
    acting: all('script, iframe, object, embed, form, svg, link, base, body style').map(each => each.tagName).concat(
      all('*').flatMap(each => [...each.attributes]).map(each => `${each.name}=${each.value}`)
        .filter(each => /^(on|style=)|^[^=]*=\\s*javascript:|^src(set)?=(?!data:image.svg.xml;base64,)/.test(each))),
  }
}"""
# Words of the report whose first letter is not to the left of their last one.
TURNED = r"""() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = []
  const place = (node, at) => {
    const range = document.createRange()
    range.setStart(node, at)
    range.setEnd(node, at + 1)
    return range.getBoundingClientRect()
  }
  while (walker.nextNode()) {
    const node = walker.currentNode
    for (const word of node.data.matchAll(/families|stands|succeeded|FAILED/g)) {
      const [first, last] = [0, word[0].length - 1].map(step => place(node, word.index + step))
      if (first.width && first.top === last.top && first.left > last.left) found.push(node.data)
    }
  }
  return found
}"""
# The texts of the disclosures, cell by cell: a PDF does not have to keep the order of the cells.
FOLDED = """() => [...document.querySelectorAll('details')].flatMap(details => {
  const walker = document.createTreeWalker(details, NodeFilter.SHOW_TEXT), found = []
  while (walker.nextNode()) found.push(walker.currentNode.data)
  return found
})"""
TABLES = r"""() => [...document.querySelectorAll('table')].map(table =>
  [...table.rows].map(row => [...row.cells].map(cell => cell.textContent.replace(/\s+/g, ' ').trim())))"""


@dataclass(frozen=True)
class Shown:
    """A page, and its requests and console output up to now, in both colour schemes."""

    page: Page
    asked: list[str]
    said: list[str]


@dataclass(frozen=True)
class Walk:
    """A page after a walk with the keyboard, and the numbers of the elements with focus, in order."""

    page: Page
    reached: list[str | None]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield started
        started.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The file of a report, by its name; each is written once."""

    @cache
    def file(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        text = TEXTS.get(name)
        notes = crafted.hostile_notes(folder, text) if text else None
        made = folder / "postmortem.html"
        made.write_text(render.render_html(read_runs(_runs(name, folder), notes)), "utf-8")
        return made

    return file


TEXTS = {"hostile": crafted.hostile_text(), "endless": crafted.hostile_text(10_000), "turned": crafted.TURNED}


def _runs(name: str, folder: Path) -> list[Path]:
    """The folders of the runs of a report."""
    if name in TEXTS:
        return crafted.hostile(folder, TEXTS[name])
    if name in FLEETS:
        return crafted.fleet(folder, FLEETS[name])
    return {
        "demo": lambda: [paths.EXAMPLE_RUN],
        "failed": lambda: [crafted.failed(folder)],
        "never": lambda: [ended_run(folder, "dry-run", "prod", **NO_AFTER)],
        "refused": lambda: [run_folder(folder, {}, "dev"), crafted.failed(folder), crafted.refused(folder)],
        "several": lambda: [paths.EXAMPLE_RUN, crafted.failed(folder), crafted.run_without_snapshot(folder)],
    }[name]()


@contextmanager
def opened(browser: Browser, file: Path, *, width: int = WIDE, scheme: str = "light", **options: Any) -> Iterator[Page]:
    """A page of the browser with a file, in its own context."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
    page = context.new_page()
    page.goto(file.as_uri())
    yield page
    context.close()


@pytest.fixture(scope="module")
def shown(browser: Browser, written: Callable[[str], Path]) -> Iterator[Callable[[str], Shown]]:
    """A report's page, by its name, for tests that change nothing in it; each is opened once, as that takes seconds."""
    contexts = []

    @cache
    def one(name: str) -> Shown:
        contexts.append(browser.new_context())
        contexts[-1].add_init_script(WATCHED)
        page = contexts[-1].new_page()
        asked, said = _listened(page)
        page.goto(written(name).as_uri())
        page.emulate_media(color_scheme="dark")
        page.evaluate(UNFOLDED)
        return Shown(page, asked, said)

    yield one
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def look(shown: Callable[[str], Shown]) -> Callable[..., Page]:
    """A report's page as it is after it was opened with such a screen; by default folded, and in the light scheme."""

    def at(name: str, width: int = WIDE, height: int = 900, *, scheme: str = "light", unfolded: bool = False) -> Page:
        page = shown(name).page
        page.emulate_media(media="screen", color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": height})
        page.evaluate(FROM_THE_TOP, unfolded)
        return page

    return at


@pytest.fixture(scope="module")
def answers(look: Callable[..., Page]) -> Callable[[str], dict[str, Any]]:
    """The result of `ANSWERS` for a report, by its name."""
    return cache(lambda name: look(name, unfolded=True).evaluate(ANSWERS))


def _listened(page: Page) -> tuple[list[str], list[str]]:
    """The page's requests from now on, without its own data, and its console output."""
    asked, said = list[str](), list[str]()
    page.on("request", lambda request: request.url.startswith("data:") or asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    return asked, said


@pytest.mark.parametrize("name", [*REPORTS, ENDLESS])
def test_a_page_makes_no_requests(shown, written, name):
    """A page requests no address except its own, in neither colour scheme."""
    assert shown(name).asked == [written(name).as_uri()]


@pytest.mark.parametrize("name", [*REPORTS, ENDLESS])
def test_a_page_has_no_console_output(shown, name):
    """The console has no message, and the page violates no rule of its own policy, in neither colour scheme."""
    assert shown(name).said == []


@pytest.mark.parametrize("name", ["hostile", ENDLESS])
def test_hostile_text_has_no_effect(answers, name):
    """A hostile text opens no dialog, runs no script and makes no request."""
    assert answers(name)["noted"] == []


@pytest.mark.parametrize("name", ["hostile", ENDLESS])
def test_hostile_text_adds_no_active_element(answers, name):
    """A hostile text adds no active element or attribute, and no link that runs a script."""
    assert answers(name)["acting"] == []


def test_direction_marks_do_not_change_other_text(look):
    """After a text with right-to-left marks, the words of the report are still left to right."""
    page = look("turned")
    assert page.evaluate(TURNED) == []


@pytest.mark.parametrize("name", [*REPORTS, ENDLESS])
def test_a_narrow_screen_is_not_scrolled_sideways(look, name):
    """On a screen of 360 pixels nothing is wider than the screen."""
    page = look(name, NARROW, unfolded=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW


def test_a_chart_can_be_read_on_a_narrow_screen(look):
    """On a screen of 360 pixels a chart is drawn for it, and fits into it: its narrow picture, not the wide one."""
    page = look("demo", NARROW)
    widths = page.evaluate("[...document.images].map(image => [image.clientWidth, image.naturalWidth])")

    assert widths
    assert [pair for pair in widths if pair[0] > NARROW or pair[1] > NARROW] == []


@pytest.mark.parametrize("width", [WIDE, 1024, 768, 721, 719, 480, NARROW])
@pytest.mark.parametrize("name", REPORTS)
def test_the_text_of_a_chart_is_as_large_as_that_of_the_page(look, name, width):
    """On any screen a chart is shown in its full size, in which its text is that of the page, or larger."""
    page = look(name, width, unfolded=True)
    shares = page.evaluate("[...document.images].map(image => image.clientWidth / image.naturalWidth)")
    sizes = page.evaluate("[...document.querySelectorAll('p')].map(p => parseFloat(getComputedStyle(p).fontSize))")

    assert shares
    assert [share for share in shares if share * TEXT * 96 / 72 < max(sizes)] == []


@pytest.mark.parametrize("name", REPORTS)
def test_every_chart_is_drawn_and_described(answers, name):
    """Each picture is rendered and has an alternative text."""
    pictures = answers(name)["pictures"]

    assert len(pictures) >= 4
    assert [picture for picture in pictures if picture != [True, True]] == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_chart_has_the_colours_of_its_scheme(look, scheme):
    """The text, bars and lines of each chart are light on a dark page, and dark on a light page."""
    other = next(each for each in SCHEMES if each != scheme)
    page = look("demo", scheme=scheme)
    pictures = [_pixels(image.screenshot()) for image in page.locator("img").all()]

    assert len(pictures) >= 4
    for colours, least in ((INKS, 100), (MARKS, 50)):
        counts = [(_count(picture, colours[scheme]) > least, _count(picture, colours[other])) for picture in pictures]
        assert counts == [(True, 0)] * len(pictures)


def _pixels(png: bytes) -> np.ndarray:
    return (matplotlib.image.imread(io.BytesIO(png))[:, :, :3] * 255).round().astype(int)


def _count(picture: np.ndarray, colour: str) -> int:
    return int((picture == tuple(bytes.fromhex(colour[1:]))).all(axis=2).sum())


@pytest.mark.parametrize("name", REPORTS)
def test_every_anchor_has_a_target(answers, name):
    """Each link within the page has a target on the page."""
    found = answers(name)

    assert [anchor for anchor in found["anchors"] if anchor not in found["ids"]] == []


@pytest.mark.parametrize("name", REPORTS)
def test_ids_are_unique(answers, name):
    """Element ids are unique."""
    ids = answers(name)["ids"]

    assert sorted(ids) == sorted(set(ids))


@pytest.mark.parametrize("name", REPORTS)
def test_no_heading_level_is_skipped(answers, name):
    """There is one h1, it is the first heading, and no heading level is skipped."""
    levels = answers(name)["levels"]

    assert [levels[0], levels.count(1)] == [1, 1]
    assert [(above, level) for above, level in pairwise(levels) if level > above + 1] == []


def test_the_contents_name_each_section(look):
    """The table of contents has the heading and address of each section, in order."""
    page = look("demo")
    contents = [(link.inner_text(), link.get_attribute("href")) for link in page.locator("nav a").all()]
    headings = [(each.inner_text(), f"#{each.get_attribute('id')}") for each in page.locator("h2").all()]

    assert contents == headings


def test_the_contents_scroll_to_a_section(browser, written):
    """A click on a line of the contents scrolls to the heading of its section."""
    with opened(browser, written("demo")) as page:
        heading = page.locator("h2", has_text="Action items")
        expect(heading).not_to_be_in_viewport()
        page.locator("nav").get_by_text("Action items").click()

        expect(heading).to_be_in_viewport()


def test_the_first_screen_has_the_numbers_and_the_chart(look):
    """On a screen of 1280 by 800 the title, the four cards, the story, the terms and the chart need no scrolling."""
    page = look("demo", height=800)
    ends = page.evaluate(
        "[...document.querySelectorAll('h1, .cards li, header .prose, #summary ~ p, header figure img')]"
        ".map(each => each.getBoundingClientRect().bottom)"
    )

    assert len(ends) == 9
    assert max(ends) < 800


@pytest.mark.parametrize(("width", "height"), [(NARROW, 800), (WIDE, 800)])
@pytest.mark.parametrize("name", ["demo", "refused", "several"])
def test_the_first_screen_has_the_title_the_cards_and_the_begin_of_the_story(look, name, width, height):
    """Also on a phone the title, the four cards and the first sentence of the story need no scrolling."""
    page = look(name, width)
    ends = page.evaluate("[...document.querySelectorAll('h1, .cards li')].map(e => e.getBoundingClientRect().bottom)")
    story = page.evaluate("document.querySelector('#summary ~ *').getBoundingClientRect().top")

    assert len(ends) == 5
    assert max(ends) < height
    assert story + 3 * 26 < height


@pytest.mark.parametrize("name", ["demo", "fleet"])
def test_on_a_tablet_a_caption_stands_beside_its_chart(look, name):
    """On a screen of 800 pixels a narrow chart has its caption beside it, and nothing is wider than the screen."""
    page = look(name, TABLET)
    sides = page.evaluate(
        "[...document.querySelectorAll('figure')].map(each => [each.querySelector('img'),"
        " each.querySelector('figcaption')].map(part => part.getBoundingClientRect()))"
        ".map(([chart, caption]) => [chart.right, caption.left])"
    )
    width = page.evaluate("document.documentElement.scrollWidth")

    assert sides
    assert [pair for pair in sides if pair[0] > pair[1]] == []
    assert width <= TABLET


def test_a_chart_is_as_wide_as_the_text_on_a_wide_screen(look):
    """On a screen of 1280 pixels a chart begins and ends where the text beside it does."""
    page = look("demo")
    sides = "e => { const box = e.getBoundingClientRect(); return [box.left, box.right].map(Math.round) }"
    charts = page.evaluate(f"[...document.querySelectorAll('figure img')].map({sides})")
    text = page.evaluate(f"({sides})(document.querySelector('main section'))")

    assert charts == [text] * len(charts)


def test_no_table_of_the_demo_is_cut_on_a_wide_screen(look):
    """On a screen of 1280 pixels every column of every table is seen, also with all disclosures open."""
    page = look("demo", unfolded=True)
    cut = page.evaluate(
        "[...document.querySelectorAll('.wide')].filter(each => each.scrollWidth > each.clientWidth)"
        ".map(each => each.getAttribute('aria-label'))"
    )

    assert cut == []


def test_the_contents_stay_in_view(look):
    """On a wide screen the contents are still in view at the end of the page."""
    page = look("demo")
    page.evaluate("window.scrollTo(0, document.body.scrollHeight / 2)")

    expect(page.locator("nav")).to_be_in_viewport()


@pytest.mark.parametrize(("name", "most"), [("demo", 17_000), ("several", 17_500), ("fleet", 20_000)])
def test_a_phone_has_a_short_page(look, name, most):
    """On a phone a page with its details folded is no longer than that of the demo; with fifty environments a bit."""
    page = look(name, NARROW)
    assert page.evaluate("document.documentElement.scrollHeight") < most


def test_the_rows_of_a_table_of_texts_are_cards_on_a_phone(look):
    """On a phone each row of a table without numbers is a card as wide as the screen, its cells below each other."""
    page = look("fleet", NARROW)
    rows = page.locator("#timeline ~ div tbody tr").all()
    cells = [[cell.bounding_box() for cell in row.locator("th, td").all()] for row in rows]

    assert len(cells) > 5
    for boxes in cells:
        assert len({box["x"] for box in boxes}) == 1
        assert all(above["y"] + above["height"] <= below["y"] + 1 for above, below in pairwise(boxes))
        assert max(box["x"] + box["width"] for box in boxes) <= NARROW


def test_reduced_motion_disables_smooth_scrolling(browser, written):
    """With reduced motion, a link to a section scrolls at once."""
    with opened(browser, written("demo"), reduced_motion="reduce") as page:
        assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"


@pytest.fixture(scope="module", params=["several", *(["demo"] if SOAK else [])])  # the demo's run is one of them
def walk(request: pytest.FixtureRequest, browser: Browser, written: Callable[[str], Path]) -> Iterator[Walk]:
    """A walk through a page with Tab and Enter: the elements that had focus, and the page afterwards."""
    with opened(browser, written(request.param)) as page:
        page.evaluate("document.querySelectorAll('a, summary, .wide').forEach((each, n) => { each.dataset.n = n })")
        here = "[document.activeElement.dataset.n, document.activeElement.matches('details:not([open]) > summary')]"
        reached = []
        for _ in range(page.locator("[data-n]").count()):
            page.keyboard.press("Tab")
            number, folded = page.evaluate(here)
            reached.append(number)
            if folded:
                page.keyboard.press("Enter")
        yield Walk(page, reached)


def test_the_keyboard_reaches_every_element(walk):
    """Tab moves the focus to each link, disclosure and scrollable table, in order."""
    assert walk.reached == [str(number) for number in range(len(walk.reached))]


def test_the_keyboard_opens_every_disclosure(walk):
    """Enter opens each disclosure, including nested ones."""
    assert walk.page.locator("details").count() > 5
    assert walk.page.locator("details:not([open]) > summary").all_inner_texts() == []


@pytest.mark.parametrize(
    ("name", "scheme", "width"),
    [
        *(("demo", "light", WIDE), ("demo", "light", NARROW), ("demo", "dark", WIDE), ("failed", "dark", NARROW)),
        *(("several", "light", NARROW), ("never", "light", WIDE), ("refused", "dark", WIDE)),
        ("a small fleet", "dark", NARROW),
        # Each report has had one scheme and one width, and the demo the others.
        *((("several", "dark", WIDE), ("fleet", "light", WIDE), ("demo", "dark", TABLET)) if SOAK else ()),
        *((("never", "dark", NARROW), ("refused", "light", NARROW), ("fleet", "dark", NARROW)) if SOAK else ()),
    ],
)
def test_axe_finds_nothing_serious(browser, written, name, scheme, width):
    """axe-core finds no serious violation, with all disclosures open except on the page of many environments."""
    with opened(browser, written(name), width=width, scheme=scheme, bypass_csp=True) as page:
        if name not in FLEETS:
            page.evaluate(UNFOLDED)
        violations = Axe().run(page).response["violations"]

    serious = [rule for rule in violations if rule["impact"] in ("serious", "critical")]
    assert [(rule["id"], node["target"], node["failureSummary"]) for rule in serious for node in rule["nodes"]] == []


def test_without_scripts_a_page_has_the_same_text(browser, written):
    """Without JavaScript a page shows the same text."""
    texts = []
    for scripts in (True, False):
        with opened(browser, written("several"), java_script_enabled=scripts) as page:
            texts.append(page.locator("body").inner_text())

    assert texts[0] == texts[1]
    assert "What is hidden or unknown" in texts[1]


@pytest.mark.parametrize("by", ["a click", "the keyboard"])
def test_without_scripts_a_disclosure_opens(browser, written, by):
    """Without JavaScript a disclosure can be opened."""
    with opened(browser, written("demo"), java_script_enabled=False) as page:
        text = page.get_by_text("no row is hidden from this role")
        expect(text).to_be_hidden()
        fold = page.locator("summary", has_text="Preflight")
        fold.click() if by == "a click" else fold.press("Enter")

        expect(text).to_be_visible()


def _by_browser(browser: Browser, file: Path, out: Path, scheme: str = "light", *, appendix: bool = False) -> Path:
    """A report printed by the browser."""
    if appendix:
        file = out.with_suffix(".html")
        file.write_text(render.render_html(read_runs([paths.EXAMPLE_RUN]), appendix=True), "utf-8")
    with opened(browser, file, scheme=scheme) as page:
        page.pdf(path=out, format="A4")
    return out


def _by_weasyprint(browser: Browser, file: Path, out: Path, *, appendix: bool = False) -> Path:
    """The PDF that the report command writes for the same runs."""
    post = read_runs([paths.EXAMPLE_RUN])
    try:
        return render.write_report(post, out.with_suffix(".html"), pdf=True, appendix=appendix)[-1]
    except UsageError as error:
        pytest.skip(str(error))


@printed
@pytest.mark.parametrize("printer", [_by_browser, _by_weasyprint])
def test_with_the_appendix_disclosures_are_printed_open(browser, written, tmp_path, printer):
    """With --appendix, each word of each disclosure is in the PDF, although none was opened."""
    with opened(browser, written("demo")) as page:
        folded = " ".join(page.evaluate(FOLDED))
    file = printer(browser, written("demo"), tmp_path / "paper.pdf", appendix=True)
    text = subprocess.run(["pdftotext", "-raw", file, "-"], capture_output=True, check=True).stdout.decode()
    paper = "".join(text.split())  # on paper lines break at other places, also within a word

    assert "norowishiddenfromthisrole" in paper
    assert [word for word in folded.split() if word not in paper] == []


@printed
@pytest.mark.parametrize("printer", [_by_browser, _by_weasyprint])
def test_the_demo_is_printed_on_six_pages(browser, written, tmp_path, printer):
    """Without --appendix, the demo's report has at most six pages, and none of its appendix."""
    file = printer(browser, written("demo"), tmp_path / "paper.pdf")
    text = subprocess.run(["pdftotext", "-raw", file, "-"], capture_output=True, check=True).stdout.decode()

    assert text.count("\f") <= 6
    assert "Appendix" not in text


@printed
def test_the_dark_scheme_is_printed_like_the_light_one(browser, written, tmp_path):
    """A page in the dark scheme is printed like one in the light scheme."""
    pages = []
    for scheme in SCHEMES:
        file = _by_browser(browser, written("demo"), tmp_path / f"{scheme}.pdf", scheme)
        pages.append(subprocess.run(["pdftoppm", "-r", "20", file], capture_output=True, check=True).stdout)

    assert pages[0] == pages[1]


def test_a_chart_fits_on_a_printed_page(look):
    """No chart of many environments is taller than a printed page."""
    page = look("fleet", SHEET[0])
    page.emulate_media(media="print")
    heights = page.evaluate("[...document.images].map(image => image.clientHeight)")

    assert [height for height in heights if height > SHEET[1]] == []


def test_fifty_environments_are_small(written):
    """The page of fifty environments has less than five megabytes."""
    assert written("fleet").stat().st_size < MOST_BYTES


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The HTML that nbconvert makes from the postmortem notebook with its committed outputs."""
    from nbconvert import HTMLExporter

    made = tmp_path_factory.mktemp("notebook") / "03_postmortem.html"
    source = nbformat.read(paths.NOTEBOOKS / "03_postmortem.ipynb", as_version=4)
    made.write_text(HTMLExporter(template_name="lab").from_notebook_node(source)[0], "utf-8")
    return made


def test_the_notebook_has_the_tables_of_the_report(browser, written, notebook):
    """The notebook's tables equal those of the page over the same record, cell by cell."""
    tables = []
    for file in (notebook, written("demo")):
        with opened(browser, file, offline=True) as page:
            tables.append(page.evaluate(TABLES))

    assert len(tables[1]) > 10
    assert tables[0] == tables[1]


def test_the_notebook_has_no_console_output(browser, notebook):
    """The notebook's page has no requests except those of nbconvert's template, and no console output."""
    context = browser.new_context()
    context.route(re.compile("^https?:"), lambda route: route.fulfill(body="", content_type="text/javascript"))
    page = context.new_page()
    asked, said = _listened(page)
    page.goto(notebook.as_uri())
    context.close()

    theirs = re.compile(r"https://cdnjs\.cloudflare\.com/ajax/libs/(require\.js|mathjax)/")
    assert [address for address in asked if not theirs.match(address)] == [notebook.as_uri()]
    assert said == []
