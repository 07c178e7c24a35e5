"""The look that all charts share: a title that is told, no paper of its own, colours and words that can be read."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

import pytest
from matplotlib.colors import to_hex

from incident_lib import paths
from incident_lib.report import charts, history_chart
from incident_lib.report.chart import AFTER, BEFORE, FAINT, INK
from incident_lib.report.claim_chart import write_latency
from incident_lib.report.recovery_chart import recovery_chart
from tests.support.reports import EXAMPLE, kind, looked, squeezed

CLAIMS = json.loads((paths.EXAMPLE_RUN / "claims.json").read_text("utf-8"))
BEGUN = datetime(2025, 9, 22, 6, tzinfo=UTC)
ROWS = [
    charts.Compared("demo", "", looked(1088), looked(0, 0)),
    charts.Compared("staging", "dry run", looked(7, 5), None),
    charts.Compared("prod", "FAILED", looked(7, 5), looked(2, None)),
    charts.Compared("away", "KILLED", None, None),
]
KINDS = [kind("run", 161, "chat"), kind("chat", 7, "eval", None), kind("chat", 1057), kind("chat", 1, None, "manus")]
ALL = {
    "before-after": charts.before_after(looked(1088), looked(0, 0)),
    "compared": charts.compared(ROWS, "A finding"),
    "blockers": charts.blockers(KINDS),
    "left": charts.left_behind(looked(0)),
    "over-time": history_chart.over_time(
        [history_chart.Line("demo", ((BEGUN, 10), (BEGUN + timedelta(3), 12)), BEGUN + timedelta(9), 0, 12)], []
    ),
    "recovered": recovery_chart([("demo", EXAMPLE["recovery"]), ("prod", EXAMPLE["recovery"])]),
    "claims": write_latency(CLAIMS),
}


@pytest.mark.parametrize("name", ALL)
def test_every_number_that_is_drawn_is_in_the_text(name: str) -> None:
    """Each number beside a bar or a mark stands in the text in place of the picture, too."""
    chart = ALL[name]
    texts = [text.get_text() for text in chart.figure().axes[0].texts]
    drawn = {number for text in texts if "left out" not in text for number in re.findall(r"\d[\d,]*", text)}

    assert drawn
    assert drawn - set(re.findall(r"\d[\d,]*\d|\d", chart.alt)) == set()


@pytest.mark.parametrize("name", ALL)
def test_a_title_begins_the_text(name: str) -> None:
    """The text in place of a picture begins with its conclusion, which stands above the picture, too."""
    chart = ALL[name]

    assert chart.alt.startswith(f"{chart.title}. ")
    assert squeezed(chart.figure()._suptitle.get_text()) == chart.title


def _painted(svg: str) -> list[tuple[str, float, float]]:
    """The areas of an SVG that are filled: their colour, and their width and height as shares of the picture's."""
    root = ET.fromstring(svg)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    found = []
    for path in root.iter("{http://www.w3.org/2000/svg}path"):
        places = [tuple(map(float, pair)) for pair in re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", path.get("d", ""))]
        colour = re.search(r"fill: (#\w+)", path.get("style", ""))
        if colour and len(places) > 2:
            (left, right), (top, bottom) = ((min(side), max(side)) for side in zip(*places, strict=True))
            found.append((colour[1], (right - left) / width, (bottom - top) / height))
    return found


@pytest.mark.parametrize("name", ALL)
def test_a_themed_picture_has_no_paper(name: str) -> None:
    """A picture that follows its reader's scheme covers nothing behind it; one for a file of its own lies on white."""
    papers = {themed: _papers(ALL[name].svg(themed=themed)) for themed in (True, False)}

    assert papers == {True: [], False: ["#ffffff"]}


def _papers(svg: str) -> list[str]:
    return [colour for colour, width, height in _painted(svg) if width > 0.9 and height > 0.9]


@pytest.mark.parametrize("name", ALL)
def test_a_themed_picture_is_dark_where_its_reader_is(name: str) -> None:
    """A themed picture has the dark scheme's ink for each of its texts and lines; another has no scheme."""
    svg = ALL[name].svg(themed=True)
    rules = re.findall(r'\[style\*="(fill|stroke): (#\w+)"\] \{ \1: (#\w+) !important \}', svg)

    assert svg.count("@media (prefers-color-scheme: dark)") == 1
    assert {(use, ink) for use, ink, _ in rules} >= {(use, ink) for use in ("fill", "stroke") for ink in (INK, FAINT)}
    assert f'style="fill: {INK}"' in svg
    assert "prefers-color-scheme" not in ALL[name].svg()


@pytest.mark.parametrize("name", ALL)
def test_no_text_is_black(name: str) -> None:
    """Each text of a themed picture has an ink that the dark scheme knows; none would be lost on dark paper."""
    texts = ET.fromstring(ALL[name].svg(themed=True)).iter("{http://www.w3.org/2000/svg}g")
    inks = {g.get("style", "") for g in texts if (g.get("id") or "").startswith("text_") for g in g if g.get("style")}

    assert inks <= {f"fill: {INK}", f"fill: {FAINT}"}


def test_no_mark_is_painted_over_the_paper() -> None:
    """An open mark is as the paper is: no white spot where its reader's scheme is dark."""
    svg = ALL["compared"].svg(themed=True)

    assert 'style="fill: #ffffff' not in svg or '[style*="fill: #ffffff"]' in svg


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_lost_on_dark_paper(name: str) -> None:
    """But for the inks that the dark scheme turns, nothing is as dark as dark paper, or light behind light letters."""
    drawn = " ".join(re.findall(r'style="([^"]*)"', ALL[name].svg(themed=True)))
    colours = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", drawn)) - {INK, FAINT}

    assert {colour for colour in colours if not 15 < lightness(colour) < 85} == set()


def lightness(colour: str) -> float:
    """How light a colour is, from 0 to 100 (CIE L*): all that is left of it in grey."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    luminance = sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance


def test_before_and_after_differ_in_grey() -> None:
    """The bars of before and after differ by more than a tenth of all lightness, and both from the paper."""
    assert abs(lightness(BEFORE) - lightness(AFTER)) > 10
    assert [colour for colour in (BEFORE, AFTER, FAINT, INK) if lightness(colour) > 90] == []


def test_chat_and_run_differ_in_grey() -> None:
    """The bars of chat and of run, where they stand in one picture, differ in grey, too."""
    colours = {to_hex(bar.get_facecolor()) for bar in ALL["blockers"].figure().axes[0].patches}
    light, dark = sorted(map(lightness, colours))

    assert dark - light > 10


@pytest.mark.parametrize("colour", [INK, FAINT])
def test_text_can_be_read(colour: str) -> None:
    """Each ink has the contrast to white paper that WCAG asks of small text: 4.5."""
    luminance = ((lightness(colour) + 16) / 116) ** 3

    assert 1.05 / (luminance + 0.05) >= 4.5


LONG = charts.Compared("a-name-of-forty-characters-in-production", "FAILED", looked(123_456_789), None)
WIDE = {
    **ALL,
    "a long name": charts.compared([LONG, LONG], "A finding"),
    "a long title": charts.compared(
        ROWS,
        "123,456,789 families in 50 environments could not start a chat; fixed in 49 of 50",
    ),
    "a long kind": charts.blockers([kind("chat", 123_456_789, "p" * 40, "q" * 40), kind("run", 3, "p" * 40, "q" * 40)]),
    "large numbers": charts.before_after(looked(123_456_789, 123_456_789), looked(123_456_789, 0)),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", WIDE)
def test_everything_that_is_written_lies_within_the_picture(name: str) -> None:
    """No title, name or number is cut by an edge of the picture."""
    figure = WIDE[name].figure()
    figure.draw_without_rendering()
    axes = figure.axes[0]
    ticks = [
        tick.label1
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
        if min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    ]
    texts = [figure._suptitle, axes.xaxis.label, *axes.texts, *ticks]
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]

    assert [text for text, box in boxes if box.x0 < 0 or box.x1 > figure.bbox.x1] == []


@pytest.mark.parametrize("name", WIDE)
def test_no_number_lies_on_a_bar(name: str) -> None:
    """What is written beside a bar or mark begins where it ends."""
    figure = WIDE[name].figure()
    figure.draw_without_rendering()
    axes = figure.axes[0]
    bars = [bar.get_window_extent() for bar in axes.patches if bar.get_width() and bar.get_height() < 1]
    texts = [text.get_window_extent() for text in axes.texts]

    assert [b for b in bars for t in texts if t.x0 < b.x1 and b.y0 < (t.y0 + t.y1) / 2 < b.y1] == []
