"""The chart of the tested claims: its numbers, lines and alternative text."""

from datetime import UTC, datetime

import pytest
from matplotlib.lines import Line2D

from incident_lib.model import ClaimsReport, Latency, StrategyLatency
from incident_lib.report.chart import Chart
from incident_lib.report.claim_chart import write_latency
from tests.support.pictures import labels

POINTS = {
    "the plan's SQL by statement": [(-0.2, 9.0), (0.0, 1480.0), (1.6, 2.0)],
    "the plan's SQL in one transaction": [(0.0, 1500.0)],
    "this project": [(0.0, 12.0), (0.05, 4.0)],
}
ALT = (
    "A write took up to 1.5 s with the plan's SQL, up to 12 ms with this project's method. "
    "The plan's SQL by statement: up to 1.5 s, 1 duplicate admitted; finished after 1.5 s. "
    "The plan's SQL in one transaction: up to 1.5 s; finished after 1.5 s. "
    "This project: up to 12 ms; finished after 1.5 s."
)


@pytest.fixture
def chart() -> Chart:
    """The chart of three strategies."""
    strategies = [
        StrategyLatency(
            name=name,
            ours=name == "this project",
            begin=0.0,
            end=1.5,
            reader=(0.0, 1.5),
            longest_ms=max(longest for _, longest in points),
            duplicates=int(name.endswith("by statement")),
            errors={},
            points=points,
        )
        for name, points in POINTS.items()
    ]
    return write_latency(
        ClaimsReport(
            schema_version=2,
            tested_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            server_version=180004,
            seconds=12.3,
            claims=[],
            latency=Latency(threads=200_000, clients=6, strategies=strategies),
        )
    )


def test_the_chart_has_its_numbers(chart: Chart) -> None:
    """The title is the finding, and the alternative text has the title and each strategy's numbers."""
    assert (chart.title, chart.alt) == (ALT.partition(". ")[0], ALT)


def test_the_chart_draws_its_points(chart: Chart) -> None:
    """Each strategy is a line through its points, in seconds."""
    lines = chart.figure().axes[0].lines

    assert [line.get_xydata().tolist() for line in lines][: len(POINTS)] == [
        [[at, longest / 1000] for at, longest in points] for points in POINTS.values()
    ]


def test_the_chart_can_be_read_in_grey(chart: Chart) -> None:
    """Lines differ in their dashes, not only in colour, and the key above them has each with its name, in order."""
    figure = chart.figure()
    drawn = [str(line._unscaled_dash_pattern) for line in figure.axes[0].lines[: len(POINTS)]]

    assert len(set(drawn)) == 3
    assert [str(line._unscaled_dash_pattern) for line in figure.findobj(_is_sample)][:3] == drawn
    assert labels(figure) == [
        "The plan's SQL by statement: up to 1.5 s, 1 duplicate admitted",
        "The plan's SQL in one transaction: up to 1.5 s",
        "This project: up to 12 ms",
        "A reader's transaction is open",
    ]


def _is_sample(it: object) -> bool:
    """Whether it is a line that is drawn on the figure itself."""
    return isinstance(it, Line2D) and it.axes is None


def test_the_same_chart_is_the_same_svg(chart: Chart) -> None:
    """Rendering a chart twice gives the same SVG."""
    assert chart.svg() == chart.svg()
