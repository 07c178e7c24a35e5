"""Charts as a notebook displays them: a picture that says in its alternative text what it shows."""

from __future__ import annotations

from base64 import b64encode
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes

from incident_lib.model import hide_ids
from incident_lib.report import WIDTH

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PIXELS = int(96 * WIDTH)  # the width at which a chart of the report's width is shown
DPI = 144


def bundle(png: bytes, alt: str, caption: str = "", width: int = PIXELS) -> tuple[dict[str, Any], dict[str, Any]]:
    """A picture in every form that a frontend may choose, and their metadata.

    JupyterLab and nbconvert ignore the alternative text of an `image/png`. All of them prefer `text/html`, and show its
    `alt`; `text/plain` is what a diff compares.
    """
    picture, alt, caption = b64encode(png).decode(), hide_ids(alt), hide_ids(caption)
    below = f"<p><em>{escape(caption)}</em></p>" if caption else ""
    image = f'<img src="data:image/png;base64,{picture}" width="{width}" alt="{escape(alt)}">'
    data = {"text/html": f"{image}{below}", "image/png": picture, "text/plain": f"{alt}\n{caption}".strip()}
    return data, {"image/png": {"alt": alt, "width": width}}


class ChartAxes(Axes):
    """Axes that display themselves as the last expression of a cell, with the chart's alternative text and caption."""

    name = "incident chart"
    alt = ""
    caption = ""

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        figure = self.get_figure(root=True)
        if figure is None:
            return {"text/plain": self.alt}, {}
        return bundle(_png(figure), self.alt, self.caption, width=int(96 * figure.get_figwidth()))


def _png(figure: Figure) -> bytes:
    out = BytesIO()
    figure.savefig(out, format="png", dpi=DPI, metadata={"Software": None})
    return out.getvalue()
