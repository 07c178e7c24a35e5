"""A chart: its conclusion in words and as a picture; and the drawing that all charts share."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, cast

from incident_lib.model import format_count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

# Okabe and Ito's palette, made for colour-blind readers; dark and light enough to differ in grey, too.
BEFORE, AFTER, INK, FAINT = "#D55E00", "#56B4E9", "#222222", "#767676"
WIDTH = 8.0  # inches
# Ink on dark paper, for a page that follows its reader's scheme.
_DARK_INKS = "".join(
    f'[style*="{use}: {ink}"] {{ {use}: {on_dark} !important }}'
    for ink, on_dark in ((INK, "#e6edf3"), (FAINT, "#9da7b3"))
    for use in ("fill", "stroke")
)
_DARK = f"<style>@media (prefers-color-scheme: dark) {{ {_DARK_INKS} }}</style>"

_NO_XML = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # not allowed in a comment of the SVG


@dataclass(frozen=True)
class Chart:
    """A chart: what it says, and how it is drawn on a matplotlib Axes."""

    title: str
    caption: str
    alt: str
    draw: Callable[[Axes], Axes]
    height: float = 2.6  # inches

    def figure(self, paper: str = "white") -> Figure:
        """Draw it on a new figure."""
        import matplotlib as mpl
        from matplotlib.figure import Figure

        with mpl.rc_context({"text.parse_math": False}):  # a `$` in a name begins no formula
            figure = Figure(figsize=(WIDTH, self.height), layout="constrained", facecolor=paper)
            self.draw(figure.add_subplot(facecolor="none"))
        return figure

    def svg(self, *, themed: bool = False) -> str:
        """The chart as SVG; the same chart gives the same bytes.

        Args:
            themed: without a background, and in the colours of the reader's light or dark scheme.
        """
        import matplotlib as mpl

        with mpl.rc_context({"svg.hashsalt": "incident", "svg.fonttype": "path"}):
            out = BytesIO()
            figure = self.figure("none" if themed else "white")
            figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
        made = _NO_XML.sub("", out.getvalue().decode())
        return made.replace("<defs>", f"{_DARK}<defs>", 1) if themed else made

    def png(self, dpi: int = 144) -> bytes:
        """The chart as PNG."""
        out = BytesIO()
        self.figure().savefig(out, format="png", dpi=dpi, metadata={"Software": None})
        return out.getvalue()


Bar = tuple["int | None", str, str]  # how many, its colour, what is written behind the number


def bars(ax: Axes, title: str, rows: Sequence[tuple[str, Sequence[Bar]]], unit: str) -> Axes:
    """Horizontal bars in groups, each with its number and a label beside it; no legend, no grid."""
    most = max((number or 0 for _, group in rows for number, _, _ in group), default=0) or 1
    ticks = []
    for place, (_, group) in enumerate(rows):
        for step, (number, colour, what) in enumerate(group):
            y = place * (len(group) + 0.6) + step
            ax.barh(y, number or 0, height=0.86, color=colour)
            label = f"{format_count(number)} {what}" if number is not None else f"{what}: unknown"
            ax.text((number or 0) + most * 0.012, y, label, va="center", fontsize=10, color=INK)
        ticks.append(place * (len(group) + 0.6) + (len(group) - 1) / 2)
    ax.set_yticks(ticks, [label for label, _ in rows], fontsize=11, color=INK)
    beside = (
        max(len(format_count(number)) + len(what) + 1 for _, group in rows for number, _, what in group) if rows else 0
    )
    inches = WIDTH - 0.5 - 0.09 * max((len(label) for label, _ in rows), default=0)
    ax.set_xlim(0, most / max(0.2, 1 - 0.09 * beside / inches))
    ax.invert_yaxis()
    ax.xaxis.set_major_locator(integer_ticks())
    ax.xaxis.set_major_formatter(lambda number, _: f"{number:,.0f}")
    return finish_axes(ax, title, unit)


def finish_axes(ax: Axes, title: str, unit: str) -> Axes:
    """The style that all charts share: the conclusion to the left, the unit under the axis, no frame."""
    if title:
        cast("Figure", ax.figure).suptitle(
            wrap_title(title), x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK
        )
    ax.set_xlabel(unit, loc="left", color=FAINT)
    ax.tick_params(length=0, colors=FAINT)
    ax.tick_params(axis="y", labelcolor=INK)
    ax.spines[:].set_visible(False)
    ax.axvline(0, color=FAINT, linewidth=0.8)
    return ax


def wrap_title(title: str) -> str:
    """A title in lines that fit the width of a chart."""
    return "\n".join(textwrap.wrap(title, 74))


def integer_ticks() -> MaxNLocator:
    """Ticks at whole numbers only, a few of them."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=5, integer=True)
