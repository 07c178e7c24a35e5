"""Charts that carry the argument; each with a title that is its conclusion, a caption, and a text in its place."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, cast

from incident_lib.words import plural, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from incident_lib.model import Counts

# Okabe and Ito's palette, made for colour-blind readers; dark and light enough to differ in grey, too.
BEFORE, AFTER, INK, FAINT = "#D55E00", "#56B4E9", "#222222", "#767676"
WIDTH = 8.0  # inches


@dataclass(frozen=True)
class Chart:
    """A chart: what it says, and how it is drawn on a matplotlib Axes."""

    title: str
    caption: str
    alt: str
    draw: Callable[[Axes], Axes]
    height: float = 2.6  # inches

    def figure(self) -> Figure:
        """Draw it on a figure of its own."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(WIDTH, self.height), layout="constrained", facecolor="white")
        self.draw(figure.add_subplot())
        return figure

    def svg(self) -> str:
        """The chart as SVG: the same chart, the same bytes."""
        import matplotlib as mpl

        with mpl.rc_context({"svg.hashsalt": "incident", "svg.fonttype": "path"}):
            out = BytesIO()
            self.figure().savefig(out, format="svg", metadata={"Date": None, "Creator": None})
        return out.getvalue().decode()

    def png(self, dpi: int = 144) -> bytes:
        """The chart as PNG."""
        out = BytesIO()
        self.figure().savefig(out, format="png", dpi=dpi, metadata={"Software": None})
        return out.getvalue()


def before_after(before: Counts | None, after: Counts | None) -> Chart:
    """How many families were blocked for each purpose, and how many are; no after is drawn as if it were 0."""
    title = _conclusion(before, after)
    moments = [(before, BEFORE, "before" if after else "now"), *([(after, AFTER, "after")] if after else [])]
    rows = [
        (f"blocked for {purpose}", [(_of(look, purpose), colour, moment) for look, colour, moment in moments])
        for purpose in ("chat", "run")
    ]
    alt = f"{title}. " + " ".join(
        f"Families {label}: {', '.join(f'{shown(number)} {moment}' for number, _, moment in bars)}."
        for label, bars in rows
    )
    return Chart(
        title,
        "Each bar counts families (root prompt and user) in which a new thread of that purpose is rejected by a guard.",
        alt,
        lambda ax: _bars(ax, title, rows, "families"),
    )


def left_behind(counts: Counts) -> Chart:
    """What the fix leaves: shown beside what it settles."""
    conflicts, unguarded = counts.residual_conflicts, counts.unguarded_threads
    title = (
        f"What the fix leaves: {plural(conflicts, 'provider conflict')}, {plural(unguarded, 'unguarded thread')}"
        if conflicts or unguarded
        else "The fix leaves no conflict behind"
    )
    rows = [
        ("residual conflicts", [(conflicts, BEFORE, "")]),
        ("unguarded threads", [(unguarded, FAINT, "")]),
    ]
    alt = f"{title}. Of {plural(counts.active_threads, 'active thread')}."
    caption = (
        "Active threads whose family has used another provider: that provider's clients are still rejected. "
        "Active threads without an owner: outside both guards."
    )
    return Chart(title, caption, alt, lambda ax: _bars(ax, title, rows, "active threads"), height=1.9)


def _families(number: int) -> str:
    return plural(number, "family").replace("familys", "families")


def _of(counts: Counts | None, purpose: str) -> int | None:
    found: int | None = None if counts is None else getattr(counts.blocked, purpose)
    return found


def _conclusion(before: Counts | None, after: Counts | None) -> str:
    was, now = _of(before, "chat"), _of(after, "chat")
    if after is None:
        return f"{_families(was)} cannot start a chat; nothing has been applied" if was else "Nothing has been applied"
    if was is None or now is None:
        return f"Blocked for chat: {shown(was)} before, {shown(now)} after"
    if now:
        return f"{_families(now)} still cannot start a chat; {was:,} could not before"
    return f"{_families(was)} could not start a chat; now none is blocked" if was else "No family is kept from a chat"


Bar = tuple["int | None", str, str]


def _bars(ax: Axes, title: str, rows: Sequence[tuple[str, Sequence[Bar]]], unit: str) -> Axes:
    """Horizontal bars in groups, each with its number and moment written beside it; no legend, no grid."""
    most = max((number or 0 for _, bars in rows for number, _, _ in bars), default=0) or 1
    ticks = []
    for place, (_, bars) in enumerate(rows):
        for step, (number, colour, moment) in enumerate(bars):
            y = place * (len(bars) + 0.6) + step
            ax.barh(y, number or 0, height=0.86, color=colour)
            told = f"{shown(number)} {moment}" if number is not None else f"{moment}: not known"
            ax.text((number or 0) + most * 0.012, y, told, va="center", fontsize=10, color=INK)
        ticks.append(place * (len(bars) + 0.6) + (len(bars) - 1) / 2)
    ax.set_yticks(ticks, [label for label, _ in rows], fontsize=11, color=INK)
    ax.set_xlim(0, most * 1.18)
    ax.invert_yaxis()
    cast("Figure", ax.figure).suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK)
    ax.set_xlabel(unit, loc="left", color=FAINT)
    ax.tick_params(length=0, colors=FAINT)
    ax.tick_params(axis="y", colors=INK)
    ax.xaxis.set_major_locator(_integers())
    ax.xaxis.set_major_formatter(lambda number, _: f"{number:,.0f}")
    ax.spines[:].set_visible(False)
    ax.axvline(0, color=FAINT, linewidth=0.8)
    return ax


def _integers() -> MaxNLocator:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=5, integer=True)
