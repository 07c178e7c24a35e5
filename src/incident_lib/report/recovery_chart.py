"""The chart of recovery: the families that have got a chat since the fix, on the time axis of the whole incident."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from incident_lib.model import format_duration, format_families, format_minute
from incident_lib.report.chart import Chart
from incident_lib.report.events import LANE, Lane, event_lanes, mark_events
from incident_lib.report.history_chart import HEIGHT, LEAST_MARGIN, THICK
from incident_lib.report.sheet import BELOW, axis_margin, count_axis
from incident_lib.report.style import AFTER, BEFORE, FAINT, GAP, GREEN, INK, PINK, TEXT, Key, text_width
from incident_lib.report.time_scale import TimeScale

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from matplotlib.axes import Axes

    from incident_lib.model import RecoveryCount
    from incident_lib.report.history_chart import Line
    from incident_lib.report.sheet import Sheet

MOST_LINES = 4
STYLES = ((AFTER, "-"), (FAINT, "--"), (GREEN, "-."), (PINK, ":"))


@dataclass(frozen=True)
class Recovered:
    """The recovery of one environment, and its line of blocked families, where that is known."""

    environment: str
    count: RecoveryCount
    line: Line | None = None

    @property
    def texts(self) -> tuple[str, str]:
        """How many were blocked, and how many have a chat again."""
        return f"{self.count.blocked:,} were blocked", f"{self.count.recovered:,} had a chat again"

    @property
    def points(self) -> list[tuple[datetime, int]]:
        """How many families had a chat again by each time, from 0 at the fix on; none of them before the fix."""
        since, at = self.count.since, self.count.at
        found = [(since, 0), *((max(when, since), number) for when, number in self.count.over_time)]
        return [*found, (max(at, found[-1][0]), found[-1][1])]

    @property
    def blocked(self) -> list[tuple[datetime, int]]:
        """How many were blocked by each time until the fix; empty where it is not known since when."""
        return [(self.line.points[0][0], 0), *self.line.points, (self.count.since, self.line.most)] if self.line else []


def recovery_chart(found: Sequence[Recovered], *, is_undone: bool = False) -> Chart:
    """The families that have got a chat since the fix, over time.

    Args:
        found: the recoveries, of which at least one has a family that has recovered.
        is_undone: whether a fix is gone again: then its families may be blocked.
    """
    blocked, back = (sum(getattr(each.count, key) for each in found) for key in ("blocked", "recovered"))
    key = Key()
    title = f"{format_families(back)} of {blocked:,} that were blocked had a chat again when counted"
    alt = f"{title}. " + " ".join(f"{each.environment}: {_numbers(each)}." for each in found)
    caption = _caption([each.count for each in found], 0 if is_undone else blocked - back)
    drawn = sorted((each for each in found if each.count.over_time), key=lambda each: -each.count.blocked)[:MOST_LINES]
    if len(found) > MOST_LINES:
        caption += f" The {MOST_LINES} environments with most are drawn; all are in the table."
    picture = _Recovery(drawn, [key.name("environment", each.environment) for each in drawn])
    return Chart(title, caption + key.sentence, alt, picture.compose)


def _caption(counts: Sequence[RecoveryCount], left: int) -> str:
    """When it was counted, what counts as recovered, and what is not known of the others."""
    others = (
        f" Another purpose does not block the other {left:,} any more; whether their users have tried is not known."
        if left
        else ""
    )
    at = max(count.at for count in counts)
    lasted = format_duration(max(0.0, (at - counts[0].since).total_seconds()))
    after = f", {lasted} after the fix" if len(counts) == 1 else ""
    return f"Counted {format_minute(at)} UTC{after}. A family counts with its first chat after the fix.{others}"


def _numbers(recovered: Recovered) -> str:
    return f"{recovered.count.recovered:,} of {recovered.count.blocked:,}"


@dataclass(frozen=True)
class _Recovery:
    """What is drawn."""

    found: Sequence[Recovered]
    names: Sequence[str]

    @cached_property
    def scale(self) -> TimeScale:
        return TimeScale.over(at for each in self.found for at, _ in (*each.blocked, *each.points))

    @property
    def most(self) -> int:
        return max(each.count.blocked for each in self.found)

    def compose(self, sheet: Sheet) -> None:
        """Lay it out."""
        left = max(axis_margin(self.most), LEAST_MARGIN)
        width = sheet.width - left - LEAST_MARGIN
        sheet.legend(self._legend(width))
        sheet.heading("families")
        fixed = [(each.count.since, "fixed") for each in self.found]
        lanes = event_lanes(fixed, self.scale, width, LEAST_MARGIN)
        sheet.space(LANE * (max((lane for *_, lane in lanes), default=-1) + 1))
        sheet.axes(HEIGHT, lambda ax: self._draw(ax, width, lanes, left), left=left, right=LEAST_MARGIN)
        sheet.space(LANE + BELOW)
        sheet.lines(self.scale.title, left, color=FAINT)

    def _has_labels(self, width: float) -> bool:
        """Whether the numbers stand beside their lines: of one environment, where there is space."""
        return len(self.found) == 1 and max(map(text_width, self.found[0].texts)) + GAP <= width

    def _legend(self, width: float) -> list[tuple[dict[str, Any], str]]:
        if self._has_labels(width):
            return []
        texts = [f"{name}: {_numbers(each)}" for name, each in zip(self.names, self.found, strict=True)]
        styles: tuple[tuple[str, str], ...] = STYLES
        if len(self.found) == 1:
            texts, styles = list(self.found[0].texts), ((BEFORE, "-"), STYLES[0])
        lines = ({"color": colour, "linestyle": dashes, "linewidth": THICK} for colour, dashes in styles)
        return list(zip(lines, texts, strict=False))

    def _draw(self, ax: Axes, width: float, lanes: Sequence[Lane], left: float) -> None:
        for each, (colour, dashes) in zip(self.found, STYLES, strict=False):
            self._step(ax, each.points, colour, dashes)
            ax.plot(self.scale.at(each.points[-1][0]), each.points[-1][1], "o", color=colour, clip_on=False, zorder=5)
        if len(self.found) == 1:
            self._draw_blocked(ax, self.found[0], width)
        ax.set_ylim(0, max(self.most, 1) * HEIGHT / (HEIGHT - LANE - GAP))
        count_axis(ax, self.most)
        mark_events(ax, lanes)
        self.scale.label(ax, width, left=left, right=LEAST_MARGIN)

    def _step(self, ax: Axes, points: Sequence[tuple[datetime, int]], colour: str, dashes: str) -> None:
        x, y = [self.scale.at(at) for at, _ in points], [count for _, count in points]
        ax.step(x, y, where="post", color=colour, linestyle=dashes, linewidth=THICK)

    def _draw_blocked(self, ax: Axes, each: Recovered, width: float) -> None:
        """How many were blocked before the fix, and the two numbers in words."""
        if each.blocked:
            self._step(ax, each.blocked, BEFORE, "-")
        else:
            ax.axhline(each.count.blocked, color=FAINT, linewidth=1.0, linestyle="--")
        count = each.count
        is_near = (count.blocked - count.recovered) * HEIGHT < LANE * 2 * count.blocked
        if self._has_labels(width):
            blocked, recovered = each.texts
            self._write(ax, (count.since, count.blocked), blocked, width)
            self._write(ax, each.points[-1], recovered, width, is_below=is_near)

    def _write(self, ax: Axes, point: tuple[datetime, int], text: str, width: float, *, is_below: bool = False) -> None:
        """Write a text above or below a point: to its left, or where there is space."""
        place = self.scale.at(point[0])
        at, wide = self.scale.points(place, width), text_width(text)
        begin = at - GAP - wide if at - GAP >= wide else min(at + GAP, width - wide)
        ax.annotate(
            text,
            (place, point[1]),
            (begin - at, -5 if is_below else 4),
            textcoords="offset points",
            va="top" if is_below else "bottom",
            fontsize=TEXT,
            color=INK,
        )
