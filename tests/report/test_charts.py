"""Charts: title, alternative text, caption, numbers, colours, layout, and identical bytes each time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from matplotlib.colors import to_hex

from incident_lib import paths
from incident_lib.model.counts import Counts
from incident_lib.model.records import BlockerCount
from incident_lib.records import RunFolder, read_claims
from incident_lib.report import charts, history_chart
from incident_lib.report.charts import MOST_DRAWN
from incident_lib.report.claim_chart import write_latency
from incident_lib.report.recovery_chart import Recovered, recovery_chart
from incident_lib.report.style import AFTER, BEFORE, FAINT, GRID, INK, ON_DARK
from tests.support.pictures import labels, title_of
from tests.support.reports import blocker_count, snapshot_counts

if TYPE_CHECKING:
    from collections.abc import Callable

CASES = [
    pytest.param(
        snapshot_counts(1088),
        None,
        "1,088 families are blocked for chat; nothing has been applied",
        "Families blocked for chat: 1,088 now. Families blocked for run: 168 now.",
        id="before only",
    ),
    pytest.param(
        snapshot_counts(1, 0),
        None,
        "1 family is blocked for chat; nothing has been applied",
        "Families blocked for chat: 1 now. Families blocked for run: 0 now.",
        id="one family",
    ),
    pytest.param(
        snapshot_counts(0, 0),
        None,
        "Nothing has been applied",
        "Families blocked for chat: 0 now. Families blocked for run: 0 now.",
        id="before only, none blocked",
    ),
    pytest.param(
        snapshot_counts(1088),
        snapshot_counts(0, 0),
        "1,088 families were blocked for chat; now none is blocked",
        "Families blocked for chat: 1,088 before, 0 after. Families blocked for run: 168 before, 0 after.",
        id="both",
    ),
    pytest.param(
        snapshot_counts(1088),
        snapshot_counts(12, 1),
        "12 families are still blocked for chat; 1,088 before the fix",
        "Families blocked for chat: 1,088 before, 12 after. Families blocked for run: 168 before, 1 after.",
        id="some remain",
    ),
    pytest.param(
        snapshot_counts(0, 0),
        snapshot_counts(0, 0),
        "No family is blocked for chat",
        "Families blocked for chat: 0 before, 0 after. Families blocked for run: 0 before, 0 after.",
        id="none before, none after",
    ),
    pytest.param(
        snapshot_counts(None, None),
        snapshot_counts(0, 0),
        "Blocked for chat: unknown before, 0 after",
        "Families blocked for chat: unknown before, 0 after. Families blocked for run: unknown before, 0 after.",
        id="unknown before",
    ),
    pytest.param(
        snapshot_counts(1088),
        snapshot_counts(None, None),
        "Blocked for chat: 1,088 before, unknown after",
        "Families blocked for chat: 1,088 before, unknown after. Families blocked for run: 168 before, unknown after.",
        id="unknown after",
    ),
    pytest.param(
        snapshot_counts(None, None),
        None,
        "Nothing has been applied",
        "Families blocked for chat: unknown now. Families blocked for run: unknown now.",
        id="unknown now",
    ),
    pytest.param(
        None,
        None,
        "No snapshot was taken",
        "Families blocked for chat: unknown now. Families blocked for run: unknown now.",
        id="no snapshot",
    ),
    pytest.param(
        None,
        snapshot_counts(0, 0),
        "Blocked for chat: unknown before, 0 after",
        "Families blocked for chat: unknown before, 0 after. Families blocked for run: unknown before, 0 after.",
        id="after only",
    ),
]


@pytest.mark.parametrize(("before", "after", "title", "numbers"), CASES)
def test_the_title_of_before_after_is_its_finding(
    before: Counts | None, after: Counts | None, title: str, numbers: str
) -> None:
    """The title of before and after is its finding."""
    assert charts.before_after(before, after).title == title


@pytest.mark.parametrize(("before", "after", "title", "numbers"), CASES)
def test_the_text_of_before_after_has_its_numbers(
    before: Counts | None, after: Counts | None, title: str, numbers: str
) -> None:
    """The alternative text of before and after has the title and all numbers."""
    assert charts.before_after(before, after).alt == f"{charts.before_after(before, after).title}. {numbers}"


STOPPED = {
    "refused": "the run was refused",
    "FAILED": "the run FAILED",
    "KILLED": "the run was KILLED",
    "running": "the run has not ended",
    "dry run": "nothing has been applied",
    "": "nothing has been applied",
}


@pytest.mark.parametrize("ended", STOPPED)
def test_the_title_without_an_after_says_how_the_run_ended(ended: str) -> None:
    """Without a snapshot after, the title says how the run ended; "nothing was applied" only if this is known."""
    some, none = (
        charts.before_after(before, None, ended).title for before in (snapshot_counts(1088), snapshot_counts(0, 0))
    )

    assert some == f"1,088 families are blocked for chat; {STOPPED[ended]}"
    assert none == ("Nothing has been applied" if ended in ("dry run", "") else f"No after: {STOPPED[ended]}")


LEFT = [
    (65, 159, "The fix does not change 65 provider conflicts and 159 active threads without an owner"),
    (1, 1, "The fix does not change 1 provider conflict and 1 active thread without an owner"),
    (0, 1159, "The fix does not change 0 provider conflicts and 1,159 active threads without an owner"),
    (0, 0, "No provider conflict remains"),
]


@pytest.mark.parametrize(("conflicts", "ownerless", "title"), LEFT)
def test_the_title_of_what_remains_is_its_finding(conflicts: int, ownerless: int, title: str) -> None:
    """The title of what the fix does not change is its finding."""
    assert charts.remaining_conflicts(snapshot_counts(0, 0, conflicts, ownerless)).title == title


@pytest.mark.parametrize(("conflicts", "ownerless", "title"), LEFT)
def test_the_text_of_what_remains_has_its_numbers(conflicts: int, ownerless: int, title: str) -> None:
    """The alternative text of what the fix does not change has its numbers and the total."""
    assert (
        charts.remaining_conflicts(snapshot_counts(0, 0, conflicts, ownerless)).alt
        == f"{title}. Of 1,408 active threads."
    )


def test_with_the_provider_in_the_index_threads_without_an_owner_are_in_it() -> None:
    """Once `provider` is applied, threads without an owner are no finding: the index has them, too."""
    chart = charts.remaining_conflicts(snapshot_counts(0, 0, 0, 8), has_provider=True)

    assert chart.title == "No provider conflict remains"
    assert chart.caption.endswith("Active threads without an owner: the provider index has them, too.")


PROVIDERS = [
    (65, None, "", "65 threads block another provider; nothing has been applied", "65 now"),
    (1, None, "FAILED", "1 thread blocks another provider; the run FAILED", "1 now"),
    (1, 0, "", "1 thread blocked another provider; now none does", "1 before, 0 after"),
    (65, 1, "", "1 thread still blocks another provider; 65 before", "65 before, 1 after"),
    (0, 0, "", "No thread blocks another provider", "0 before, 0 after"),
]


@pytest.mark.parametrize(("before", "after", "ended", "title", "numbers"), PROVIDERS)
def test_the_chart_of_the_second_change(before: int, after: int | None, ended: str, title: str, numbers: str) -> None:
    """Its title is its finding; its alternative text has the numbers; an after that was not counted is not drawn."""
    chart = charts.provider_conflicts(
        snapshot_counts(0, 0, before), None if after is None else snapshot_counts(0, 0, after), ended
    )

    assert (chart.title, chart.alt) == (title, f"{title}. Provider conflicts: {numbers}.")


@pytest.mark.parametrize(
    ("chart", "caption"),
    [
        (
            charts.before_after(snapshot_counts(1), None),
            "Each bar counts families (root prompt and user) in which PostgreSQL rejects a new thread of that purpose "
            "because of an active thread of another purpose.",
        ),
        (
            charts.remaining_conflicts(snapshot_counts(1)),
            "Provider conflicts: active threads that block another provider's thread of the same purpose in their "
            "family: a user who tries gets the same error. Active threads without an owner: the original and the "
            "fixed index ignore them.",
        ),
    ],
)
def test_a_caption_says_what_is_counted(chart: charts.Chart, caption: str) -> None:
    """A caption says what is counted."""
    assert chart.caption == caption


@pytest.mark.parametrize(("before", "after", "title", "numbers"), CASES)
def test_the_same_chart_is_the_same_svg(before: Counts | None, after: Counts | None, title: str, numbers: str) -> None:
    """Rendering a chart twice gives the same SVG."""
    assert charts.before_after(before, after).svg() == charts.before_after(before, after).svg()


def test_the_same_chart_is_the_same_png() -> None:
    """Rendering a chart twice gives the same PNG."""
    chart = charts.remaining_conflicts(snapshot_counts(0))

    assert chart.png() == chart.png()


def test_an_svg_has_no_date() -> None:
    """An SVG has no date."""
    svg = charts.before_after(snapshot_counts(1088), snapshot_counts(0, 0)).svg()

    assert re.findall(r"<dc:date>|\d{4}-\d\d-\d\d", svg) == []


def test_an_svg_has_no_external_reference() -> None:
    """An SVG has no external reference."""
    svg = ET.fromstring(charts.before_after(snapshot_counts(1088), snapshot_counts(0, 0)).svg())
    attributes = [(name, value) for element in svg.iter() for name, value in element.attrib.items()]

    assert [value for name, value in attributes if name.endswith("href") and not value.startswith("#")] == []
    assert [value for _, value in attributes if "url(" in value and "url(#" not in value] == []


def test_what_remains_over_several_is_their_sum() -> None:
    """Over several environments, title, alternative text and picture have the sum."""
    chart = charts.remaining_conflicts(snapshot_counts(0, 0, 3, 40), snapshot_counts(0, 0, 500, 6000))

    assert chart.alt == (
        "The fix does not change 503 provider conflicts and 6,040 active threads without an owner. "
        "Of 2,816 active threads."
    )
    assert [bar.get_width() for bar in chart.figure().axes[0].patches] == [503, 6040]


def _texts(chart: charts.Chart) -> list[str]:
    return [text.get_text() for text in chart.figure().axes[0].texts]


def test_a_bar_has_its_number() -> None:
    """The number and the snapshot are beside each bar, below or behind the label of its group."""
    drawn = _texts(charts.before_after(snapshot_counts(1088), snapshot_counts(0, 0)))

    assert drawn == ["blocked for chat", "1,088 before", "0 after", "blocked for run", "168 before", "0 after"]


def test_an_unknown_number_has_no_bar() -> None:
    """An unknown number is written as unknown, and has neither a bar nor a mark."""
    chart = charts.before_after(snapshot_counts(None, None), None)

    assert _texts(chart) == ["blocked for chat", "now: unknown", "blocked for run", "now: unknown"]
    assert list(chart.figure().axes[0].patches) == []
    assert _rings(chart) == []


def test_a_zero_is_a_mark() -> None:
    """A number that is 0 has its text and an open mark on the baseline; other numbers have none."""
    chart = charts.before_after(snapshot_counts(1088, 0), snapshot_counts(0, 3))

    assert _rings(chart) == [0, 0]
    assert {"0 before", "0 after"} <= set(_texts(chart))


def _rings(chart: charts.Chart) -> list[float]:
    """Where open marks are."""
    return [mark.get_xdata()[0] for mark in chart.figure().axes[0].lines if mark.get_markerfacecolor() == "none"]


def test_an_axis_has_its_unit() -> None:
    """The unit of the numbers is below the bars."""
    figure = charts.before_after(snapshot_counts(1088), None).figure()

    assert [text.get_text() for text in figure.texts if text.get_color() == FAINT] == ["families"]


def test_the_axis_begins_at_0_and_includes_the_longest_bar() -> None:
    """The axis begins at 0 and includes the longest bar."""
    axes = charts.before_after(snapshot_counts(1088), None).figure().axes[0]

    assert axes.get_xlim()[0] == 0
    assert axes.get_xlim()[1] > 1088


# Comparison of environments

ENDS = [
    pytest.param(
        charts.Compared("demo", "", snapshot_counts(1088), snapshot_counts(0, 0)),
        "chat 1,088 → 0",
        "run 168 → 0",
        id="settled",
    ),
    pytest.param(
        charts.Compared("demo", "FAILED", snapshot_counts(7, 5), snapshot_counts(2, None)),
        "chat 7 → 2 (FAILED)",
        "run 5 → unknown (FAILED)",
        id="failed, after unknown",
    ),
    pytest.param(
        charts.Compared("demo", "dry run", snapshot_counts(7, 5), None),
        "chat 7 → no after (dry run)",
        "run 5 → no after (dry run)",
        id="dry run",
    ),
    pytest.param(
        charts.Compared("demo", "", snapshot_counts(None, None), snapshot_counts(0, 0)),
        "chat unknown → 0",
        "run unknown → 0",
        id="before unknown",
    ),
    pytest.param(
        charts.Compared("demo", "KILLED", None, None), "chat: unknown; KILLED", "run: unknown; KILLED", id="no snapshot"
    ),
]


@pytest.mark.parametrize(("row", "chat", "run"), ENDS)
def test_an_environment_has_a_short_text(row: charts.Compared, chat: str, run: str) -> None:
    """Alternative text and picture have the blocked families before and after, and how the run ended."""
    chart = charts.compared([row], "A finding")

    assert chart.alt == f"A finding. demo: {chat}; {run}."
    assert _texts(chart) == ["demo", chat, run]


def test_marks_are_filled_before_and_open_after() -> None:
    """For each purpose an environment has a filled mark for before and an open one for after, at its number."""
    chart = charts.compared([charts.Compared("demo", "", snapshot_counts(1088), snapshot_counts(3, 2))], "A finding")
    marks = [line for line in chart.figure().axes[0].lines if line.get_marker() == "o"]
    found = {(line.get_xdata()[0], line.get_markerfacecolor() != "none") for line in marks}

    assert found == {(1088, True), (168, True), (3, False), (2, False)}


def test_an_environment_without_a_snapshot_has_no_mark() -> None:
    """An environment without a snapshot has its name and no mark; one without a snapshot after has no open mark."""
    rows = [
        charts.Compared("away", "FAILED", None, None),
        charts.Compared("prod", "dry run", snapshot_counts(7, 5), None),
    ]
    axes = charts.compared(rows, "A finding").figure().axes[0]
    marks = [line for line in axes.lines if line.get_marker() == "o"]

    assert [text.get_text() for text in axes.texts][::3] == ["away", "prod"]
    assert sorted(line.get_xdata()[0] for line in marks) == [5, 7]
    assert [line for line in marks if line.get_markerfacecolor() == "none"] == []


def test_the_height_grows_with_the_environments() -> None:
    """The height of a chart grows with the number of environments."""
    few, many = (
        [charts.Compared(f"env-{n}", "", snapshot_counts(n), snapshot_counts(0, 0)) for n in range(most)]
        for most in (2, MOST_DRAWN)
    )

    heights = [charts.compared(rows, "A finding").figure().get_figheight() for rows in (few, many)]
    assert heights[1] - heights[0] >= (MOST_DRAWN - 2) * 0.5
    assert len(_texts(charts.compared(many, "A finding"))) == 3 * MOST_DRAWN
    assert "are drawn" not in charts.compared(many, "A finding").caption


def test_of_many_environments_those_without_an_after_are_drawn_first() -> None:
    """Of many environments those that fit are drawn, first those without a snapshot after; the text has all."""
    settled = [charts.Compared(f"env-{n}", "", snapshot_counts(n), snapshot_counts(0, 0)) for n in range(20)]
    chart = charts.compared([*settled, charts.Compared("away", "FAILED", None, None)], "A finding")
    names = _texts(chart)[::3]

    assert names == ["away", *(f"env-{n}" for n in range(19, 19 - MOST_DRAWN + 1, -1))]
    assert f"{MOST_DRAWN} are drawn, those without an after first; all are in the table." in chart.caption
    assert [n for n in range(20) if f"env-{n}: chat {n} → 0" not in chart.alt] == []


# Blockers


KINDS = [
    blocker_count("run", 161, "chat"),
    blocker_count("chat", 7, "eval", None),
    blocker_count("chat", 1057),
    blocker_count("chat", 1, None, "manus"),
]


def test_the_title_has_the_largest_blocker() -> None:
    """The title has the largest kind of thread that blocks families for chat, and the total."""
    chart = charts.blockers(KINDS)

    assert chart.title == "1,057 of 1,065 families are blocked for chat by a run thread (openai)"
    assert chart.alt == (
        f"{chart.title}. chat blocked by a run thread (openai): 1,057 families. "
        "chat blocked by an eval thread (no provider): 7 families. "
        "chat blocked by a thread without a purpose (manus): 1 family. "
        "run blocked by a chat thread (openai): 161 families."
    )
    assert _texts(chart)[1::2] == ["1,057", "7", "1", "161"]


def test_one_family_is_in_the_singular() -> None:
    """The number of one family is in the singular."""
    assert "chat blocked by a thread without a purpose (manus): 1 family." in charts.blockers(KINDS).alt


@pytest.mark.parametrize("kinds", [[], [blocker_count("run", 5, "chat")]])
def test_the_title_if_no_family_is_blocked_for_chat(kinds: list[BlockerCount]) -> None:
    """If no family is blocked for chat, the title says so."""
    assert charts.blockers(kinds).title == "No family is blocked for chat"


def test_of_many_kinds_the_largest_are_drawn() -> None:
    """Of many kinds the largest are drawn for each purpose; the title counts all of them."""
    kinds = [blocker_count(purpose, n, f"p{n}") for purpose in ("chat", "run") for n in range(1, 11)]
    chart = charts.blockers(kinds)

    assert [bar.get_width() for bar in chart.figure().axes[0].patches] == [10, 9, 8, 7, 6, 5] * 2
    assert chart.title.startswith("10 of 55 families")


def test_the_caption_says_if_kinds_are_not_drawn() -> None:
    """If kinds are not drawn, the caption says so."""
    few, many = ([blocker_count("chat", n, f"p{n}") for n in range(1, most)] for most in (3, 11))

    assert charts.blockers(few).caption != charts.blockers(many).caption


# All charts

CLAIMS = read_claims(paths.EXAMPLE_RUN / "claims.json")
RECOVERY = RunFolder(paths.EXAMPLE_RUN).read().recovery
BEGUN = datetime(2025, 9, 22, 6, tzinfo=UTC)
ROWS = [
    charts.Compared("demo", "", snapshot_counts(1088), snapshot_counts(0, 0)),
    charts.Compared("staging", "dry run", snapshot_counts(7, 5), None),
    charts.Compared("prod", "FAILED", snapshot_counts(7, 5), snapshot_counts(2, None)),
    charts.Compared("away", "KILLED", None, None),
]
ALL = {
    "before-after": charts.before_after(snapshot_counts(1088), snapshot_counts(0, 0)),
    "compared": charts.compared(ROWS, "A finding"),
    "blockers": charts.blockers(KINDS),
    "left": charts.remaining_conflicts(snapshot_counts(0)),
    "over-time": history_chart.over_time(
        [history_chart.Line("demo", ((BEGUN, 10), (BEGUN + timedelta(3), 12)), BEGUN + timedelta(9), 0, 12)], []
    ),
    "recovered": recovery_chart([Recovered("demo", RECOVERY), Recovered("prod", RECOVERY)]),
    "claims": write_latency(CLAIMS),
}


@pytest.mark.parametrize("name", ALL)
def test_every_drawn_number_is_in_the_text(name: str) -> None:
    """Each number beside a bar or a mark is also in the alternative text."""
    chart = ALL[name]
    drawn = {number for text in labels(chart.figure()) for number in re.findall(r"\d[\d,]*", text)}

    assert drawn
    assert drawn - set(re.findall(r"\d[\d,]*\d|\d", chart.alt)) == set()


@pytest.mark.parametrize("name", ALL)
def test_a_title_begins_the_text(name: str) -> None:
    """The alternative text begins with the title, and the picture has the same title."""
    chart = ALL[name]

    assert chart.alt.startswith(f"{chart.title}. ")
    assert title_of(chart.figure()) == chart.title


def _painted(svg: str) -> list[tuple[str, float, float]]:
    """The filled areas of an SVG: colour, and width and height as shares of the picture."""
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
def test_a_themed_picture_has_a_transparent_background(name: str) -> None:
    """A themed picture has a transparent background; one in its own file is on white."""
    papers = {themed: _papers(ALL[name].svg(themed=themed)) for themed in (True, False)}

    assert papers == {True: [], False: ["#ffffff"]}


def _papers(svg: str) -> list[str]:
    return [colour for colour, width, height in _painted(svg) if width > 0.9 and height > 0.9]


@pytest.mark.parametrize("name", ALL)
def test_a_themed_picture_follows_the_colour_scheme(name: str) -> None:
    """Each colour of a themed picture has a value for light and one for dark pages; another picture has no scheme."""
    svg = ALL[name].svg(themed=True)
    light, dark = (dict(re.findall(r"(--c\d): (#\w+)", rules)) for rules in re.findall(r":root \{(.*?)\}", svg))
    drawn = re.findall(r"(?:fill|stroke): ([^;]+)", "; ".join(re.findall(r'style="([^"]*)"', svg)))

    assert svg.count("@media (prefers-color-scheme: dark)") == 1
    assert {light[name]: dark[name] for name in light} == ON_DARK
    assert {colour for colour in drawn if colour not in {f"var({name})" for name in light}} <= {"none"}
    assert "prefers-color-scheme" not in ALL[name].svg()


@pytest.mark.parametrize("name", ALL)
def test_a_narrow_picture_has_the_same_texts(name: str) -> None:
    """A picture for a phone's screen has the title and the labels of the wide one."""
    wide, narrow = (ALL[name].figure(narrow=narrow) for narrow in (False, True))

    assert title_of(narrow) == title_of(wide)
    assert " ".join(labels(narrow)).split() == " ".join(labels(wide)).split()
    assert narrow.get_figwidth() < wide.get_figwidth() / 2


PAPERS = {"light": "#ffffff", "dark": "#12161c"}


@pytest.mark.parametrize("colour", [colour for colour in ON_DARK if colour != GRID])
def test_every_colour_is_visible_in_both_schemes(colour: str) -> None:
    """Each colour has the contrast that WCAG requires to the page, light and dark: 4.5 for text, 3 for marks."""
    least = 4.5 if colour in (INK, FAINT) else 3

    assert contrast(colour, PAPERS["light"]) >= least
    assert contrast(ON_DARK[colour], PAPERS["dark"]) >= least


def contrast(one: str, other: str) -> float:
    """The contrast of two colours."""
    lighter, darker = sorted((((lightness(colour) + 16) / 116) ** 3 for colour in (one, other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def lightness(colour: str) -> float:
    """The lightness of a colour, from 0 to 100 (CIE L*), which is its grey value."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    luminance = sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance


@pytest.mark.parametrize("scheme", [lambda colour: colour, ON_DARK.get], ids=["light", "dark"])
def test_before_and_after_differ_in_grey(scheme: Callable[[str], str]) -> None:
    """In grey, the colours of before and after, and of chat and run, differ by more than 10."""
    before, after, other = (lightness(scheme(colour)) for colour in (BEFORE, AFTER, FAINT))

    assert abs(before - after) > 10
    assert abs(before - other) > 10


def test_chat_and_run_differ() -> None:
    """The bars of chat and run have different colours."""
    drawn = [to_hex(bar.get_facecolor()) for bar in ALL["blockers"].figure().axes[0].patches]

    assert drawn == [BEFORE, BEFORE, BEFORE, FAINT]


@pytest.mark.parametrize("name", ["before-after", "blockers", "left"])
def test_no_number_overlaps_a_bar(name: str) -> None:
    """A text beside a bar does not overlap it."""
    figure = ALL[name].figure()
    figure.draw_without_rendering()
    axes = figure.axes[0]
    bars = [bar.get_window_extent() for bar in axes.patches]
    texts = [text.get_window_extent() for text in axes.texts]

    assert [b for b in bars for t in texts if b.x0 < t.x1 and t.x0 < b.x1 and b.y0 < (t.y0 + t.y1) / 2 < b.y1] == []
