"""Charts: a title that is the conclusion, a text in the picture's place, and the same bytes each time."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from incident_lib.model import Counts, PerPurpose
from incident_lib.report import charts


def looked(chat: int | None, run: int | None = 168, conflicts: int = 65, unguarded: int = 159) -> Counts:
    """The counts of a look."""
    return Counts(
        families=1257,
        active_threads=1408,
        active_by_purpose={"chat": 161, "eval": 7, "run": 1240},
        blocked_families=None if chat is None or run is None else chat + run,
        blocked=PerPurpose(chat, run),
        affected_owners=None,
        blocked_owners=PerPurpose(None, None),
        coexisting_families=0,
        residual_conflicts=conflicts,
        unguarded_threads=unguarded,
        duplicate_keys={"original": 0, "fixed": 0},
    )


CASES = [
    pytest.param(
        looked(1088),
        None,
        "1,088 families cannot start a chat; nothing has been applied",
        "Families blocked for chat: 1,088 now. Families blocked for run: 168 now.",
        id="before only",
    ),
    pytest.param(
        looked(1, 0),
        None,
        "1 family cannot start a chat; nothing has been applied",
        "Families blocked for chat: 1 now. Families blocked for run: 0 now.",
        id="one family",
    ),
    pytest.param(
        looked(0, 0),
        None,
        "Nothing has been applied",
        "Families blocked for chat: 0 now. Families blocked for run: 0 now.",
        id="before only, none blocked",
    ),
    pytest.param(
        looked(1088),
        looked(0, 0),
        "1,088 families could not start a chat; now none is blocked",
        "Families blocked for chat: 1,088 before, 0 after. Families blocked for run: 168 before, 0 after.",
        id="both",
    ),
    pytest.param(
        looked(1088),
        looked(12, 1),
        "12 families still cannot start a chat; 1,088 could not before",
        "Families blocked for chat: 1,088 before, 12 after. Families blocked for run: 168 before, 1 after.",
        id="some remain",
    ),
    pytest.param(
        looked(0, 0),
        looked(0, 0),
        "No family is kept from a chat",
        "Families blocked for chat: 0 before, 0 after. Families blocked for run: 0 before, 0 after.",
        id="none before, none after",
    ),
    pytest.param(
        looked(None, None),
        looked(0, 0),
        "Blocked for chat: unknown before, 0 after",
        "Families blocked for chat: unknown before, 0 after. Families blocked for run: unknown before, 0 after.",
        id="unknown before",
    ),
    pytest.param(
        looked(1088),
        looked(None, None),
        "Blocked for chat: 1,088 before, unknown after",
        "Families blocked for chat: 1,088 before, unknown after. Families blocked for run: 168 before, unknown after.",
        id="unknown after",
    ),
    pytest.param(
        looked(None, None),
        None,
        "Nothing has been applied",
        "Families blocked for chat: unknown now. Families blocked for run: unknown now.",
        id="unknown now",
    ),
    pytest.param(
        None,
        None,
        "Nothing has been applied",
        "Families blocked for chat: unknown now. Families blocked for run: unknown now.",
        id="nothing seen",
    ),
    pytest.param(
        None,
        looked(0, 0),
        "Blocked for chat: unknown before, 0 after",
        "Families blocked for chat: unknown before, 0 after. Families blocked for run: unknown before, 0 after.",
        id="after only",
    ),
]


@pytest.mark.parametrize(("before", "after", "title", "numbers"), CASES)
def test_before_after_concludes_in_its_title(
    before: Counts | None, after: Counts | None, title: str, numbers: str
) -> None:
    """The title of before and after is its conclusion."""
    assert charts.before_after(before, after).title == title


@pytest.mark.parametrize(("before", "after", "title", "numbers"), CASES)
def test_before_after_says_its_numbers(before: Counts | None, after: Counts | None, title: str, numbers: str) -> None:
    """The text in place of before and after says its conclusion and all of its numbers."""
    assert charts.before_after(before, after).alt == f"{charts.before_after(before, after).title}. {numbers}"


LEFT = [
    (65, 159, "What the fix leaves: 65 provider conflicts, 159 unguarded threads"),
    (1, 1, "What the fix leaves: 1 provider conflict, 1 unguarded thread"),
    (0, 1159, "What the fix leaves: 0 provider conflicts, 1,159 unguarded threads"),
    (0, 0, "The fix leaves no conflict behind"),
]


@pytest.mark.parametrize(("conflicts", "unguarded", "title"), LEFT)
def test_left_behind_concludes_in_its_title(conflicts: int, unguarded: int, title: str) -> None:
    """The title of what the fix leaves is its conclusion."""
    assert charts.left_behind(looked(0, 0, conflicts, unguarded)).title == title


@pytest.mark.parametrize(("conflicts", "unguarded", "title"), LEFT)
def test_left_behind_says_of_how_many(conflicts: int, unguarded: int, title: str) -> None:
    """The text in place of what the fix leaves says its numbers and of how many."""
    assert charts.left_behind(looked(0, 0, conflicts, unguarded)).alt == f"{title}. Of 1,408 active threads."


@pytest.mark.parametrize(
    ("chart", "caption"),
    [
        (
            charts.before_after(looked(1), None),
            "Each bar counts families (root prompt and user) in which a new thread of that purpose "
            "is rejected by a guard.",
        ),
        (
            charts.left_behind(looked(1)),
            "Active threads whose family has used another provider: that provider's clients are still rejected. "
            "Active threads without an owner: outside both guards.",
        ),
    ],
)
def test_a_caption_says_how_to_read_it(chart: charts.Chart, caption: str) -> None:
    """A caption says what is counted."""
    assert chart.caption == caption


@pytest.mark.parametrize(("before", "after", "title", "numbers"), CASES)
def test_the_same_chart_is_the_same_svg(before: Counts | None, after: Counts | None, title: str, numbers: str) -> None:
    """A chart that is drawn twice is the same bytes."""
    assert charts.before_after(before, after).svg() == charts.before_after(before, after).svg()


def test_the_same_chart_is_the_same_png() -> None:
    """A picture that is drawn twice is the same bytes."""
    chart = charts.left_behind(looked(0))

    assert chart.png() == chart.png()


def test_an_svg_has_no_date() -> None:
    """A chart does not say when it was drawn."""
    svg = charts.before_after(looked(1088), looked(0, 0)).svg()

    assert re.findall(r"<dc:date>|\d{4}-\d\d-\d\d", svg) == []


def test_an_svg_asks_nobody_for_anything() -> None:
    """A chart loads nothing: every reference in it is to a part of itself."""
    svg = ET.fromstring(charts.before_after(looked(1088), looked(0, 0)).svg())
    attributes = [(name, value) for element in svg.iter() for name, value in element.attrib.items()]

    assert [value for name, value in attributes if name.endswith("href") and not value.startswith("#")] == []
    assert [value for _, value in attributes if "url(" in value and "url(#" not in value] == []


def _texts(chart: charts.Chart) -> list[str]:
    return [text.get_text() for text in chart.figure().axes[0].texts]


def test_a_bar_carries_its_number() -> None:
    """Each bar has its number and its moment beside it."""
    drawn = _texts(charts.before_after(looked(1088), looked(0, 0)))

    assert drawn == ["1,088 before", "0 after", "168 before", "0 after"]


def test_a_bar_that_is_not_known_says_so() -> None:
    """A number that is not known is not drawn as if it were 0."""
    assert _texts(charts.before_after(looked(None, None), None)) == ["now: not known", "now: not known"]


def test_an_axis_names_its_unit() -> None:
    """The axis says what is counted."""
    assert charts.before_after(looked(1088), None).figure().axes[0].get_xlabel() == "families"


def test_no_bar_is_negative_or_cut() -> None:
    """The axis begins at 0 and holds the longest bar."""
    axes = charts.before_after(looked(1088), None).figure().axes[0]

    assert axes.get_xlim()[0] == 0
    assert axes.get_xlim()[1] > 1088


def test_draw_returns_its_axes() -> None:
    """A chart draws on the axes that it is given, and returns them."""
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()

    assert charts.left_behind(looked(0)).draw(axes) is axes
