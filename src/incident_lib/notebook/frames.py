"""The model's tables as DataFrames, with their columns and dtypes also when empty, and as people read them."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import pandas as pd
from pandas.io.formats.style import Styler

if TYPE_CHECKING:
    from pandas.io.formats.style_render import CSSDict

    from incident_lib.model import Table


def to_frame(table: Table) -> pd.DataFrame:
    """A table as a DataFrame: its columns by name, with their dtypes, whether or not there is a row."""
    columns = {column.name: column.dtype for column in table.columns}
    rows = [tuple(_plain(value) for value in row) for row in table.rows]
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


def _plain(value: object) -> object:
    return ", ".join(map(str, value)) or "nothing" if isinstance(value, tuple | list) else value


def styled(table: Table) -> Styler:
    """A table as a notebook displays it: texts whole and to the left, numbers to the right, no row numbers."""
    frame = pd.DataFrame(table.cells, columns=list(table.headings), dtype="str")
    numbers = [place for place, column in enumerate(table.columns) if column.is_number]
    # A page has one style sheet for all its tables: those with the same columns of numbers share their rules.
    made = Styler(frame, uuid="_".join(["table", *map(str, numbers)]), cell_ids=False, escape="html").hide(axis="index")
    rules = [*_RULES, *map(_right, numbers)]
    return made.set_table_styles(rules).format(lambda cell: escape(str(cell)))


_RULES: list[CSSDict] = [
    {"selector": "th, td", "props": "text-align: left; vertical-align: top; white-space: pre-wrap;"},
    {"selector": "th.col_heading", "props": "white-space: nowrap;"},
]


def _right(place: int) -> CSSDict:
    return {"selector": f"td.col{place}, th.col{place}", "props": "text-align: right;"}
