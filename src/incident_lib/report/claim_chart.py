"""The chart of the tested claims: the latency of writes while the unique index was changed, from claims.json."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any

from incident_lib.model import format_duration, plural
from incident_lib.report.chart import Chart
from incident_lib.report.sheet import BELOW, axis_margin, count_axis
from incident_lib.report.style import AFTER, BEFORE, FAINT, INK, LINE, TEXT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes

    from incident_lib.model import ClaimsReport, StrategyLatency
    from incident_lib.report.sheet import Sheet

# Where the lines lie over each other, and in grey, the kinds of line tell.
PLAN_STYLES = ((BEFORE, (0, (4, 1.5))), (INK, (0, (1, 2.2))))
PROJECT_STYLE = (AFTER, "solid")
THICK, SHADE = 2.2, 0.15
HEIGHT, RIGHT = 170.0, 16.0  # in points


def write_latency(claims: ClaimsReport) -> Chart:
    """How long writes took that were due before, while and after the unique index was changed, by strategy.

    Args:
        claims: the tested claims.
    """
    strategies = claims.latency.strategies
    title = _conclusion(strategies)
    caption = (
        "Each line is the longest of the writes that were due within 50 ms: from the user's request to the answer. "
        "Shaded: while a reader's transaction was open."
    )
    alt = f"{title}. " + " ".join(
        f"{_summary(strategy)}; finished after {format_duration(strategy.end)}." for strategy in strategies
    )
    return Chart(title, caption, alt, lambda sheet: _compose(sheet, strategies))


def _conclusion(strategies: Sequence[StrategyLatency]) -> str:
    theirs, ours = (
        max(strategy.longest_ms for strategy in strategies if strategy.ours is whose) for whose in (False, True)
    )
    return f"A write took up to {_span(theirs)} with the plan's SQL, up to {_span(ours)} with this project's method"


def _summary(strategy: StrategyLatency) -> str:
    """The summary of one strategy, in the picture and in its alternative text."""
    name = f"{strategy.name[0].upper()}{strategy.name[1:]}"
    admitted = f", {plural(strategy.duplicates, 'duplicate')} admitted" if strategy.duplicates else ""
    return f"{name}: up to {_span(strategy.longest_ms)}{admitted}"


def _span(milliseconds: float) -> str:
    return format_duration(milliseconds / 1000)


def _compose(sheet: Sheet, strategies: Sequence[StrategyLatency]) -> None:
    """A line for each strategy; above them the key, with what each came to."""
    most = max(ms for strategy in strategies for _, ms in strategy.points) / 1000
    lines = [
        ({"color": colour, "linestyle": style, "linewidth": THICK}, _summary(strategy))
        for strategy, (colour, style) in _styled(strategies)
    ]
    sheet.legend(
        [
            *lines,
            (
                {"color": FAINT, "alpha": SHADE, "linewidth": TEXT, "solid_capstyle": "butt"},
                "A reader's transaction is open",
            ),
        ]
    )
    sheet.heading("seconds that a write took")
    left = axis_margin(most, whole=False)
    sheet.axes(HEIGHT, lambda ax: _draw(ax, strategies, most), left=left, right=RIGHT)
    sheet.space(LINE * TEXT + BELOW)
    sheet.lines("seconds since the change began", left, color=FAINT)


def _draw(ax: Axes, strategies: Sequence[StrategyLatency], most: float) -> None:
    begin, end = (pick(strategy.reader[side] for strategy in strategies) for side, pick in ((0, min), (1, max)))
    ax.axvspan(begin, end, color=FAINT, alpha=SHADE, linewidth=0, zorder=0)
    for strategy, (colour, style) in _styled(strategies):
        moments, longest = zip(*((at, ms / 1000) for at, ms in strategy.points), strict=True)
        ax.plot(moments, longest, color=colour, linestyle=style, linewidth=THICK)
    ax.margins(x=0)
    ax.locator_params(axis="x", nbins=4)
    ax.set_ylim(0, 1.05 * most)
    count_axis(ax, most, whole=False)


def _styled(strategies: Sequence[StrategyLatency]) -> Iterator[tuple[StrategyLatency, tuple[str, Any]]]:
    theirs = cycle(PLAN_STYLES)
    return ((strategy, PROJECT_STYLE if strategy.ours else next(theirs)) for strategy in strategies)
