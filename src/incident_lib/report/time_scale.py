"""The time axis: in UTC; a long gap without events is shortened, and marked as such."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from incident_lib.report.style import FAINT, text_width

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from matplotlib.axes import Axes

KEPT = 0.2  # of what is left of the axis, for the gap
DAYS = "%b %d"
SPACE = 8.0  # points between two labels


@dataclass(frozen=True)
class TimeScale:
    """Where times are on an axis; the widest gap between two of them is shortened where it is more than half."""

    times: tuple[float, ...]  # days, in order, as matplotlib counts them

    @classmethod
    def over(cls, times: Iterable[datetime]) -> TimeScale:
        """The axis over these times."""
        from matplotlib.dates import date2num

        return cls(tuple(sorted(float(date2num(at)) for at in times)))

    @cached_property
    def gap(self) -> tuple[float, float] | None:
        """From when to when the axis is shortened."""
        whole = self.times[-1] - self.times[0]
        width, begin, end = max(((b - a, a, b) for a, b in itertools.pairwise(self.times)), default=(0.0, 0.0, 0.0))
        return (begin, end) if whole / 2 < width < whole else None

    def at(self, moment: datetime) -> float:
        """Where a time is on the axis."""
        from matplotlib.dates import date2num

        return self.place(float(date2num(moment)))

    def place(self, time: float) -> float:
        """Where a time, in days, is on the axis: never before an earlier one."""
        if self.gap is None or time <= self.gap[0]:
            return time
        begin, end = self.gap
        kept = (self.times[-1] - self.times[0] - (end - begin)) * KEPT
        return begin + kept * min(1.0, (time - begin) / (end - begin)) + max(0.0, time - end)

    @property
    def begin(self) -> float:
        """The first time."""
        return self.times[0]

    @property
    def span(self) -> tuple[float, float]:
        """From where to where the axis reaches: a bit farther than its times."""
        end = self.place(self.times[-1])
        margin = ((end - self.begin) or 1.0) * 0.04
        return self.begin - margin, end + margin * 2

    def points(self, place: float, width: float) -> float:
        """How many points a place is from the left end of an axis that is so wide."""
        left, right = self.span
        return (place - left) / (right - left) * width

    def label(self, ax: Axes, width: float, *, left: float, right: float) -> None:
        """Label times under an axis, and mark the shortened gap.

        Args:
            ax: the axis.
            width: of it, in points.
            left: the free points to the left of it.
            right: those to the right.
        """
        free = Free(-left, width + right)
        labels = dict[float, str]()
        for time, label in self._candidates():
            middle, half = self.points(self.place(time), width), text_width(label) / 2
            if free.take(middle - half, middle + half):
                labels[self.place(time)] = label
        ax.set_xlim(*self.span)
        ax.set_xticks(list(labels), list(labels.values()))
        if self.gap:
            ax.axvspan(*map(self.place, self.gap), color=FAINT, alpha=0.12, linewidth=0)

    def _candidates(self) -> list[tuple[float, str]]:
        """Times and their labels, those first that are to have one."""
        from matplotlib.dates import num2date

        end = self.gap[0] if self.gap else self.times[-1]
        pattern = _pattern(end - self.begin)
        times = [time for time in _round(self.begin, end) if pattern != DAYS or time % 1 == 0]
        found = [(time, f"{num2date(time):{pattern}}") for time in times]
        if not self.gap:
            return found
        of_end = "%Y-%m-%d" if self.times[-1] - self.begin > 1.5 else "%H:%M"
        return [(self.times[-1], f"{num2date(self.times[-1]):{of_end}}"), *found]

    @property
    def left_out(self) -> str:
        """How long the shortened gap is, in words; empty where there is none."""
        if not self.gap:
            return ""
        days = self.gap[1] - self.gap[0]
        return f"{days:,.0f} days left out" if days >= 2 else f"{days * 24:,.0f} hours left out"

    @property
    def title(self) -> str:
        """What stands under the axis: its unit and its first day, and what is left out of it."""
        from matplotlib.dates import num2date

        since = f"time (UTC), from {num2date(self.begin):%Y-%m-%d}"
        return f"{since}; shaded: {self.left_out}" if self.gap else since


class Free:
    """What is still free of a line of text."""

    def __init__(self, begin: float, end: float) -> None:
        self._begin, self._end = begin, end
        self._taken: list[tuple[float, float]] = []

    def take(self, begin: float, end: float) -> bool:
        """Take this part, unless it is not free with a space beside it."""
        if begin < self._begin or end > self._end:
            return False
        if any(begin < taken_end + SPACE and end > taken_begin - SPACE for taken_begin, taken_end in self._taken):
            return False
        self._taken.append((begin, end))
        return True


def _pattern(days: float) -> str:
    """How times are written on an axis of so many days."""
    for longer, pattern in ((400, "%Y-%m"), (1.5, DAYS), (5 / 1440, "%H:%M")):
        if days > longer:
            return pattern
    return "%H:%M:%S"


def _round(begin: float, end: float) -> list[float]:
    """A few round times between two."""
    from matplotlib.dates import AutoDateLocator, num2date

    found = AutoDateLocator(minticks=3, maxticks=7).tick_values(num2date(begin), num2date(end))
    return [time for time in map(float, found) if begin <= time <= end]
