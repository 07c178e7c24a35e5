"""What is on a chart's picture: its texts, and which of them overlap, are cut off or are small."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from matplotlib.text import Text

from incident_lib.report.style import FAINT, TEXT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from incident_lib.report.chart import Chart

DPI = 288  # at fewer, letters are drawn at whole pixels, and are wider than on a page
TOUCH = 2.0  # pixels


def title_of(figure: Figure) -> str:
    """The title in a picture, its lines joined."""
    return " ".join(text.get_text() for text in figure.texts if text.get_fontweight() == "bold")


def labels(figure: Figure) -> list[str]:
    """The texts in a picture that name what is drawn: not its title, and nothing of an axis."""
    return [
        text.get_text()
        for texts in (figure.texts, *(axes.texts for axes in figure.axes))
        for text in texts
        if text.get_fontweight() != "bold" and text.get_color() != FAINT
    ]


def visible_texts(figure: Figure) -> list[Text]:
    """Every text that is seen, once the picture has been laid out."""
    figure.set_dpi(DPI)
    figure.draw_without_rendering()
    hidden = {
        tick.label1
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        or not tick.label1.get_visible()
    }
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text() and text not in hidden]


def faults(chart: Chart) -> list[str]:
    """The texts of a chart that overlap, leave the picture or are smaller than the text of a page, on both widths."""
    return [fault for narrow in (False, True) for fault in _faults(chart.figure(narrow=narrow))]


def _faults(figure: Figure) -> list[str]:
    boxes = [(text.get_text(), text.get_window_extent(), text.get_fontsize()) for text in visible_texts(figure)]
    right, top = figure.bbox.x1 + TOUCH, figure.bbox.y1 + TOUCH
    outside = [name for name, b, _ in boxes if b.x0 < -TOUCH or b.y0 < -TOUCH or b.x1 > right or b.y1 > top]
    small = [name for name, _, size in boxes if size < TEXT]
    overlapping = [
        f"{one} | {other}"
        for (one, a, _), (other, b, _) in combinations(boxes, 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > TOUCH and min(a.y1, b.y1) - max(a.y0, b.y0) > TOUCH
    ]
    return [*outside, *small, *overlapping]
