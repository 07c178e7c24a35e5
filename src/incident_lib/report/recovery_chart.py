"""The chart of recovery: the families that have got a chat since the fix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from incident_lib.model import format_families
from incident_lib.report.chart import AFTER, FAINT, INK, Chart, finish_axes, integer_ticks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from matplotlib.axes import Axes

    from incident_lib.model import RecoveryCount

MOST_LINES = 4
DASHES = ("-", "--", "-.", ":")
UNITS = (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))


def recovery_chart(found: Sequence[tuple[str, RecoveryCount]]) -> Chart:
    """The families that have got a chat since the fix, over time.

    Args:
        found: environments and their recoveries, of which at least one family has recovered.
    """
    blocked, back = (sum(getattr(recovery, key) for _, recovery in found) for key in ("blocked", "recovered"))
    title = f"{format_families(back)} of {blocked:,} that were blocked have a chat again"
    alt = f"{title}. " + " ".join(f"{name}: {r.recovered:,} of {r.blocked:,}." for name, r in found)
    caption = (
        "A family counts as recovered with its first chat after the fix; one that has not tried again does not count."
    )
    drawn = sorted((pair for pair in found if pair[1].over_time), key=lambda pair: -pair[1].blocked)[:MOST_LINES]
    if len(found) > MOST_LINES:
        caption += f" The {MOST_LINES} environments with most are drawn; all are in the table."
    return Chart(title, caption, alt, lambda ax: _draw(ax, title, drawn), height=2.8)


def _draw(ax: Axes, title: str, found: Sequence[tuple[str, RecoveryCount]]) -> Axes:
    longest = max(_seconds(recovery, recovery.over_time[-1][0]) for _, recovery in found)
    unit, size = next(((name, size) for name, size in UNITS if longest >= 2 * size), UNITS[-1])
    most = max(recovery.blocked for _, recovery in found)
    for (name, recovery), dashes in zip(found, DASHES, strict=False):
        x = [0.0, *(_seconds(recovery, at) / size for at, _ in recovery.over_time)]
        y = [0, *(count for _, count in recovery.over_time)]
        ax.step(x, y, where="post", color=AFTER, linestyle=dashes, linewidth=2.4)
        ax.axhline(recovery.blocked, color=FAINT, linestyle=dashes, linewidth=0.9)
        prefix = f"{name}: " if len(found) > 1 else ""
        ax.annotate(
            f"{prefix}{recovery.recovered:,} have a chat again",
            (x[-1], y[-1]),
            (-4, 5),
            textcoords="offset points",
            ha="right",
            fontsize=10,
            color=INK,
        )
        ax.annotate(
            f"{prefix}{recovery.blocked:,} were blocked",
            (0, recovery.blocked),
            (4, 4),
            textcoords="offset points",
            fontsize=10,
            color=INK,
        )
    ax.set_ylim(0, most * 1.2)
    ax.yaxis.set_major_locator(integer_ticks())
    ax.yaxis.set_major_formatter(lambda number, _: f"{number:,.0f}")
    finish_axes(ax, title, f"{unit} since the fix")
    ax.set_ylabel("families", color=FAINT, loc="bottom")
    return ax


def _seconds(recovery: RecoveryCount, at: datetime) -> float:
    return max(0.0, (at - recovery.since).total_seconds())
