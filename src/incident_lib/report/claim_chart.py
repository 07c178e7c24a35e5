"""The chart of the tested claims: the latency of writes while the unique index was changed, from claims.json."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any, cast

from incident_lib.model import format_duration, plural
from incident_lib.report.chart import FAINT, INK, Chart, wrap_title

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from incident_lib.model import ClaimsReport, StrategyLatency

# Okabe and Ito's vermillion, black and blue; where they lie over each other, and in grey, the kinds of line tell.
PLAN_STYLES = (("#D55E00", (0, (4, 1.5))), (INK, (0, (1, 2.2))))
PROJECT_STYLE = ("#0072B2", "solid")


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
    return Chart(title, caption, alt, lambda ax: _draw(ax, title, strategies), height=3.6)


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


def _draw(ax: Axes, title: str, strategies: Sequence[StrategyLatency]) -> Axes:
    """A line for each strategy, its name beside it; no legend."""
    most = max(ms for strategy in strategies for _, ms in strategy.points) / 1000
    _mark_reader(ax, strategies, most)
    for place, (strategy, (colour, style)) in enumerate(_styled(strategies)):
        moments, longest = zip(*((at, ms / 1000) for at, ms in strategy.points), strict=True)
        ax.plot(moments, longest, color=colour, linestyle=style, linewidth=2.2)
        x, y = _beside(strategies, strategy, most, place)
        ax.hlines(y, x, x + 0.12, colors=colour, linestyles=style, linewidth=2.2)
        ax.text(x + 0.14, y, _summary(strategy), color=INK, fontsize=10.5, va="center_baseline")
    cast("Figure", ax.figure).suptitle(wrap_title(title), x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK)
    ax.set_title("seconds that a write took", loc="left", fontsize=10, color=FAINT)
    ax.set_xlabel("seconds since the change began", loc="left", color=FAINT)
    ax.set_ylim(-0.02 * most, 1.16 * most)
    ax.locator_params(nbins=5)
    ax.tick_params(length=0, colors=FAINT)
    ax.grid(axis="y", color=FAINT, alpha=0.25, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.margins(x=0)
    ax.spines[:].set_visible(False)
    return ax


def _mark_reader(ax: Axes, strategies: Sequence[StrategyLatency], most: float) -> None:
    """Shade the time in which a reader's transaction was open, in any strategy."""
    begin, end = (min(strategy.reader[side] for strategy in strategies) for side in (0, 1))
    ax.axvspan(begin, end, color=FAINT, alpha=0.1, linewidth=0, zorder=0)
    ax.text(end, 1.09 * most, "a reader's transaction is open  ", ha="right", va="center", fontsize=9, color=INK)


def _styled(strategies: Sequence[StrategyLatency]) -> Iterator[tuple[StrategyLatency, tuple[str, Any]]]:
    theirs = cycle(PLAN_STYLES)
    return ((strategy, PROJECT_STYLE if strategy.ours else next(theirs)) for strategy in strategies)


def _beside(
    strategies: Sequence[StrategyLatency], strategy: StrategyLatency, most: float, place: int
) -> tuple[float, float]:
    """Where the label of a line is: above it where the line is low, else to the right, one below the other."""
    longest, beside = strategy.longest_ms / 1000, (0.92 - 0.17 * place) * most
    if longest < 0.2 * most:
        return 0.04, longest + 0.06 * most
    return max(at for one in strategies for at, ms in one.points if ms / 1000 >= beside) + 0.1, beside
