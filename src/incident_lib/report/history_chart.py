"""The chart of time: since when families have been blocked, and when that ended."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, cast

from incident_lib.model import format_count, format_families, format_timestamp, shorten
from incident_lib.report.chart import AFTER, BEFORE, FAINT, INK, Chart, finish_axes, integer_ticks
from incident_lib.report.time_scale import TimeScale

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DAY = timedelta(days=1)
MOST_LINES = 4
# Distinguished by colour, and in grey by their dashes.
STYLES = ((BEFORE, "-"), ("#0072B2", "--"), ("#009E73", "-."), ("#CC79A7", ":"))


@dataclass(frozen=True)
class Line:
    """How many of an environment's blocked families had been blocked by each time."""

    environment: str
    points: tuple[tuple[datetime, int], ...]
    until: datetime  # when the incident ended, else when the snapshot was taken
    after: int | None  # how many were blocked after; None: the incident had not ended
    total: int  # how many were blocked in the snapshot, also those for an unknown time

    @property
    def most(self) -> int:
        """How many of them are drawn: those blocked since a known time."""
        return self.points[-1][1]

    @property
    def steps(self) -> list[tuple[datetime, int]]:
        """The points of the line, from 0 to the count after the fix."""
        ends = [] if self.after is None else [(self.until, self.after)]
        return [(self.points[0][0], 0), *self.points, (self.until, self.most), *ends]

    @property
    def summary(self) -> str:
        """The line in a sentence."""
        first, count = self.points[0]
        ended = f"not ended at {format_timestamp(self.until)}"
        if self.after is not None:
            ended = f"ended {format_timestamp(self.until)}, {format_count(self.after)} after"
        unknown = f" ({self.total - self.most:,} more since an unknown time)" if self.total > self.most else ""
        return (
            f"{self.environment}: {count:,} at {format_timestamp(first)}, {self.most:,} in the end{unknown}; {ended}."
        )


def over_time(
    lines: Sequence[Line], events: Sequence[tuple[datetime, str]], rejected: Sequence[tuple[datetime, int]] = ()
) -> Chart:
    """The families blocked for chat over time, by environment, with the events that matter marked.

    Args:
        lines: of the environments.
        events: what happened when.
        rejected: how many inserts the server logs have as rejected, by hour or day; drawn below.
    """
    drawn = sorted(lines, key=lambda line: -line.most)[:MOST_LINES]
    title = _title(drawn[0], alone=len(lines) == 1)
    total = f" Rejected inserts in the server logs: {sum(count for _, count in rejected):,}." if rejected else ""
    alt = f"{title}. " + " ".join(line.summary for line in drawn) + total
    caption = (
        "Families blocked at the time of the snapshot, by when they became blocked. "
        "Families that were blocked only before it are not known."
    )
    if unknown := sum(line.total - line.most for line in lines):
        caption += f" {unknown:,} more have been blocked since an unknown time."
    if len(lines) > MOST_LINES:
        caption += f" The {MOST_LINES} environments with most are drawn; all are in the table."
    if rejected:
        caption += " Below: rejected inserts per day, from the server logs."
    days = _by_day(rejected)
    return Chart(title, caption, alt, lambda ax: _draw(ax, title, drawn, events, days), height=4.6 if days else 3.4)


def _by_day(rejected: Sequence[tuple[datetime, int]]) -> list[tuple[datetime, int]]:
    counts: Counter[datetime] = Counter()
    for at, count in rejected:
        counts[at.replace(hour=0, minute=0, second=0, microsecond=0)] += count
    return sorted(counts.items())


def _title(line: Line, *, alone: bool) -> str:
    where = "" if alone else f" in {shorten(line.environment)}"
    first, count = line.points[0]
    if count * 2 > line.total:
        return f"{count:,} of {format_families(line.total)}{where} were blocked at once, on {first:%Y-%m-%d}"
    return f"{format_families(line.total)}{where} were blocked in the end, the first on {first:%Y-%m-%d}"


def _draw(
    ax: Axes,
    title: str,
    lines: Sequence[Line],
    events: Sequence[tuple[datetime, str]],
    days: Sequence[tuple[datetime, int]],
) -> Axes:
    moments = [at for line in lines for at, _ in line.steps] + [at for at, _ in events]
    scale = TimeScale.over([*moments, *(at for at, _ in days), *(at + DAY for at, _ in days[-1:])])
    most = max(line.most for line in lines)
    heights = _apart([line.most for line in lines], most * 0.09)
    for line, style, height in zip(lines, STYLES, heights, strict=False):
        name = f"{shorten(line.environment)} " if len(lines) > 1 else ""
        _line(ax, line, scale, style, height, name)
    for at, what in _joined(events, scale):
        ax.axvline(at, color=FAINT, linewidth=1, linestyle=(0, (1, 2)))
        ax.annotate(what, (at, most * 1.24), (4, 0), textcoords="offset points", fontsize=9, color=INK, va="top")
    ax.set_ylim(0, most * 1.26)
    _counted(ax, title, "families blocked for chat")
    scale.under(ax)
    since = f"time (UTC), from {_day(scale.times[0])}"
    if days:
        _attempts(ax, days, scale).set_xlabel(since, loc="left", color=FAINT)
        ax.set_xlabel("")
        ax.tick_params(axis="x", labelbottom=False)
    else:
        ax.set_xlabel(since, loc="left", color=FAINT)
    return ax


def _apart(heights: Sequence[float], least: float) -> list[float]:
    """Heights for labels so that they do not overlap: as they are, or higher."""
    found: dict[int, float] = {}
    free = 0.0
    for place in sorted(range(len(heights)), key=lambda place: heights[place]):
        found[place] = max(heights[place], free)
        free = found[place] + least
    return [found[place] for place in range(len(heights))]


def _joined(events: Sequence[tuple[datetime, str]], scale: TimeScale) -> list[tuple[float, str]]:
    """Where events are; those whose names would overlap share one label."""
    width = (scale.place(scale.times[-1]) - scale.place(scale.times[0])) or 1.0
    found: list[tuple[float, str]] = []
    for at, what in sorted((scale.at(at), what) for at, what in events):
        if found and at - found[-1][0] < width * 0.12:
            before = found[-1][1]
            found[-1] = (found[-1][0], before if what in before.split(", ") else f"{before}, {what}")
        else:
            found.append((at, what))
    return found


def _day(time: float) -> str:
    """The day of a time as matplotlib counts it."""
    from matplotlib.dates import num2date

    return f"{num2date(time):%Y-%m-%d}"


def _line(ax: Axes, line: Line, scale: TimeScale, style: tuple[str, str], height: float, name: str) -> None:
    """One environment's line, with its number at the height that is free."""
    colour, dashes = style
    x = [scale.at(at) for at, _ in line.steps]
    ax.step(x, [count for _, count in line.steps], where="post", color=colour, linestyle=dashes, linewidth=2)
    where = (x[len(line.points) + 1], height)
    ax.annotate(f"{name}{line.most:,}", where, (-4, 3), textcoords="offset points", ha="right", fontsize=10, color=INK)
    if line.after is None:
        ax.plot(x[-1], line.most, "o", color=colour, clip_on=False)
        return
    ax.plot(x[-1], line.after, "o", color=AFTER, markeredgecolor=colour, clip_on=False)
    label = f"{line.after:,}"
    ax.annotate(label, (x[-1], line.after), (8, 3), textcoords="offset points", fontsize=10, color=INK)


def _attempts(ax: Axes, days: Sequence[tuple[datetime, int]], scale: TimeScale) -> Axes:
    """The rejected inserts of each day, below and on the same time axis."""
    whole = ax.get_subplotspec()
    if whole is None:  # an Axes outside of a grid: there is no space to share
        below = ax.inset_axes((0, -0.8, 1, 0.5))
    else:
        grid = whole.subgridspec(2, 1, height_ratios=(5, 3))
        ax.set_subplotspec(grid[0])
        below = cast("Figure", ax.figure).add_subplot(grid[1], facecolor="none")
    left = [scale.at(at) for at, _ in days]
    widths = [scale.at(at + DAY) - begin for begin, (at, _) in zip(left, days, strict=True)]
    below.bar(left, [count for _, count in days], width=[0.86 * width for width in widths], align="edge", color=BEFORE)
    at, most = max(days, key=lambda day: day[1])
    where = (scale.at(at) + widths[0] / 2, most)
    below.annotate(f"{most:,}", where, (0, 2), textcoords="offset points", ha="center", fontsize=10, color=INK)
    below.set_ylim(0, most * 1.25)
    _counted(below, "", "rejected per day")
    scale.under(below)
    below.set_xlim(ax.get_xlim())
    return below


def _counted(ax: Axes, title: str, unit: str) -> None:
    """The style of a chart whose counts go upwards."""
    finish_axes(ax, title, "")
    ax.lines[-1].remove()  # the line at zero: there is no zero in time
    ax.axhline(0, color=FAINT, linewidth=0.8)
    ax.set_ylabel(unit, color=FAINT, loc="bottom")
    ax.yaxis.set_major_locator(integer_ticks())
    ax.yaxis.set_major_formatter(lambda number, _: f"{number:,.0f}")
