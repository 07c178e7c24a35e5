"""Events on a time axis: a line at each, and its name above the axis, in as many lanes as the names need."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from incident_lib.report.style import FAINT, INK, LINE, TEXT, text_width
from incident_lib.report.time_scale import Free

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from matplotlib.axes import Axes

    from incident_lib.report.time_scale import TimeScale

LANE = LINE * TEXT
NEAR = 24.0  # points; events that are nearer to each other share a name


class Lane(NamedTuple):
    """One name: at which place of the axis, how many points from there it begins, how many lanes above the axis."""

    place: float
    what: str
    shift: float
    lane: int


def event_lanes(events: Sequence[tuple[datetime, str]], scale: TimeScale, width: float, right: float) -> list[Lane]:
    """Where the names of events stand, so that none overlaps another or leaves the picture.

    Args:
        events: what happened when.
        scale: of the time axis.
        width: of the axis, in points.
        right: the free points to the right of it.
    """
    lanes: list[Free] = []
    found = list[Lane]()
    for place, what in reversed(_joined(events, scale, width)):
        at, wide = scale.points(place, width), text_width(what)
        begin = _begin(at, wide, width, right)
        lane = next((number for number, free in enumerate(lanes) if free.take(begin, begin + wide)), len(lanes))
        if lane == len(lanes):
            lanes.append(Free(float("-inf"), float("inf")))
            lanes[-1].take(begin, begin + wide)
        found.append(Lane(place, what, begin - at, lane))
    return found[::-1]


def _begin(at: float, wide: float, width: float, right: float) -> float:
    """Where a name begins: at its event, or so that it ends there; else as far to the right as it can."""
    if at + wide <= width + right:
        return at
    return at - wide if at >= wide else width + right - wide


def mark_events(ax: Axes, lanes: Sequence[Lane]) -> None:
    """Draw a line at each event, and write its name above the axis."""
    for place, what, shift, lane in lanes:
        ax.axvline(place, color=FAINT, linewidth=1.2, linestyle=(0, (1, 2)))
        ax.annotate(
            what,
            (place, 1),
            (shift, 3 + lane * LANE),
            xycoords=ax.get_xaxis_transform(),
            textcoords="offset points",
            va="bottom",
            fontsize=TEXT,
            color=INK,
            annotation_clip=False,
        )


def _joined(events: Sequence[tuple[datetime, str]], scale: TimeScale, width: float) -> list[tuple[float, str]]:
    """Where events are; those that are near each other share one name."""
    found: list[tuple[float, str]] = []
    for at, what in sorted((scale.at(at), what) for at, what in events):
        if found and scale.points(at, width) - scale.points(found[-1][0], width) < NEAR:
            before = found[-1][1]
            found[-1] = (found[-1][0], before if what in before.split(", ") else f"{before}, {what}")
        else:
            found.append((at, what))
    return found
