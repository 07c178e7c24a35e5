"""Axes that display themselves in a notebook."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes

from incident_lib.report import bundle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 144


class ChartAxes(Axes):
    """Axes that display themselves as the last expression of a cell, with the chart's alternative text and caption."""

    name = "incident chart"
    alt = ""
    caption = ""

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        figure = self.get_figure(root=True)
        if figure is None:
            return {"text/plain": self.alt}, {}
        return bundle(_png(figure), self.alt, self.caption, int(96 * figure.get_figwidth()))


def _png(figure: Figure) -> bytes:
    out = BytesIO()
    figure.savefig(out, format="png", dpi=DPI, metadata={"Software": None})
    return out.getvalue()
