"""Charts of snapshots and of tables, on Axes that may be changed further: `il.plot.<name>(…, ax=None)`.

Without `ax`, a chart is drawn on a figure of its own, and displays itself as the last expression of a cell, with an
alternative text. With `ax`, it is drawn on that Axes, which is returned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pandas as pd

from incident_lib.model import PURPOSE, UsageError
from incident_lib.report import charts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from incident_lib.notebook.snapshot_frames import Snapshot
    from incident_lib.report import Chart

__all__ = ["bars", "before_after", "blockers", "remaining_conflicts"]


def before_after(before: Snapshot, after: Snapshot | None = None, *, ax: Axes | None = None) -> Axes:
    """How many families were blocked for each purpose, and how many are; of `provider` how many threads conflicted.

    Args:
        before: the snapshot before the fix, or the only one; where it shows the fix already, and there is another one,
            nothing is known of the time before.
        after: the snapshot after it; None: none was taken, or nothing was applied.
        ax: the Axes to draw on; None: new ones.

    Returns:
        The Axes.
    """
    now = after.totals if after else None
    if before.change != PURPOSE.name:
        return _drawn(charts.provider_conflicts(before.totals, now), ax)
    return _drawn(charts.before_after(None if after and before.is_fixed else before.totals, now), ax)


def blockers(snapshot: Snapshot, *, ax: Axes | None = None) -> Axes:
    """The blocked families, by the kind of thread that blocks them; see `before_after` for `ax`."""
    return _drawn(charts.blockers(snapshot.blocker_counts), ax)


def remaining_conflicts(*snapshots: Snapshot, ax: Axes | None = None) -> Axes:
    """What the fix does not change, in one environment or in several together; see `before_after` for `ax`."""
    covered = bool(snapshots) and all(snapshot.has_provider for snapshot in snapshots)
    return _drawn(charts.remaining_conflicts(*(each.totals for each in snapshots), has_provider=covered), ax)


def bars(
    numbers: pd.Series[int], title: str, *, unit: str = "families", caption: str = "", ax: Axes | None = None
) -> Axes:
    """Bars of whole numbers, each with its label: what `groupby(…).size()` or `value_counts()` returns.

    Args:
        numbers: one bar for each; the index has the labels.
        title: what the chart says.
        unit: what is counted.
        caption: what stands below it.
        ax: the Axes to draw on; None: new ones.

    Raises:
        UsageError: `numbers` is not a Series of numbers.
    """
    if not isinstance(numbers, pd.Series) or not pd.api.types.is_numeric_dtype(numbers):
        raise UsageError(
            "A bar chart needs a Series of numbers.",
            f"It got a {type(numbers).__name__}.",
            'Count first, such as families.groupby("blocking_provider").size().',
        )
    labels = ["none" if pd.isna(label) else str(label) for label in numbers.index]
    counts = [None if pd.isna(number) else int(number) for number in numbers]
    return _drawn(charts.counted(list(zip(labels, counts, strict=True)), title, unit, caption), ax)


def _drawn(chart: Chart, ax: Axes | None) -> Axes:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from incident_lib.notebook.pictures import ChartAxes
    from incident_lib.report import WIDTH, draw_bars

    with mpl.rc_context({"text.parse_math": False}):  # a `$` in a name begins no formula
        if ax is None:
            bars = sum(len(rows) for _, rows in chart.groups)
            figure = Figure(figsize=(WIDTH, 1.2 + 0.33 * bars), layout="constrained", facecolor="white")
            ax = made = cast("ChartAxes", figure.add_subplot(axes_class=ChartAxes))
            made.alt, made.caption = chart.alt, chart.caption
        draw_bars(ax, chart.groups, chart.unit)
        ax.set_title(chart.title, loc="left", fontweight="bold", wrap=True)
    return ax
