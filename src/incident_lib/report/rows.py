"""Charts of horizontal rows: groups of bars or marks, each with its number beside it; no legend, no grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from incident_lib.report.style import AFTER, BAR, BEFORE, FAINT, GAP, INK, LINE, TEXT, text_width, wrap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes

    from incident_lib.report.sheet import Sheet

LABELS = 0.45  # of the width, for the labels beside the rows; where they need more, they stand above
BESIDE = 0.6  # of the width of the rows, for the text beside a mark; where it needs more, it stands above
MARK = 4.5  # half the width of a mark
INDENT = MARK + 1  # of a baseline under its label, so that a ring on it is not cut
BETWEEN = 12.0  # from one group to the next
FULL: dict[str, Any] = {"marker": "o", "color": BEFORE, "markersize": 2 * MARK - 1}
OPEN: dict[str, Any] = {
    "marker": "o",
    "color": AFTER,
    "markersize": 2 * MARK,
    "markerfacecolor": "none",
    "markeredgewidth": 2.0,
}


@dataclass(frozen=True)
class Bar:
    """A number as a bar. None is unknown, and has no bar."""

    number: int | None
    colour: str
    what: str = ""  # is written behind the number

    @property
    def text(self) -> str:
        """What is written beside the bar."""
        if self.number is None:
            return f"{self.what}: unknown" if self.what else "unknown"
        return f"{self.number:,} {self.what}".strip()

    @property
    def end(self) -> int:
        """How far it reaches."""
        return self.number or 0

    @property
    def has_mark(self) -> bool:
        """Whether there is anything to draw."""
        return self.number is not None

    @property
    def clearance(self) -> float:
        """How far from its end its text stands."""
        return GAP if self.number else MARK + GAP

    def draw(self, ax: Axes, y: float) -> None:
        """Draw it, the shortest one visible, too; a zero is a ring on the baseline."""
        if self.number is not None:
            ax.barh(y, self.end, height=BAR, color=self.colour, linewidth=1.5 if self.number else 0.0, zorder=3)
        if self.number == 0:
            ax.plot(0, y, clip_on=False, zorder=4, **{**OPEN, "color": self.colour})


@dataclass(frozen=True)
class Change:
    """A number before and after: a full mark and an open one. None is unknown or not there, and has no mark."""

    before: int | None
    after: int | None
    text: str

    clearance = MARK + GAP

    @property
    def end(self) -> int:
        """How far it reaches."""
        return max(self.before or 0, self.after or 0)

    @property
    def has_mark(self) -> bool:
        """Whether there is anything to draw."""
        return (self.before, self.after) != (None, None)

    def draw(self, ax: Axes, y: float) -> None:
        """Draw its marks, and a line between them."""
        if self.before is not None and self.after is not None:
            ax.plot([self.before, self.after], [y, y], color=FAINT, linewidth=1.5, zorder=1)
        if self.before is not None:
            ax.plot(self.before, y, clip_on=False, zorder=3, **FULL)
        if self.after is not None:
            ax.plot(self.after, y, clip_on=False, zorder=4, **OPEN)


Row = Bar | Change
Group = tuple[str, "Sequence[Row]"]


@dataclass(frozen=True)
class _Layout:
    """Where groups are: their labels beside or above them, the texts of rows beside or above their marks."""

    label_width: float  # 0: the labels stand above
    width: float  # of the rows
    text_above: bool

    @classmethod
    def of(cls, groups: Sequence[Group], width: float) -> _Layout:
        longest = max((text_width(label) for label, _ in groups), default=0.0)
        label_width = longest + 2 * GAP if longest + 2 * GAP <= LABELS * width else 0.0
        beside = max((text_width(row.text) for _, rows in groups for row in rows), default=0.0)
        rest = width - (label_width or INDENT)
        return cls(label_width, rest, text_above=beside + 2 * GAP > BESIDE * rest)

    def above(self, row: Row) -> list[str]:
        """The lines of its text above a row."""
        return wrap(row.text, self.width - GAP) if self.text_above else []

    def height(self, row: Row) -> float:
        """Of one row, with the space below it."""
        mark = BAR + GAP if row.has_mark or not self.text_above else 0.0
        return mark + LINE * TEXT * len(self.above(row))

    def most(self, groups: Sequence[Group]) -> float:
        """What the whole width stands for: so much that the text beside each row is within it."""
        scale = float("inf")
        for _, rows in groups:
            for row in rows:
                beside = 0.0 if self.text_above else text_width(row.text) + GAP
                free = self.width - 2 * MARK - beside
                scale = min(scale, free / row.end) if row.end else scale
        return self.width / scale if scale < float("inf") else 1.0


def draw_rows(sheet: Sheet, groups: Sequence[Group], unit: str) -> None:
    """Put groups of rows on a sheet, and the unit under them.

    Args:
        sheet: the sheet.
        groups: the label of each, and its rows.
        unit: what the numbers count.
    """
    layout = _Layout.of(groups, sheet.width)
    labels = [wrap(label, layout.label_width or sheet.width) for label, _ in groups]
    placed: list[Callable[[Axes], None]] = []
    y = 2.0
    for (_, rows), lines in zip(groups, labels, strict=True):
        y = _add_group(placed, layout, rows, lines, y)
    height = y

    def draw(ax: Axes) -> None:
        ax.set(xlim=(0, layout.most(groups)), ylim=(height, 0), xticks=[], yticks=[])
        for add in placed:
            add(ax)

    left = layout.label_width or INDENT
    sheet.axes(height, draw, left=left)
    sheet.lines(unit, left, color=FAINT)


def draw_bars(ax: Axes, groups: Sequence[Group], unit: str) -> None:
    """Draw groups of bars on Axes of any figure, the first at the top, each with its label as a tick."""
    y, ticks = 0.0, list[float]()
    for _, rows in groups:
        places = [y - number * 1.3 * BAR for number in range(len(rows))]
        ticks.append((places[0] + places[-1]) / 2)
        y = places[-1] - 2 * BAR
        for row, place in zip(rows, places, strict=True):
            row.draw(ax, place)
            _annotate(ax, (row.end, place), row.clearance, row.text)
    ax.set_yticks(ticks, [label for label, _ in groups])
    ax.set_xlabel(unit)
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    ax.tick_params(length=0)
    ax.set_xticks([])
    ax.margins(x=0.25, y=0.05)
    ax.set_xlim(left=0)


def _add_group(
    placed: list[Callable[[Axes], None]], layout: _Layout, rows: Sequence[Row], lines: list[str], y: float
) -> float:
    """Place the label and the rows of a group from y on; returns where it ends."""
    if not layout.label_width:
        for line in lines:
            placed.append(_text(-INDENT, y + 0.5 * LINE * TEXT, line))
            y += LINE * TEXT
        y += 3
    else:
        middle = y + sum(map(layout.height, rows)) / 2 - GAP / 2
        placed.append(_label(-2 * GAP, middle, lines[0]))
    placed.append(_baseline(y - 2, y + sum(map(layout.height, rows)) - GAP + 2))
    for row in rows:
        for line in layout.above(row):
            placed.append(_text(GAP, y + 0.5 * LINE * TEXT, line))
            y += LINE * TEXT
        placed.append(_row(row, y + BAR / 2))
        if not layout.text_above:
            placed.append(_beside(row, y + BAR / 2))
        if row.has_mark or not layout.text_above:
            y += BAR + GAP
    return y + BETWEEN - GAP


def _baseline(top: float, bottom: float) -> Callable[[Axes], None]:
    def add(ax: Axes) -> None:
        ax.plot([0, 0], [top, bottom], color=FAINT, linewidth=1.0, zorder=2)

    return add


def _row(row: Row, y: float) -> Callable[[Axes], None]:
    return lambda ax: row.draw(ax, y)


def _text(offset: float, y: float, text: str) -> Callable[[Axes], None]:
    return lambda ax: _annotate(ax, (0, y), offset, text)


def _beside(row: Row, y: float) -> Callable[[Axes], None]:
    return lambda ax: _annotate(ax, (row.end, y), row.clearance, row.text)


def _label(offset: float, y: float, text: str) -> Callable[[Axes], None]:
    return lambda ax: _annotate(ax, (0, y), offset, text, ha="right")


def _annotate(ax: Axes, where: tuple[float, float], offset: float, text: str, ha: str = "left") -> None:
    style: dict[str, Any] = {"fontsize": TEXT, "color": INK, "annotation_clip": False}
    ax.annotate(text, where, (offset, 0), textcoords="offset points", ha=ha, va="center", **style)


def marks_legend(sheet: Sheet) -> None:
    """The key of the marks before and after."""
    sheet.legend([({"linestyle": "none", **FULL}, "before the fix"), ({"linestyle": "none", **OPEN}, "after it")])
