"""The chart of the tested claims: how long writes took while the unique index was changed. From `claims.json` alone."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any, cast

from incident_lib.model import format_duration, plural
from incident_lib.report.chart import FAINT, INK, Chart

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's vermillion, black and blue; where they lie over each other, and in grey, the kinds of line tell.
PLAN_STYLES = (("#D55E00", (0, (4, 1.5))), (INK, (0, (1, 2.2))))
PROJECT_STYLE = ("#0072B2", "solid")

StrategyResult = dict[str, Any]


def write_latency(claims: dict[str, Any]) -> Chart:
    """How long the writes took that were due before, while and after the unique index was changed, way by way.

    Args:
        claims: the contents of a claims.json.
    """
    ways = claims["latency"]["ways"]
    title = _conclusion(ways)
    caption = (
        "Each line is the longest of the writes that were due within 50 ms: from the moment a user asked for it to its "
        "answer. Shaded: while a reader's transaction was open."
    )
    alt = f"{title}. " + " ".join(f"{_told(way)}; over after {format_duration(way['end'])}." for way in ways)
    return Chart(title, caption, alt, lambda ax: _draw(ax, title, ways), height=3.6)


def _conclusion(ways: Sequence[StrategyResult]) -> str:
    theirs, ours = (max(way["longest_ms"] for way in ways if way["ours"] is whose) for whose in (False, True))
    return f"A write took up to {_span(theirs)} under the plan's SQL, up to {_span(ours)} under ours"


def _told(way: StrategyResult) -> str:
    """What is said of one way, in the picture and in its place."""
    name = f"{way['name'][0].upper()}{way['name'][1:]}"
    admitted = f", {plural(way['duplicates'], 'duplicate')} let in" if way["duplicates"] else ""
    return f"{name}: up to {_span(way['longest_ms'])}{admitted}"


def _span(milliseconds: float) -> str:
    return format_duration(milliseconds / 1000)


def _draw(ax: Axes, title: str, ways: Sequence[StrategyResult]) -> Axes:
    """A line for each way, its name beside it; no legend."""
    most = max(ms for way in ways for _, ms in way["points"]) / 1000
    _mark_reader(ax, ways, most)
    for place, (way, (colour, style)) in enumerate(_styled(ways)):
        moments, longest = zip(*((at, ms / 1000) for at, ms in way["points"]), strict=True)
        ax.plot(moments, longest, color=colour, linestyle=style, linewidth=2.2)
        x, y = _beside(ways, way, most, place)
        ax.hlines(y, x, x + 0.12, colors=colour, linestyles=style, linewidth=2.2)
        ax.text(x + 0.14, y, _told(way), color=INK, fontsize=10.5, va="center_baseline")
    cast("Figure", ax.figure).suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK)
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


def _mark_reader(ax: Axes, ways: Sequence[StrategyResult], most: float) -> None:
    """Shade the time in which a reader's transaction was open, whatever the way."""
    begin, end = (min(way["reader"][side] for way in ways) for side in (0, 1))
    ax.axvspan(begin, end, color=FAINT, alpha=0.1, linewidth=0, zorder=0)
    ax.text(end, 1.09 * most, "a reader's transaction is open  ", ha="right", va="center", fontsize=9, color=INK)


def _styled(ways: Sequence[StrategyResult]) -> Iterator[tuple[StrategyResult, tuple[str, Any]]]:
    theirs = cycle(PLAN_STYLES)
    return ((way, PROJECT_STYLE if way["ours"] else next(theirs)) for way in ways)


def _beside(ways: Sequence[StrategyResult], way: StrategyResult, most: float, place: int) -> tuple[float, float]:
    """Where a line is named, after a piece of it: above it where it is low, else right of all slopes, in turn lower."""
    longest, beside = way["longest_ms"] / 1000, (0.92 - 0.17 * place) * most
    if longest < 0.2 * most:
        return 0.04, longest + 0.06 * most
    return max(at for one in ways for at, ms in one["points"] if ms / 1000 >= beside) + 0.1, beside
