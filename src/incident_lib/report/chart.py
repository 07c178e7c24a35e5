"""A chart: its conclusion in words and as a picture."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING, Any

from incident_lib.report.picture import bundle
from incident_lib.report.sheet import Sheet
from incident_lib.report.style import FONT, NARROW, WIDE, in_colour_scheme

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.figure import Figure

    from incident_lib.report.rows import Group

WIDTH = WIDE / 72  # inches
PAPER = "#ffffff"

_NO_XML = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # not allowed in a comment of the SVG


@dataclass(frozen=True, repr=False)
class Chart:
    """A chart: what it says, and how it is laid out on a sheet of any width."""

    title: str
    caption: str
    alt: str
    compose: Callable[[Sheet], None]
    groups: Sequence[Group] = ()  # of bars, for Axes of another figure
    unit: str = ""  # of the bars

    def __repr__(self) -> str:
        return f"<Chart: {self.title}>"

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return bundle(self.png(), self.alt, self.caption, int(96 * WIDTH))

    def figure(self, *, narrow: bool = False) -> Figure:
        """Draw it on a new figure.

        Args:
            narrow: for a phone's screen: the same text size on less width.
        """
        import matplotlib as mpl
        from matplotlib.figure import Figure

        sheet = Sheet(NARROW if narrow else WIDE)
        sheet.title(self.title)
        self.compose(sheet)
        # A `$` in a name begins no formula.
        with mpl.rc_context({"text.parse_math": False, "font.family": FONT}):
            figure = Figure(facecolor=PAPER)
            sheet.draw_on(figure)
        return figure

    def svg(self, *, narrow: bool = False, themed: bool = False) -> str:
        """The chart as SVG; the same chart gives the same bytes.

        Args:
            narrow: for a phone's screen.
            themed: without a background, and in the colours of the reader's light or dark scheme.
        """
        made = self._narrow if narrow else self._wide
        # The first shape is the background.
        return in_colour_scheme(made.replace(f"fill: {PAPER}", "fill: none", 1)) if themed else made

    # Each is drawn once, for all forms of a report.
    @cached_property
    def _wide(self) -> str:
        return _svg(self.figure())

    @cached_property
    def _narrow(self) -> str:
        return _svg(self.figure(narrow=True))

    def png(self, dpi: int = 144, *, narrow: bool = False) -> bytes:
        """The chart as PNG."""
        out = BytesIO()
        self.figure(narrow=narrow).savefig(out, format="png", dpi=dpi, metadata={"Software": None})
        return out.getvalue()


def import_matplotlib() -> None:
    """Import what draws charts, without matplotlib's help on the properties of each kind of artist.

    It writes these texts while it is imported, which takes a fifth of that time. A report needs none of them.
    """
    from matplotlib import artist

    complete = artist.kwdoc
    artist.kwdoc = lambda artist: ""  # noqa: ARG005 - its name is matplotlib's
    try:
        import matplotlib.backends.backend_agg
        import matplotlib.backends.backend_svg
        import matplotlib.dates
        import matplotlib.figure  # noqa: F401 - imported for later, as all of them
    finally:
        artist.kwdoc = complete


def _svg(figure: Figure) -> str:
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "incident", "svg.fonttype": "path"}):
        out = BytesIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return _NO_XML.sub("", out.getvalue().decode())
