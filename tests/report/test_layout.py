"""The layout of all charts, on a page and a phone: texts are large, whole, apart, and of letters instead of boxes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from incident_lib import paths
from incident_lib.model import RecoveryCount
from incident_lib.model.records import BlockerCount
from incident_lib.records import RunFolder, read_claims
from incident_lib.report import charts
from incident_lib.report.chart import Chart
from incident_lib.report.claim_chart import write_latency
from incident_lib.report.history_chart import Line, over_time
from incident_lib.report.recovery_chart import Recovered, recovery_chart
from incident_lib.report.style import TEXT, Key, can_be_drawn, text_width, wrap
from tests.support.examples import few_examples
from tests.support.pictures import faults, labels
from tests.support.reports import blocker_count, snapshot_counts

BEGUN = datetime(2025, 9, 22, 6, tzinfo=UTC)
HUGE = 123_456_789
LONG = "a-name-of-forty-characters-in-production"
SCRIPTS = (
    "会议纪要 第三季度",
    "🚀 launch 🚀",
    "👩\u200d👩\u200d👧",
    "مراجعة العقد",
    "बैठक का सारांश",
    "План",
    "x\u202ey",
    "$x$",
)


def line(*grown: tuple[float, int], until: float = 30.0, after: int | None = 0, environment: str = "demo") -> Line:
    """A line by days since its begin and number of families."""
    points = tuple((BEGUN + timedelta(days=day), count) for day, count in grown)
    return Line(environment, points, BEGUN + timedelta(days=until), after, points[-1][1])


def recovered(blocked: int, *points: tuple[float, int], environment: str = "demo", begun: float = 21) -> Recovered:
    """A recovery by seconds since the fix, so many days after the incident began."""
    fixed = BEGUN + timedelta(days=begun)
    over = [(fixed + timedelta(seconds=at), count) for at, count in points]
    count = RecoveryCount(blocked=blocked, recovered=over[-1][1], since=fixed, at=over[-1][0], over_time=over)
    return Recovered(environment, count, line((0, 1), (2, blocked), until=begun))


FLEET = [charts.Compared(f"{LONG}-{n}", "", snapshot_counts(n), snapshot_counts(0, 0)) for n in range(50)]
EVENTS = [(BEGUN, "purpose added"), (BEGUN + timedelta(30), "fixed")]
DAYS = [(BEGUN + timedelta(day), HUGE >> day) for day in range(28)]
CHARTS = {
    "before and after": charts.before_after(snapshot_counts(1088), snapshot_counts(0, 0)),
    "only zeros": charts.before_after(snapshot_counts(0, 0), snapshot_counts(0, 0)),
    "unknown": charts.before_after(snapshot_counts(None, None), None),
    "huge numbers": charts.before_after(snapshot_counts(HUGE, HUGE), snapshot_counts(HUGE, 0)),
    "one environment": charts.compared(FLEET[:1], "A finding"),
    "three environments": charts.compared(
        [
            charts.Compared("demo", "", snapshot_counts(1088), snapshot_counts(0, 0)),
            charts.Compared("staging", "dry run", snapshot_counts(7, 5), None),
            charts.Compared("away", "KILLED", None, None),
        ],
        "1,095 families in 2 environments were blocked for chat; fixed in 1 of 3",
    ),
    "fifty environments": charts.compared(FLEET, "A finding " * 12),
    "huge changes": charts.compared(
        [charts.Compared(LONG, "FAILED", snapshot_counts(HUGE, HUGE), snapshot_counts(HUGE - 1, None))], "A finding"
    ),
    "blockers": charts.blockers([blocker_count("chat", 1057), blocker_count("run", 1, "chat", None)]),
    "long blockers": charts.blockers([blocker_count("chat", HUGE, "p" * 40, "q" * 40)] * 2),
    "all scripts": charts.blockers([blocker_count("chat", n, text, text) for n, text in enumerate(SCRIPTS)]),
    "no blockers": charts.blockers([]),
    "remaining": charts.remaining_conflicts(snapshot_counts(0)),
    "nothing remains": charts.remaining_conflicts(snapshot_counts(0, 0, 0, 0)),
    "second change": charts.provider_conflicts(snapshot_counts(0, 0, HUGE), snapshot_counts(0, 0, 0)),
    "second change, refused": charts.provider_conflicts(snapshot_counts(0, 0, HUGE), None, "refused"),
    "three weeks": over_time([line((0, 1029), (9, 1050), (21, 1084))], EVENTS, DAYS),
    "a gap": over_time([line((0, 1029), (3, 1050), until=400)], [(BEGUN, "purpose added")]),
    "one moment": over_time([line((0, HUGE), until=0)], EVENTS[:1]),
    "not ended": over_time([line((0, 0), (3, 1), until=3, after=None)], []),
    "many events": over_time(
        [line((0, 7), (9, 8))],
        [*EVENTS, *((BEGUN + timedelta(n / 3), ("purpose added", "fixed")[n % 2]) for n in range(20))],
    ),
    "four lines": over_time(
        [line((0, n), (5, 10 * n), until=20 + n / 9, environment=f"{LONG}-{n}") for n in range(1, 5)], EVENTS
    ),
    "recovery at once": recovery_chart([recovered(1088, (0.1, 9), (0.4, 269))]),
    "recovery over days": recovery_chart([recovered(HUGE, (86400, HUGE >> 2), (9 * 86400, HUGE >> 1))]),
    "recovery of four": recovery_chart([recovered(90 + n, (n, n), environment=f"{LONG}-{n}") for n in range(1, 5)]),
    "recovery without a begin": recovery_chart(
        [Recovered("demo", RunFolder(paths.EXAMPLE_RUN).read().recovery)]  # type: ignore[arg-type]
    ),
    "claims": write_latency(read_claims(paths.EXAMPLE_RUN / "claims.json")),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", CHARTS)
def test_every_text_is_whole_apart_and_large(name: str) -> None:
    """No text is cut off, overlaps another, or is smaller than the page's, at the width of a page and of a phone."""
    assert faults(CHARTS[name]) == []


NUMBERS = st.integers(0, 10) | st.integers(0, 10**9)
UNKNOWN = st.none() | NUMBERS
NAMES = st.text(max_size=40) | st.sampled_from(SCRIPTS)
COUNTS = st.builds(snapshot_counts, UNKNOWN, UNKNOWN, NUMBERS, NUMBERS)
KINDS = st.builds(blocker_count, st.sampled_from(["chat", "run"]), NUMBERS, st.none() | NAMES, st.none() | NAMES)
ENDS = st.sampled_from(["", "dry run", "refused", "FAILED", "KILLED", "running"])
ENVIRONMENTS = st.builds(charts.Compared, st.from_regex(r"[a-z][a-z0-9_-]{0,40}", fullmatch=True), ENDS, COUNTS, COUNTS)


@st.composite
def lines(draw: st.DrawFn) -> Line:
    """A line of any length, from seconds to years."""
    unit = draw(st.sampled_from([1 / 86400, 1 / 24, 1, 30]))
    days = sorted(draw(st.lists(st.floats(0, 30), min_size=1, max_size=5)))
    counts = sorted(draw(st.lists(NUMBERS, min_size=len(days), max_size=len(days))))
    until = days[-1] + draw(st.floats(0, 400))
    grown = [(day * unit, count) for day, count in zip(days, counts, strict=True)]
    return line(*grown, until=until * unit, after=draw(UNKNOWN), environment=draw(NAMES))


@st.composite
def histories(draw: st.DrawFn) -> Chart:
    """A chart over time, with events anywhere in it and rejected inserts of some days."""
    drawn = draw(st.lists(lines(), min_size=1, max_size=6))
    moments = st.sampled_from([at for each in drawn for at, _ in each.steps])
    events = draw(st.lists(st.tuples(moments, st.sampled_from(["purpose added", "fixed"])), max_size=8))
    rejected = draw(
        st.lists(st.tuples(moments, st.integers(1, 10**6)), max_size=4, unique_by=lambda day: day[0].date())
    )
    return over_time(drawn, events, rejected)


@st.composite
def recoveries(draw: st.DrawFn) -> Chart:
    """A chart of recovery within seconds or months, beside incidents of hours or years."""
    found = []
    for _ in range(draw(st.integers(1, 5))):
        counts = sorted(draw(st.lists(st.integers(1, 10**6), min_size=1, max_size=4)))
        seconds = sorted(draw(st.lists(st.floats(0, 10**7), min_size=len(counts), max_size=len(counts))))
        points = list(zip(seconds, counts, strict=True))
        begun = draw(st.sampled_from([0.1, 21.0, 900.0]))
        found.append(recovered(counts[-1] + draw(NUMBERS), *points, environment=draw(NAMES), begun=begun))
    return recovery_chart(found)


@pytest.mark.filterwarnings("error")
@settings(max_examples=few_examples(40))
@given(
    st.builds(charts.before_after, COUNTS, st.none() | COUNTS)
    | st.builds(charts.compared, st.lists(ENVIRONMENTS, min_size=1, max_size=15), st.just("A finding"))
    | st.builds(charts.blockers, st.lists(KINDS, max_size=9))
    | st.builds(charts.remaining_conflicts, COUNTS)
    | histories()
    | recoveries()
)
def test_every_text_of_any_chart_is_whole_apart_and_large(chart: Chart) -> None:
    """The same for charts of any numbers, names, times and events."""
    assert faults(chart) == []


# Letters of any script


@pytest.mark.parametrize("name", ["会议纪要", "🚀 launch", "👩\u200d👩\u200d👧", "बैठक", "회의"])
def test_a_name_that_the_font_lacks_stands_beside_the_chart(name: str) -> None:
    """A name with a letter that the font of the charts lacks is numbered; caption and text say what the number is."""
    chart = charts.blockers([blocker_count("chat", 7, "run", name)])

    assert labels(chart.figure()) == ["chat blocked by a run thread (provider 1)", "7"]
    assert chart.caption.endswith(f" Provider 1: {name}.")
    assert chart.alt.endswith(f" Provider 1: {name}.")


@pytest.mark.parametrize("name", ["مراجعة العقد", "שלום לכם", "План на октябрь", "σχέδιο", "naïve café", "Łódź"])
def test_a_name_that_the_font_has_is_drawn(name: str) -> None:
    """A name in another script than Latin is drawn where the font has its letters."""
    chart = charts.blockers([blocker_count("chat", 7, "run", name)])

    assert labels(chart.figure()) == [f"chat blocked by a run thread ({name})", "7"]


def test_a_purpose_that_the_font_lacks_is_called_by_its_number() -> None:
    """A purpose with such a letter is called by its number, which follows the word."""
    assert charts.blockers([blocker_count("chat", 7, "会议")]).title == (
        "7 of 7 families are blocked for chat by a thread of purpose 1 (openai)"
    )


def test_a_name_with_marks_of_direction_shows_them() -> None:
    """A mark that would turn the text after it is written as what it is."""
    chart = charts.blockers([blocker_count("chat", 7, "run", "x\u202ey")])

    assert labels(chart.figure()) == [r"chat blocked by a run thread (x\u202ey)", "7"]


def test_each_name_has_its_own_number() -> None:
    """Equal names share a number, others have their own, and each kind of name is numbered for itself."""
    key = Key()
    found = [
        key.name(*each) for each in (("provider", "会"), ("provider", "議"), ("provider", "会"), ("purpose", "会"))
    ]

    assert found == ["provider 1", "provider 2", "provider 1", "purpose 1"]
    assert key.sentence == " Provider 1: 会. Provider 2: 議. Purpose 1: 会."


@given(st.text(max_size=30))
def test_what_can_be_drawn_has_no_boxes(text: str) -> None:
    """A text of which the font is said to have all letters is measured without a warning of a missing one."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if can_be_drawn(text):
            text_width(text)


@given(st.text(min_size=1, max_size=60), st.floats(30, 500))
def test_no_line_is_too_wide(text: str, width: float) -> None:
    """A text in lines has all its letters, in order, and no line is wider than it may be."""
    drawn = "".join(letter if can_be_drawn(letter) else "x" for letter in text)
    found = wrap(drawn, width)

    assert "".join(found).replace(" ", "") == "".join(drawn.split())
    assert [each for each in found if text_width(each) > width] == []


def test_the_text_of_a_chart_is_as_large_as_that_of_the_page() -> None:
    """At the size at which a page shows it, a chart's text has the 16 pixels of the page's text."""
    assert TEXT * 96 / 72 == 16


def test_the_same_kind_of_blocker_twice_is_two_rows() -> None:
    """Two kinds whose shortened names are equal are two rows."""
    kinds: list[BlockerCount] = [blocker_count("chat", n, "run", "p" * 18 + str(n)) for n in (1, 2)]

    assert len(charts.blockers(kinds).figure().axes[0].patches) == 2
