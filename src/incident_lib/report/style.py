"""The style that all charts share: colours for light and dark pages, sizes in points, and how text is measured."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from incident_lib.model import sanitize, shorten

if TYPE_CHECKING:
    from matplotlib.font_manager import FontProperties

# Okabe and Ito's vermillion and blue, the blue darker: for colour-blind readers, and different in grey, too.
BEFORE, AFTER = "#d55e00", "#005a8c"
INK, FAINT, GRID = "#1f2328", "#59636e", "#d1d9e0"
GREEN, PINK = "#008f68", "#b8578c"  # of lines that are neither before nor after
ON_DARK = {
    BEFORE: "#dd6a1c",
    AFTER: "#8fd0f8",
    INK: "#e6edf3",
    FAINT: "#a3adb9",
    GRID: "#3d444d",
    GREEN: "#2fbf94",
    PINK: "#e08fbb",
}
# In points, of which a page shows 72 as 96 pixels: the text of charts has the 16 pixels of the report's text.
TEXT, TITLE = 12.0, 13.5
LINE = 1.35  # of a text's size, from one line to the next
WIDE, NARROW = 624.0, 234.0  # the width of a chart: 832 pixels as the report's text, and 312 for a phone's screen
GAP = 6.0  # between a mark and its text
BAR = 17.0
FONT = "DejaVu Sans"  # comes with matplotlib: the same picture on every machine

_COLOUR = re.compile(r"(?<=: )#[0-9a-f]{6}\b")


def in_colour_scheme(svg: str) -> str:
    """An SVG whose colours are those of its reader's light or dark scheme."""
    names = {colour: f"--c{place}" for place, colour in enumerate(ON_DARK)}
    light = "; ".join(f"{name}: {colour}" for colour, name in names.items())
    dark = "; ".join(f"{name}: {ON_DARK[colour]}" for colour, name in names.items())
    rules = f":root {{ {light} }} @media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"
    coloured = _COLOUR.sub(lambda found: f"var({names[found[0]]})" if found[0] in names else found[0], svg)
    return coloured.replace("<defs>", f"<style>{rules}</style><defs>", 1)


def _font(weight: str) -> FontProperties:
    from matplotlib.font_manager import FontProperties

    return FontProperties(family=FONT, weight=weight)


@cache
def text_width(text: str, size: float = TEXT, weight: str = "normal") -> float:
    """How wide a text is drawn, in points."""
    from matplotlib.textpath import text_to_path

    font = _font(weight)
    font.set_size(size)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0])


def wrap(text: str, width: float, size: float = TEXT, weight: str = "normal") -> list[str]:
    """A text in lines that are not wider than this; a word that is wider is broken."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if text_width(longer, size, weight) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and text_width(lines[-1] + letter, size, weight) > width:
                lines.append("")
            lines[-1] += letter
    return lines


@cache
def _letters() -> frozenset[int]:
    """The characters that the font of the charts has."""
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont(_font("normal"))).get_charmap())


def can_be_drawn(text: str) -> bool:
    """Whether the font has each letter of a text; marks that are not seen are not drawn either."""
    return all(ord(letter) in _letters() and unicodedata.category(letter)[0] != "C" for letter in text)


class _Entry(NamedTuple):
    reference: str
    text: str


class Key:
    """What stands in a picture for names that its font cannot draw, and the sentence beside the picture."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    def name(self, what: str, text: str, most: int = 28) -> str:
        """A name as it is drawn: shortened; `provider 1` where the font lacks a letter of it."""
        short = shorten(sanitize(text), most)
        if can_be_drawn(short):
            return short
        for entry in self._entries:
            if entry.text == short and entry.reference.startswith(f"{what} "):
                return entry.reference
        same = sum(entry.reference.startswith(f"{what} ") for entry in self._entries)
        self._entries.append(_Entry(f"{what} {same + 1}", short))
        return self._entries[-1].reference

    @property
    def sentence(self) -> str:
        """What each reference stands for, with a space before it; empty where there is none."""
        return "".join(f" {entry.reference[0].upper()}{entry.reference[1:]}: {entry.text}." for entry in self._entries)
