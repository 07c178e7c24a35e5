"""The chart of time: since when families have been blocked, and when that ended."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from incident_lib import moments
from incident_lib.report.chart import AFTER, BEFORE, FAINT, INK, Chart, finished, integers
from incident_lib.words import families, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from matplotlib.axes import Axes

MOST_LINES = 4
# Told apart by colour, and in grey by their dashes.
STYLES = ((BEFORE, "-"), ("#0072B2", "--"), ("#009E73", "-."), ("#CC79A7", ":"))


@dataclass(frozen=True)
class Line:
    """How many of an environment's blocked families were blocked by each moment."""

    environment: str
    points: tuple[tuple[datetime, int], ...]
    until: datetime  # when the incident ended, else when it was looked at
    after: int | None  # how many were blocked after; None: the incident had not ended
    total: int  # how many were blocked at the look, also those of whom it is unknown since when

    @property
    def most(self) -> int:
        """How many of them are drawn: those of whom it is known since when."""
        return self.points[-1][1]

    @property
    def steps(self) -> list[tuple[datetime, int]]:
        """The points of the line, from nothing to what was after."""
        ends = [] if self.after is None else [(self.until, self.after)]
        return [(self.points[0][0], 0), *self.points, (self.until, self.most), *ends]

    @property
    def told(self) -> str:
        """The line in a sentence."""
        first, count = self.points[0]
        ended = f"looked at {moments.shown(self.until)}: not ended"
        if self.after is not None:
            ended = f"ended {moments.shown(self.until)}, {shown(self.after)} after"
        unknown = f" ({self.total - self.most:,} more of unknown since)" if self.total > self.most else ""
        return f"{self.environment}: {count:,} at {moments.shown(first)}, {self.most:,} at last{unknown}; {ended}."


def over_time(lines: Sequence[Line], events: Sequence[tuple[datetime, str]]) -> Chart:
    """The families blocked for chat over time, by environment, with the events that matter marked."""
    drawn = sorted(lines, key=lambda line: -line.most)[:MOST_LINES]
    title = _title(drawn[0], alone=len(lines) == 1)
    alt = f"{title}. " + " ".join(line.told for line in drawn)
    caption = (
        "Of the families that were blocked when they were looked at: how many had been blocked by each moment. "
        "Those that had freed themselves before are in no record."
    )
    if unknown := sum(line.total - line.most for line in lines):
        caption += f" Since when is unknown of {unknown:,} more."
    if len(lines) > MOST_LINES:
        caption += f" The {MOST_LINES} environments with most are drawn; all are in the table."
    return Chart(title, caption, alt, lambda ax: _draw(ax, title, drawn, events), height=3.4)


def _title(line: Line, *, alone: bool) -> str:
    where = "" if alone else f" in {line.environment}"
    first, count = line.points[0]
    if count * 2 > line.total:
        return f"{count:,} of {families(line.total)}{where} were blocked at once, on {first:%Y-%m-%d}"
    return f"{families(line.total)}{where} were blocked in the end, the first on {first:%Y-%m-%d}"


def _draw(ax: Axes, title: str, lines: Sequence[Line], events: Sequence[tuple[datetime, str]]) -> Axes:
    from matplotlib.dates import date2num

    times = sorted(float(date2num(at)) for at in [a for line in lines for a, _ in line.steps] + [a for a, _ in events])
    place, cut = _without_gap(times)
    most = max(line.most for line in lines)
    height = most * 2.0
    for line, (colour, dashes) in zip(lines, STYLES, strict=False):
        x = [place(float(date2num(at))) for at, _ in line.steps]
        ax.step(x, [n for _, n in line.steps], where="post", color=colour, linestyle=dashes, linewidth=2)
        label = f"{line.most:,}" if len(lines) == 1 else f"{line.environment} {line.most:,}"
        height = min(line.most, height - most * 0.09)  # no label lies on another
        ax.annotate(label, (x[-2], height), (-4, 3), textcoords="offset points", ha="right", fontsize=10, color=INK)
        _end(ax, line, x[-1], colour)
    for at, what in events:
        x_at = place(float(date2num(at)))
        ax.axvline(x_at, color=FAINT, linewidth=1, linestyle=(0, (1, 2)))
        ax.annotate(what, (x_at, most * 1.24), (4, 0), textcoords="offset points", fontsize=9, color=INK, va="top")
    _axis(ax, times, place, cut)
    ax.set_ylim(0, most * 1.26)
    ax.yaxis.set_major_locator(integers())
    ax.yaxis.set_major_formatter(lambda number, _: f"{number:,.0f}")
    finished(ax, title, f"time (UTC), from {lines[0].points[0][0]:%Y-%m-%d}")
    ax.set_ylabel("families blocked for chat", color=FAINT, loc="bottom")
    ax.lines[-1].remove()  # the line at zero: there is no zero in time
    ax.axhline(0, color=FAINT, linewidth=0.8)
    return ax


def _end(ax: Axes, line: Line, x: float, colour: str) -> None:
    """Where the line ends: at what was after; or, full, at a look that saw no end."""
    if line.after is None:
        ax.plot(x, line.most, "o", color=colour, clip_on=False)
    else:
        ax.plot(x, line.after, "o", color=AFTER, markeredgecolor=colour, clip_on=False)
        ax.annotate(f"{line.after:,}", (x, line.after), (8, 3), textcoords="offset points", fontsize=10, color=INK)


def _without_gap(times: Sequence[float]) -> tuple[Callable[[float], float], tuple[float, float] | None]:
    """Where on the axis a time lies, when a gap of more than half of all time is cut short; and that gap."""
    width, start, end = max(((b - a, a, b) for a, b in itertools.pairwise(times)), default=(0.0, 0.0, 0.0))
    whole = times[-1] - times[0]
    if width <= whole / 2 or whole == width:
        return lambda time: time, None
    kept = (whole - width) * 0.2

    def place(time: float) -> float:
        if time <= start:
            return time
        return start + kept * min(1.0, (time - start) / width) + max(0.0, time - end)

    return place, (start, end)


def _axis(ax: Axes, times: Sequence[float], place: Callable[[float], float], cut: tuple[float, float] | None) -> None:
    """Dates under the axis; where time was cut, how much of it."""
    from matplotlib.dates import num2date

    begin, end = times[0], cut[0] if cut else times[-1]
    margin = (place(times[-1]) - begin or 1.0) * 0.04
    ticks = _dates(begin, end)
    spelled = "%Y-%m" if end - begin > 400 else "%b %d" if end - begin > 2 else "%b %d %H:%M"
    labels = [f"{num2date(t):{spelled}}" for t in ticks]
    if cut:
        ticks, labels = [*ticks, times[-1]], [*labels, f"{num2date(times[-1]):%Y-%m-%d}"]
        left, right = map(place, cut)
        ax.axvspan(left, right, color=FAINT, alpha=0.12, linewidth=0)
        told = f"{cut[1] - cut[0]:,.0f} days left out"
        where = ax.get_xaxis_transform()
        ax.text((left + right) / 2, 0.03, told, transform=where, ha="center", va="bottom", rotation=90, color=FAINT)
    ax.set_xticks([place(t) for t in ticks], labels)
    ax.set_xlim(begin - margin, place(times[-1]) + margin * 2)


def _dates(begin: float, end: float) -> list[float]:
    """A few round moments between two, none so close to the next that their names would touch."""
    from matplotlib.dates import AutoDateLocator, num2date

    found = AutoDateLocator(minticks=3, maxticks=7).tick_values(num2date(begin), num2date(end))
    within = [float(t) for t in found if begin <= t <= end]
    least = (end - begin) / 10
    return [t for t, following in itertools.pairwise([*within, end + 2 * least]) if following - t > least]
