"""The chart of time: since when families have been blocked, and when that ended."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from incident_lib.model import format_count, format_families, format_timestamp
from incident_lib.report.chart import Chart
from incident_lib.report.events import LANE, Lane, event_lanes, mark_events
from incident_lib.report.sheet import BELOW, axis_margin, count_axis
from incident_lib.report.style import AFTER, BEFORE, FAINT, GAP, GREEN, INK, PINK, TEXT, Key, text_width
from incident_lib.report.time_scale import TimeScale

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from matplotlib.axes import Axes

    from incident_lib.report.sheet import Sheet

DAY = timedelta(days=1)
MOST_LINES = 4
# Distinguished by colour, and in grey by their dashes.
STYLES = ((BEFORE, "-"), (FAINT, "--"), (GREEN, "-."), (PINK, ":"))
THICK = 2.2
HEIGHT, LOWER = 150.0, 84.0  # of the two pictures, in points
LEAST_MARGIN = 26.0  # for the half of a date that reaches beyond its axis


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
    key = Key()
    names = [key.name("environment", line.environment) for line in drawn]
    title = _title(drawn[0], "" if len(lines) == 1 else f" in {names[0]}")
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
    history = _History(drawn, names, events, _by_day(rejected))
    return Chart(title, caption + key.sentence, alt, history.compose)


def _by_day(rejected: Sequence[tuple[datetime, int]]) -> list[tuple[datetime, int]]:
    counts: Counter[datetime] = Counter()
    for at, count in rejected:
        counts[at.replace(hour=0, minute=0, second=0, microsecond=0)] += count
    return sorted(counts.items())


def _title(line: Line, where: str) -> str:
    first, count = line.points[0]
    if count * 2 > line.total:
        return f"{count:,} of {format_families(line.total)}{where} were blocked at once, on {first:%Y-%m-%d}"
    return f"{format_families(line.total)}{where} were blocked in the end, the first on {first:%Y-%m-%d}"


@dataclass(frozen=True)
class _History:
    """What is drawn: lines, events, and the rejected inserts of each day."""

    lines: Sequence[Line]
    names: Sequence[str]
    events: Sequence[tuple[datetime, str]]
    days: Sequence[tuple[datetime, int]]

    @cached_property
    def scale(self) -> TimeScale:
        moments = [at for line in self.lines for at, _ in line.steps] + [at for at, _ in self.events]
        return TimeScale.over([*moments, *(at for at, _ in self.days), *(at + DAY for at, _ in self.days[-1:])])

    @property
    def most(self) -> int:
        return max(line.most for line in self.lines)

    def compose(self, sheet: Sheet) -> None:
        """Lay it out."""
        if len(self.lines) > 1:
            styles = ({"color": colour, "linestyle": dashes, "linewidth": THICK} for colour, dashes in STYLES)
            sheet.legend(list(zip(styles, map(_named, self.lines, self.names), strict=False)))
        after = max((text_width(f"{line.after:,}") for line in self.lines if line.after is not None), default=0.0)
        busiest = max((count for _, count in self.days), default=0)
        left = max(axis_margin(self.most), axis_margin(busiest), LEAST_MARGIN)
        right = max(after + 2 * GAP, LEAST_MARGIN)
        width = sheet.width - left - right
        sheet.heading("families blocked for chat")
        lanes = event_lanes(self.events, self.scale, width, right)
        sheet.space(LANE * (max((lane for *_, lane in lanes), default=-1) + 1))
        margins = {"left": left, "right": right}
        sheet.axes(HEIGHT, lambda ax: self._draw(ax, width, lanes, margins), **margins)
        if self.days:
            sheet.space(14)
            sheet.heading("inserts rejected per day")
            sheet.axes(LOWER, lambda ax: self._draw_days(ax, width, margins), **margins)
        sheet.space(LANE + BELOW)
        sheet.lines(self.scale.title, left, color=FAINT)

    def _draw(self, ax: Axes, width: float, lanes: Sequence[Lane], margins: dict[str, float]) -> None:
        for line, style in zip(self.lines, STYLES, strict=False):
            _line(ax, line, self.scale, style)
        if len(self.lines) == 1:
            _label_ends(ax, self.lines[0], self.scale, width)
        ax.set_ylim(0, max(self.most, 1) * HEIGHT / (HEIGHT - LANE - GAP))
        count_axis(ax, self.most)
        mark_events(ax, lanes)
        self.scale.label(ax, width, **margins)
        if self.days:
            ax.tick_params(axis="x", labelbottom=False)

    def _draw_days(self, ax: Axes, width: float, margins: dict[str, float]) -> None:
        """The rejected inserts of each day, on the same time axis."""
        left = [self.scale.at(at) for at, _ in self.days]
        widths = [self.scale.at(at + DAY) - begin for begin, (at, _) in zip(left, self.days, strict=True)]
        counts = [count for _, count in self.days]
        ax.bar(left, counts, width=[0.86 * each for each in widths], align="edge", color=BEFORE)
        busiest = counts.index(max(counts))
        middle, text = left[busiest] + 0.43 * widths[busiest], f"{counts[busiest]:,}"
        aside = _kept_inside(self.scale.points(middle, width), text_width(text), width)
        _write(ax, (middle, counts[busiest]), text, (aside, 3), ha="center")
        ax.set_ylim(0, max(counts[busiest], 1) * LOWER / (LOWER - LANE - GAP))
        count_axis(ax, counts[busiest])
        self.scale.label(ax, width, **margins)


def _named(line: Line, name: str) -> str:
    """`prod: 700 blocked, 0 after`."""
    return f"{name}: {line.most:,} blocked" + ("" if line.after is None else f", {line.after:,} after the fix")


def _line(ax: Axes, line: Line, scale: TimeScale, style: tuple[str, str]) -> None:
    """One environment's line, with a mark at its end."""
    colour, dashes = style
    x = [scale.at(at) for at, _ in line.steps]
    ax.step(x, [count for _, count in line.steps], where="post", color=colour, linestyle=dashes, linewidth=THICK)
    if line.after is None:
        ax.plot(x[-1], line.most, "o", color=colour, clip_on=False)
    else:
        ax.plot(x[-1], line.after, "o", color=AFTER, clip_on=False, zorder=5)


def _label_ends(ax: Axes, line: Line, scale: TimeScale, width: float) -> None:
    """The numbers of a line that is alone: where it ends, and after it."""
    until, text = scale.at(line.until), f"{line.most:,}"
    fits = scale.points(until, width) >= text_width(text) + GAP
    _write(ax, (until, line.most), text, (-4 if fits else 4, 4), ha="right" if fits else "left")
    if line.after is not None and (fits or line.after != line.most):
        is_near = (line.most - line.after) * HEIGHT < LANE * 2 * line.most and line.after > 0
        _write(ax, (until, line.after), f"{line.after:,}", (8, -3 if is_near else 3), va="top" if is_near else "bottom")


def _kept_inside(middle: float, text: float, width: float) -> float:
    """By how much a text is moved so that it does not leave its axis."""
    return max(0.0, text / 2 - middle) - max(0.0, middle + text / 2 - width)


def _write(
    ax: Axes, where: tuple[float, float], text: str, offset: tuple[float, float], ha: str = "left", va: str = "bottom"
) -> None:
    ax.annotate(text, where, offset, textcoords="offset points", ha=ha, va=va, fontsize=TEXT, color=INK)
