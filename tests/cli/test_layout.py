"""How a table is laid out where its rows do not fit the columns of a terminal."""

from __future__ import annotations

import msgspec

from incident_lib.cli.layout import lay_out
from incident_lib.model import Column, Table, counts_table
from tests.support.reports import snapshot_counts


def lines(table: Table, width: int) -> list[str]:
    """The lines of a table in so many columns, without colours."""
    return list(lay_out(table, width, lambda text, **_: text))


def test_a_number_below_its_row_has_its_heading() -> None:
    """A number or a time below the others has its heading before it, since it says nothing alone."""
    table = Table((Column("name"), Column("rows", "number of rows of it", "Int64"), Column("text")), (("a", 7, "b c"),))

    assert lines(table, 20) == ["name  text", "a     b c", "    number of rows", "      of it: 7"]


def test_a_column_without_a_heading_has_no_label() -> None:
    """A cell below its row whose column has no heading stands alone, without a colon."""
    table = Table((Column("name"), Column("n", " ", "Int64"), Column("what it counts")), (("one long name", 7, "b"),))

    assert ": 7" not in "\n".join(lines(table, 12))


def test_the_counts_are_a_screen_at_most() -> None:
    """In 80 columns each count has its meaning on one line or two: the counts need no more than 16 lines."""
    counts = msgspec.structs.replace(snapshot_counts(1088), affected_owners=237)

    assert len(lines(counts_table(now=counts), 80)) <= 16
