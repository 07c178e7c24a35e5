"""The time axis: in UTC; a long gap without events is shortened, and marked as such."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from incident_lib.report.chart import FAINT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from matplotlib.axes import Axes

KEPT = 0.2  # of what is left of the axis, for the gap


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

    def under(self, ax: Axes) -> None:
        """Label times under an axis, and the shortened gap with its length."""
        from matplotlib.dates import num2date

        begin, end = self.times[0], self.gap[0] if self.gap else self.times[-1]
        whole = self.place(self.times[-1]) - begin
        margin = (whole or 1.0) * 0.04
        # Labels with hours are longer; a shortened gap is drawn smaller, and its end has a label, too.
        ticks = _round(begin, end, least=whole * (0.12 if end - begin > 2 else 0.2))
        pattern = "%Y-%m" if end - begin > 400 else "%b %d" if end - begin > 2 else "%b %d %H:%M"
        labels = [f"{num2date(time):{pattern}}" for time in ticks]
        if self.gap:
            ticks, labels = [*ticks, self.times[-1]], [*labels, f"{num2date(self.times[-1]):%Y-%m-%d}"]
            self.mark_gap(ax)
        ax.set_xticks([self.place(time) for time in ticks], labels)
        ax.set_xlim(begin - margin, self.place(self.times[-1]) + margin * 2)

    def mark_gap(self, ax: Axes) -> None:
        """Shade the gap, and say how long it is."""
        if self.gap:
            left, right = map(self.place, self.gap)
            ax.axvspan(left, right, color=FAINT, alpha=0.12, linewidth=0)
            days, where = self.gap[1] - self.gap[0], ax.get_xaxis_transform()
            label = f"{days:,.0f} days left out" if days >= 2 else f"{days * 24:,.0f} hours left out"
            ax.text(
                (left + right) / 2, 0.03, label, transform=where, ha="center", va="bottom", rotation=90, color=FAINT
            )


def _round(begin: float, end: float, least: float) -> list[float]:
    """A few round times between two, with so much space between them that their labels do not touch."""
    from matplotlib.dates import AutoDateLocator, num2date

    found = AutoDateLocator(minticks=3, maxticks=7).tick_values(num2date(begin), num2date(end))
    apart = list[float]()
    for time in map(float, found):
        if begin <= time <= end and (not apart or time - apart[-1] >= least):
            apart.append(time)
    return apart
