"""The sheet that a chart is drawn on: blocks from top to bottom, measured in points, so that nothing overlaps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from incident_lib.report.style import FAINT, GAP, GRID, INK, LINE, TEXT, TITLE, text_width, wrap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Block = Callable[["Page"], None]

SAMPLE = 26.0  # the width of a sample of a line
BELOW = 9.0  # from an axis to the texts below it
EDGE = 3.0  # of the sheet, so that nothing is cut


@dataclass(frozen=True)
class Page:
    """A figure of known size, on which places are given in points from its upper left corner."""

    figure: Figure
    width: float
    height: float

    def x(self, points: float) -> float:
        """The share of the width at which something is; 0 is the left margin."""
        return (points + EDGE) / self.width

    def text(self, x: float, baseline: float, text: str, **options: Any) -> None:
        """Write one line of text."""
        style: dict[str, Any] = {"fontsize": TEXT, "color": INK, **options}
        self.figure.text(self.x(x), 1 - baseline / self.height, text, va="baseline", **style)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """An Axes without frame and ticks."""
        box = (self.x(left), 1 - (top + height) / self.height, width / self.width, height / self.height)
        ax = self.figure.add_axes(box, facecolor="none")
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0, labelsize=TEXT, labelcolor=FAINT, pad=GAP)
        ax.tick_params(axis="x", pad=BELOW)  # below the half of the 0 beside the axis
        ax.set_axisbelow(True)
        return ax


@dataclass
class Sheet:
    """What a chart consists of, from top to bottom."""

    whole_width: float
    used: float = 0.0
    _blocks: list[Block] = field(default_factory=list)

    @property
    def width(self) -> float:
        """What can be drawn on, between the margins."""
        return self.whole_width - 2 * EDGE

    def space(self, height: float) -> None:
        """Leave something free."""
        self.used += height

    def lines(self, text: str, x: float = 0.0, **options: Any) -> None:
        """Write a text, in as many lines as it needs."""
        size, weight = options.get("fontsize", TEXT), options.get("fontweight", "normal")
        for line in wrap(text, self.width - x, size, weight):
            self.used += LINE * size
            self._blocks.append(self._line(x, self.used - 0.3 * size, line, options))

    def title(self, text: str) -> None:
        """Write what the chart says."""
        self.lines(text, fontsize=TITLE, fontweight="bold")
        self.space(8)

    def heading(self, text: str) -> None:
        """Write what an Axes shows, above it."""
        self.lines(text, color=FAINT)
        self.space(4)

    def legend(self, entries: Sequence[tuple[dict[str, Any], str]]) -> None:
        """A line of text for each sample of a line or mark, which is given by its style."""
        for style, text in entries:
            self._blocks.append(self._sample(style, self.used + 0.55 * LINE * TEXT))
            self.lines(text, SAMPLE + GAP)
        self.space(6 if entries else 0)

    def axes(self, height: float, draw: Callable[[Axes], None], *, left: float = 0.0, right: float = 0.0) -> None:
        """An Axes of this height, with margins at its sides."""
        top = self.used
        self.used += height

        def add(page: Page) -> None:
            draw(page.axes(left, top, self.width - left - right, height))

        self._blocks.append(add)

    def draw_on(self, figure: Figure) -> None:
        """Draw everything, on a figure that gets the size that it needs."""
        height = self.used + 4
        figure.set_size_inches(self.whole_width / 72, height / 72)
        page = Page(figure, self.whole_width, height)
        for block in self._blocks:
            block(page)

    @staticmethod
    def _line(x: float, baseline: float, line: str, options: dict[str, Any]) -> Block:
        return lambda page: page.text(x, baseline, line, **options)

    @staticmethod
    def _sample(style: dict[str, Any], middle: float) -> Block:
        def add(page: Page) -> None:
            from matplotlib.lines import Line2D

            x = (SAMPLE / 2,) if style.get("linestyle") == "none" else (1, SAMPLE)
            y = [1 - middle / page.height] * len(x)
            page.figure.add_artist(Line2D([page.x(each) for each in x], y, **style))

        return add


def count_axis(ax: Axes, most: float, *, whole: bool = True) -> None:
    """An axis upwards from 0: a few round numbers, and a quiet line at each."""
    ticks = round_ticks(most, whole=whole)
    ax.set_yticks(ticks, [_tick(tick) for tick in ticks])
    ax.grid(axis="y", color=GRID, linewidth=0.8)
    ax.axhline(0, color=FAINT, linewidth=1.0)


def round_ticks(most: float, *, whole: bool = True) -> list[float]:
    """A few round numbers from 0 to this."""
    from matplotlib.ticker import MaxNLocator

    top = max(most, 1) if whole else most
    return [float(tick) for tick in MaxNLocator(nbins=3, integer=whole).tick_values(0, top) if 0 <= tick <= top]


def axis_margin(most: float, *, whole: bool = True) -> float:
    """The space that the numbers beside an axis need."""
    return max(text_width(_tick(tick)) for tick in round_ticks(most, whole=whole)) + 2 * GAP


def _tick(number: float) -> str:
    return f"{number:,.0f}" if number == round(number) else f"{number:g}"
