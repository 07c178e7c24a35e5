"""DataFrames as a notebook holds and shows them: typed columns also when empty, headings, and a readable display."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from incident_lib.model import Column

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from incident_lib.model import Table

SHOWN = 10  # rows of a frame that is longer than `display.max_rows`


class Frame(pd.DataFrame):
    """A DataFrame that is displayed with its columns' headings, in plain words, and stays one after filtering.

    The values are pandas' own, with the dtypes of the columns also where there is no row. Only the display differs:
    thousands are separated, times are in UTC to the minute, missing values are named, columns without a value are
    left out, and of a long frame the first rows are shown.
    """

    _metadata: ClassVar[list[str]] = ["_columns"]
    _columns: dict[str, Column]

    @property
    def _constructor(self) -> Callable[..., Frame]:
        return Frame

    def __repr__(self) -> str:
        return _as_text(self) if _is_plain(self) else super().__repr__()

    def _repr_html_(self) -> str | None:
        return _as_html(self) if _is_plain(self) else pd.DataFrame(self)._repr_html_()  # type: ignore[operator]


def to_frame(table: Table) -> Frame:
    """A table as a DataFrame: its columns by name, with their dtypes, whether or not there is a row."""
    rows = [tuple(_plain(value) for value in row) for row in table.rows]
    return make_frame(table.columns, rows)


def make_frame(columns: Sequence[Column], rows: Iterable[Sequence[object]]) -> Frame:
    """A DataFrame of these columns, with their dtypes."""
    made = Frame(list(rows), columns=[column.name for column in columns])
    return with_columns(made.astype({column.name: column.dtype for column in columns}), columns)


def with_columns(frame: pd.DataFrame, columns: Iterable[Column]) -> Frame:
    """A DataFrame that is displayed with these columns' headings."""
    made = frame if isinstance(frame, Frame) else Frame(frame)
    object.__setattr__(made, "_columns", {column.name: column for column in columns})
    return made


def _plain(value: object) -> object:
    return ", ".join(map(str, value)) or "nothing" if isinstance(value, tuple | list) else value


def _is_plain(frame: pd.DataFrame) -> bool:
    """Whether its columns are names: other frames are displayed as pandas does it."""
    return frame.columns.nlevels == 1 and frame.columns.is_unique and len(frame.columns) > 0


class _Shown:
    """What of a frame is displayed: headings, cells, and which columns hold numbers."""

    def __init__(self, frame: Frame) -> None:
        known = getattr(frame, "_columns", None) or {}
        rows = len(frame)
        head = pd.DataFrame(frame.head(SHOWN) if rows > pd.get_option("display.max_rows") else frame)
        self.note = f"The first {len(head):,} of {rows:,} rows." if len(head) < rows else ""
        self.note = self.note or ("" if rows else "No rows.")
        self.labels = _labels(frame, head)
        left = [name for name in frame.columns if not rows or not frame[name].isna().all()]
        self.columns = [known.get(str(name)) or Column(str(name), dtype=str(frame[name].dtype)) for name in left]
        cells = [_cells(column, head[name]) for column, name in zip(self.columns, left, strict=True)]
        self.rows = list(zip(*cells, strict=True)) if cells else []


def _labels(frame: pd.DataFrame, head: pd.DataFrame) -> tuple[str, list[str]] | None:
    """The index, where it says something: what it is called, and the label of each row."""
    index = frame.index
    if index.nlevels == 1 and index.name is None and pd.api.types.is_integer_dtype(index.dtype):
        return None
    labels = [", ".join(map(str, label)) if isinstance(label, tuple) else str(label) for label in head.index]
    return ", ".join(str(name).replace("_", " ") for name in index.names if name is not None), labels


def _cells(column: Column, values: pd.Series) -> list[str]:
    missing = values.isna().tolist()
    return [
        column.format(None if is_missing else _as_python(value))
        for value, is_missing in zip(values, missing, strict=True)
    ]


def _as_python(value: Any) -> Any:
    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime(warn=False) if value.tzinfo else value.tz_localize("UTC").to_pydatetime(warn=False)
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value


SHORT = 24  # characters: cells of a column that has no longer one stay on one line

# A browser aligns by `style`, also in a notebook that is not trusted; GitHub drops styles, and aligns by `align`.
_LEFT = 'align="left" style="text-align: left; vertical-align: top; white-space: pre-wrap"'
_RIGHT = 'align="right" style="text-align: right; vertical-align: top"'
_WHOLE = _LEFT.replace("pre-wrap", "nowrap")
_HEAD = {"left": _WHOLE, "right": _RIGHT}


def _as_html(frame: Frame) -> str:
    shown = _Shown(frame)
    heads = [_head(column.heading, right=_is_right(column)) for column in shown.columns]
    if shown.labels:
        heads.insert(0, _head(shown.labels[0]))
    lines = ["<table>", f"<thead><tr>{''.join(heads)}</tr></thead>", "<tbody>"]
    longest = [max(map(len, cells)) for cells in zip(*shown.rows, strict=True)] or [0] * len(shown.columns)
    ways = [
        _RIGHT if _is_right(column) else _WHOLE if most <= SHORT else _LEFT
        for column, most in zip(shown.columns, longest, strict=True)
    ]
    for place, row in enumerate(shown.rows):
        cells = "".join(
            f"<td {way}>{_code(column, cell)}</td>" for column, cell, way in zip(shown.columns, row, ways, strict=True)
        )
        label = f'<th scope="row" {_LEFT}>{escape(shown.labels[1][place])}</th>' if shown.labels else ""
        lines.append(f"<tr>{label}{cells}</tr>")
    note = [f"<p><em>{shown.note}</em></p>"] if shown.note else []
    return "\n".join([*lines, "</tbody></table>", *note])


def _head(text: str, *, right: bool = False) -> str:
    return f'<th scope="col" {_HEAD["right" if right else "left"]}>{escape(text)}</th>'


def _code(column: Column, cell: str) -> str:
    return f"<code>{escape(cell)}</code>" if column.code else escape(cell)


def _is_right(column: Column) -> bool:
    return column.is_number or column.dtype.lower().startswith(("int", "uint", "float"))


def _as_text(frame: Frame) -> str:
    """A line for each row, in columns: what a terminal shows, and what a diff compares."""
    shown = _Shown(frame)
    labels = [shown.labels[0], *shown.labels[1]] if shown.labels else None
    grid = [
        [column.heading for column in shown.columns],
        *([" ".join(cell.split()) for cell in row] for row in shown.rows),
    ]
    if labels:
        grid = [[label, *line] for label, line in zip(labels, grid, strict=True)]
    right = [False] * bool(labels) + [_is_right(column) for column in shown.columns]
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in grid
    ]
    return "\n".join([*lines, *([shown.note] if shown.note else [])])
