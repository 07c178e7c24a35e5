"""Charts: a title that is the conclusion, a text in the picture's place, and the same bytes each time."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from incident_lib.model.counts import Counts
from incident_lib.report import charts
from incident_lib.report.charts import MOST_DRAWN
from tests.support.reports import kind, looked

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
        "No family is blocked for chat",
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
        "Nothing was seen",
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


STOPPED = {
    "refused": "the run was refused",
    "FAILED": "the run FAILED",
    "KILLED": "the run was KILLED",
    "running": "the run goes on",
    "dry run": "nothing has been applied",
    "": "nothing has been applied",
}


@pytest.mark.parametrize("ended", STOPPED)
def test_before_alone_concludes_how_the_run_ended(ended: str) -> None:
    """Without an after the title says how the run ended; that nothing was applied, only where it is known."""
    some, none = (charts.before_after(before, None, ended).title for before in (looked(1088), looked(0, 0)))

    assert some == f"1,088 families cannot start a chat; {STOPPED[ended]}"
    assert none == ("Nothing has been applied" if ended in ("dry run", "") else f"No after: {STOPPED[ended]}")


LEFT = [
    (65, 159, "What the fix leaves: 65 provider conflicts, 159 active threads without an owner"),
    (1, 1, "What the fix leaves: 1 provider conflict, 1 active thread without an owner"),
    (0, 1159, "What the fix leaves: 0 provider conflicts, 1,159 active threads without an owner"),
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
            "is rejected by a unique index.",
        ),
        (
            charts.left_behind(looked(1)),
            "Active threads whose family has used another provider: that provider's clients are still rejected. "
            "Active threads without an owner: outside both unique indexes.",
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


def test_what_the_fix_leaves_over_several_is_their_sum() -> None:
    """Of several environments what is left is the sum, in title, text and picture."""
    chart = charts.left_behind(looked(0, 0, 3, 40), looked(0, 0, 500, 6000))

    assert chart.alt == (
        "What the fix leaves: 503 provider conflicts, 6,040 active threads without an owner. Of 2,816 active threads."
    )
    assert [bar.get_width() for bar in chart.figure().axes[0].patches] == [503, 6040]


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


# Environments beside each other

ENDS = [
    pytest.param(
        charts.Compared("demo", "", looked(1088), looked(0, 0)), "chat 1,088 → 0", "run 168 → 0", id="settled"
    ),
    pytest.param(
        charts.Compared("demo", "FAILED", looked(7, 5), looked(2, None)),
        "chat 7 → 2 (FAILED)",
        "run 5 → unknown (FAILED)",
        id="failed, after unknown",
    ),
    pytest.param(
        charts.Compared("demo", "dry run", looked(7, 5), None),
        "chat 7 → no after (dry run)",
        "run 5 → no after (dry run)",
        id="dry run",
    ),
    pytest.param(
        charts.Compared("demo", "", looked(None, None), looked(0, 0)),
        "chat unknown → 0",
        "run unknown → 0",
        id="before unknown",
    ),
    pytest.param(
        charts.Compared("demo", "KILLED", None, None), "chat: not seen; KILLED", "run: not seen; KILLED", id="not seen"
    ),
]


@pytest.mark.parametrize(("row", "chat", "run"), ENDS)
def test_an_environment_is_told_in_a_few_words(row: charts.Compared, chat: str, run: str) -> None:
    """What was blocked and is, and how the run ended, stand in the text in place of the picture and in the picture."""
    chart = charts.compared([row], "A finding")

    assert chart.alt == f"A finding. demo: {chat}; {run}."
    assert _texts(chart) == [chat, run]


def test_marks_are_full_before_and_open_after() -> None:
    """Each environment has a full mark of before and an open one of after for each purpose, at their numbers."""
    chart = charts.compared([charts.Compared("demo", "", looked(1088), looked(3, 2))], "A finding")
    marks = [line for line in chart.figure().axes[0].lines if line.get_marker() == "o"]
    found = {(line.get_xdata()[0], line.get_markerfacecolor() != "none") for line in marks}

    assert found == {(1088, True), (168, True), (3, False), (2, False)}


def test_what_was_not_seen_has_no_mark() -> None:
    """An environment that nobody looked at has its name and no mark; one without an after has no open mark."""
    rows = [charts.Compared("away", "FAILED", None, None), charts.Compared("prod", "dry run", looked(7, 5), None)]
    axes = charts.compared(rows, "A finding").figure().axes[0]
    marks = [line for line in axes.lines if line.get_marker() == "o"]

    assert [label.get_text() for label in axes.get_yticklabels()] == ["away", "prod"]
    assert sorted(line.get_xdata()[0] for line in marks) == [5, 7]
    assert [line for line in marks if line.get_markerfacecolor() == "none"] == []


def test_each_environment_has_room() -> None:
    """A chart is as high as the rows of its environments need."""
    few, many = ([charts.Compared(f"env-{n}", "", looked(n), looked(0, 0)) for n in range(most)] for most in (2, 16))

    assert charts.compared(many, "A finding").height - charts.compared(few, "A finding").height >= 14 * 0.5
    assert len(_texts(charts.compared(many, "A finding"))) == 2 * 16
    assert "are drawn" not in charts.compared(many, "A finding").caption


def test_of_many_environments_those_without_an_after_are_drawn_first() -> None:
    """Of many environments as many as fit on a sheet are drawn, those without an after first; all are told of."""
    settled = [charts.Compared(f"env-{n}", "", looked(n), looked(0, 0)) for n in range(20)]
    chart = charts.compared([*settled, charts.Compared("away", "FAILED", None, None)], "A finding")
    names = [label.get_text() for label in chart.figure().axes[0].get_yticklabels()]

    assert names == ["away", *(f"env-{n}" for n in range(19, 19 - MOST_DRAWN + 1, -1))]
    assert "16 are drawn, those without an after first; all are in the table." in chart.caption
    assert [n for n in range(20) if f"env-{n}: chat {n} → 0" not in chart.alt] == []


# What blocks


KINDS = [kind("run", 161, "chat"), kind("chat", 7, "eval", None), kind("chat", 1057), kind("chat", 1, None, "manus")]


def test_what_blocks_most_is_the_title() -> None:
    """The title says what blocks most of those that are blocked for chat, and of how many."""
    chart = charts.blockers(KINDS)

    assert chart.title == "1,057 of 1,065 families are blocked for chat by a thread of run, openai"
    assert chart.alt == (
        f"{chart.title}. run, openai: 1,057 families blocked for chat. eval, no provider: 7 families blocked for chat. "
        "no purpose, manus: 1 family blocked for chat. chat, openai: 161 families blocked for run."
    )
    assert _texts(chart) == [
        *("1,057 blocked for chat", "7 blocked for chat", "1 blocked for chat"),
        "161 blocked for run",
    ]


def test_one_family_is_one_family() -> None:
    """A kind that blocks a single family is told of in the singular."""
    assert "no purpose, manus: 1 family blocked for chat." in charts.blockers(KINDS).alt


@pytest.mark.parametrize("kinds", [[], [kind("run", 5, "chat")]])
def test_where_nobody_is_kept_from_a_chat_the_title_says_so(kinds: list[dict[str, Any]]) -> None:
    """Where only runs are blocked, or nothing, the title does not speak of chats that are."""
    assert charts.blockers(kinds).title == "No family is blocked for chat"


def test_of_many_kinds_the_largest_are_drawn() -> None:
    """Of many kinds those that block most are drawn, for each purpose; the title counts all of them."""
    kinds = [kind(purpose, n, f"p{n}") for purpose in ("chat", "run") for n in range(1, 11)]
    chart = charts.blockers(kinds)

    assert [bar.get_width() for bar in chart.figure().axes[0].patches] == [10, 9, 8, 7, 6, 5] * 2
    assert chart.title.startswith("10 of 55 families")


def test_a_picture_that_leaves_kinds_out_says_so() -> None:
    """Where kinds are left out of the picture, its caption says that there are more."""
    few, many = ([kind("chat", n, f"p{n}") for n in range(1, most)] for most in (3, 11))

    assert charts.blockers(few).caption != charts.blockers(many).caption
