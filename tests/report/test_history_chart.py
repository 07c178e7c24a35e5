"""The chart of blocked families over time, and its axis, which may omit a long gap."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from incident_lib.report import history_chart
from incident_lib.report.events import event_lanes
from incident_lib.report.history_chart import Line, over_time
from incident_lib.report.time_scale import KEPT, TimeScale
from tests.support.examples import few_examples
from tests.support.pictures import faults, labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BEGUN = datetime(2025, 9, 22, 6, tzinfo=UTC)


def line(
    *grown: tuple[float, int],
    until: float = 30.0,
    after: int | None = None,
    total: int | None = None,
    environment: str = "demo",
) -> Line:
    """A line by days since its begin and number of families."""
    points = tuple((BEGUN + timedelta(days=day), count) for day, count in grown)
    return Line(environment, points, BEGUN + timedelta(days=until), after, total or points[-1][1])


ENDED = line((0, 1029), (3, 1050), (21, 1084), until=40, after=0, total=1088)
GOES_ON = line((0.5, 100), (9, 700), until=41, environment="prod")

SAID = [
    pytest.param(
        [ENDED],
        "1,029 of 1,088 families were blocked at once, on 2025-09-22",
        "demo: 1,029 at 2025-09-22 06:00:00, 1,084 in the end (4 more since an unknown time); "
        "ended 2025-11-01 06:00:00, 0 after.",
        " 4 more have been blocked since an unknown time.",
        id="at once, ended",
    ),
    pytest.param(
        [GOES_ON],
        "700 families were blocked in the end, the first on 2025-09-22",
        "prod: 100 at 2025-09-22 18:00:00, 700 in the end; not ended at 2025-11-02 06:00:00.",
        "",
        id="by and by, not ended",
    ),
    pytest.param(
        [line((0, 2), until=2, after=1)],
        "2 of 2 families were blocked at once, on 2025-09-22",
        "demo: 2 at 2025-09-22 06:00:00, 2 in the end; ended 2025-09-24 06:00:00, 1 after.",
        "",
        id="one left",
    ),
    pytest.param(
        [GOES_ON, ENDED],
        "1,029 of 1,088 families in demo were blocked at once, on 2025-09-22",
        "demo: 1,029 at 2025-09-22 06:00:00, 1,084 in the end (4 more since an unknown time); "
        "ended 2025-11-01 06:00:00, 0 after. "
        "prod: 100 at 2025-09-22 18:00:00, 700 in the end; not ended at 2025-11-02 06:00:00.",
        " 4 more have been blocked since an unknown time.",
        id="several, most first",
    ),
]
CAPTION = (
    "Families blocked at the time of the snapshot, by when they became blocked. "
    "Families that were blocked only before it are not known."
)


@pytest.mark.parametrize(("lines", "title", "text", "more"), SAID)
def test_its_title_is_its_finding(lines: list[Line], title: str, text: str, more: str) -> None:
    """The title has the number of blocked families at the begin or the end; of several, of the largest environment."""
    assert over_time(lines, []).title == title


@pytest.mark.parametrize(("lines", "title", "text", "more"), SAID)
def test_its_text_has_its_numbers(lines: list[Line], title: str, text: str, more: str) -> None:
    """The alternative text has each line's first and last number, its end, and the number after it."""
    assert over_time(lines, []).alt == f"{title}. {text}"


@pytest.mark.parametrize(("lines", "title", "text", "more"), SAID)
def test_its_caption_says_what_is_unknown(lines: list[Line], title: str, text: str, more: str) -> None:
    """The caption says how to read the chart, and for how many families the begin is unknown."""
    assert over_time(lines, []).caption == CAPTION + more


def many(number: int) -> list[Line]:
    """Lines of several environments, sorted by number of families."""
    return [line((0, n), (5, 10 * n), until=20 + n, after=n - 1, environment=f"env-{n}") for n in range(1, number + 1)]


def test_of_many_environments_the_largest_are_drawn() -> None:
    """Of many environments those with most families are drawn; the caption says so."""
    chart = over_time(many(6), [])

    assert labels(over_time(many(6), []).figure()) == [
        f"env-{n}: {10 * n} blocked, {n - 1} after the fix" for n in (6, 5, 4, 3)
    ]
    assert "env-2" not in chart.alt
    assert chart.caption == f"{CAPTION} The 4 environments with most are drawn; all are in the table."


def drawn(lines: list[Line], events: list[tuple[datetime, str]] | None = None) -> Axes:
    """The axes of the chart."""
    return over_time(lines, events or []).figure().axes[0]


def test_the_line_rises_by_steps() -> None:
    """The line begins with 0, has each point of the record, and ends with the number after the fix."""
    (steps,) = (it for it in drawn([ENDED]).lines if it.get_drawstyle() == "steps-post")

    assert list(steps.get_ydata()) == [0, 1029, 1050, 1084, 1084, 0]


def test_the_line_of_an_incident_that_goes_on_does_not_fall() -> None:
    """The line of an incident that goes on stays at its last number, and has a filled mark at its end."""
    axes = drawn([GOES_ON])
    steps, mark = (next(it for it in axes.lines if found(it)) for found in (_is_steps, _is_mark))

    assert list(steps.get_ydata()) == [0, 100, 700, 700]
    assert list(mark.get_ydata()) == [700]
    assert mark.get_markerfacecolor() == steps.get_color()


def _is_steps(it: object) -> bool:
    return it.get_drawstyle() == "steps-post"  # type: ignore[attr-defined]


def _is_mark(it: object) -> bool:
    return it.get_marker() == "o"  # type: ignore[attr-defined]


def test_the_number_after_is_written_at_the_end() -> None:
    """The number after the fix is written at the end of the line, also if it is 0; without an end there is none."""
    assert [text.get_text() for text in drawn([ENDED]).texts][:2] == ["1,084", "0"]
    assert [text.get_text() for text in drawn([GOES_ON]).texts][:1] == ["700"]


def test_events_are_marked() -> None:
    """Each event is a vertical line with its name."""
    axes = drawn([ENDED], [(BEGUN, "purpose came"), (ENDED.until, "fixed")])
    upright = [it.get_xdata()[0] for it in axes.lines if list(it.get_ydata()) == [0, 1]]

    assert {"purpose came", "fixed"} <= {text.get_text() for text in axes.texts}
    assert upright == sorted(upright)
    assert len(upright) == 2


def test_the_axis_begins_at_zero() -> None:
    """The number axis begins at 0, and the highest line is below its upper end."""
    lowest, highest = drawn([ENDED]).get_ylim()

    assert lowest == 0
    assert highest > 1084


def test_lines_differ_without_colour() -> None:
    """The dashes of lines in one chart are different."""
    assert len({dashes for _, dashes in history_chart.STYLES}) == len(history_chart.STYLES) == history_chart.MOST_LINES


def test_the_same_chart_is_the_same_svg() -> None:
    """Rendering the chart twice gives the same SVG."""
    made = [over_time([ENDED, GOES_ON], [(BEGUN, "purpose came")]).svg(themed=True) for _ in range(2)]

    assert made[0] == made[1]


# A gap on the time axis

MOMENTS = st.lists(st.floats(0, 3_000, allow_nan=False), min_size=2, max_size=30).map(
    lambda days: sorted(20_000 + day for day in days)
)


@settings(max_examples=few_examples(300))
@given(MOMENTS, st.lists(st.floats(0, 1), min_size=2, max_size=10))
def test_times_keep_their_order(times: list[float], between: list[float]) -> None:
    """With a gap, times keep their order on the axis."""
    scale = TimeScale(tuple(times))
    whole = [times[0] + share * (times[-1] - times[0]) for share in between]
    places = [scale.place(time) for time in sorted([*times, *whole])]

    assert [pair for pair in itertools.pairwise(places) if pair[1] < pair[0] - 1e-9] == []


@settings(max_examples=few_examples(300))
@given(MOMENTS)
def test_only_a_gap_without_events_is_omitted(times: list[float]) -> None:
    """Only a gap without events, longer than half of the axis, is omitted; the parts beside it keep their scale."""
    scale = TimeScale(tuple(times))
    place, cut = scale.place, scale.gap
    if cut is None:
        assert [place(time) for time in times] == times
        return
    before, after = ([t for t in times if inside(t)] for inside in (lambda t: t <= cut[0], lambda t: t >= cut[1]))

    assert sorted({*before, *after}) == sorted(set(times))
    assert cut[1] - cut[0] > (times[-1] - times[0]) / 2
    assert place(cut[1]) - place(cut[0]) == pytest.approx(KEPT * (times[-1] - times[0] - (cut[1] - cut[0])), abs=1e-6)
    for side in (before, after):
        assert [place(t) - place(side[0]) for t in side] == pytest.approx([t - side[0] for t in side], abs=1e-6)


@pytest.mark.parametrize("times", [(1.0,), (1.0, 1.0), (1.0, 2.0), (1.0, 1.0, 2.0, 2.0), (1.0, 1.5, 2.0)])
def test_without_a_long_gap_nothing_is_omitted(times: tuple[float, ...]) -> None:
    """If all events are at one time, at two times, or evenly spaced, no gap is omitted."""
    assert TimeScale(times).gap is None


def test_the_position_of_a_time_is_its_value() -> None:
    """The axis is made from times in any order, and a time's position is its value."""
    moments = [BEGUN + timedelta(days=day) for day in (400, 0, 20)]
    scale = TimeScale.over(moments)
    first, second, third = (scale.at(at) for at in sorted(moments))

    assert scale.gap == (scale.times[1], scale.times[2])
    assert (second - first, third - second) == (20, pytest.approx(KEPT * 20))


def test_the_length_of_a_gap_is_written() -> None:
    """An omitted gap is shaded, and its length is written under the axis."""
    figure = over_time([line((0, 10), (20, 30), until=420, after=0)], []).figure()

    assert figure.texts[-1].get_text() == "time (UTC), from 2025-09-22; shaded: 400 days left out"
    assert len(figure.axes[0].patches) == 1


def test_without_a_gap_nothing_is_shaded() -> None:
    """Without a gap the axis has its unit and its first day, and nothing is shaded."""
    figure = over_time([line((0, 10), (12, 20), (20, 30), until=30, after=0)], []).figure()

    assert figure.texts[-1].get_text() == "time (UTC), from 2025-09-22"
    assert list(figure.axes[0].patches) == []


def test_a_short_gap_is_written_in_hours() -> None:
    """A gap shorter than a day is written in hours, not as 0 days."""
    figure = over_time([line((0, 10), (0.1, 30), until=0.9, after=0)], []).figure()

    assert figure.texts[-1].get_text().endswith("; shaded: 19 hours left out")


# Layout

SPANS = [
    pytest.param(line((0, 10), (0.0001, 20), until=0.0002, after=0), id="seconds"),
    pytest.param(line((0, 10), (0.04, 20), until=0.2, after=2), id="hours"),
    pytest.param(line((0, 10), (0.3, 15), (0.6, 20), until=0.9), id="a day"),
    pytest.param(line((0, 10), (1, 15), (1.9, 20), until=2), id="two days"),
    pytest.param(line((0, 10), (5, 15), (9, 20), until=14), id="two weeks"),
    pytest.param(line((0, 10), (2, 15), (6, 20), until=7), id="two days, then a gap"),
    pytest.param(ENDED, id="weeks, then a gap"),
    pytest.param(line((0, 10), (21, 20), until=400, after=0), id="weeks, then a year"),
    pytest.param(line((0, 10), (350, 20), (360, 21), until=370, after=0), id="a gap, then weeks"),
    pytest.param(line((0, 10), (100, 20), (290, 30), until=500), id="months"),
    pytest.param(line((0, 10), (900, 20), (1700, 30), until=2500), id="years"),
    pytest.param(line((0, 10), until=0, after=0), id="one time"),
    pytest.param(line((0, 10), until=390, after=0), id="two times"),
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("lines", [*([span.values[0]] for span in SPANS), [ENDED, GOES_ON], many(4)])
def test_texts_are_whole_and_apart(lines: list[Line]) -> None:
    """For any length of time, no date, name or number overlaps another or leaves the picture."""
    chart = over_time(lines, [(BEGUN, "purpose added"), *((it.until, "fixed") for it in lines)])

    assert faults(chart) == []


@pytest.mark.parametrize("span", SPANS)
def test_an_axis_has_dates(span: Line) -> None:
    """For any length of time but a single moment, the axis has a date or a time on both widths."""
    chart = over_time([span], [])
    ticks = [chart.figure(narrow=narrow).axes[0].get_xticklabels() for narrow in (False, True)]

    assert all(ticks)


def test_names_of_events_share_a_line_only_where_there_is_space() -> None:
    """Events apart have their names on one line; of near ones, the names stand one above the other, or are joined."""
    scale = TimeScale.over([BEGUN, BEGUN + timedelta(days=10)])

    def lanes(days: float) -> list[tuple[str, int]]:
        events = [(BEGUN, "purpose added"), (BEGUN + timedelta(days=days), "fixed")]
        return [(it.what, it.lane) for it in event_lanes(events, scale, 450, 20)]

    assert lanes(9) == [("purpose added", 0), ("fixed", 0)]
    assert lanes(1) == [("purpose added", 1), ("fixed", 0)]
    assert lanes(0.1) == [("purpose added, fixed", 0)]
