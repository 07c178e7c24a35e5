"""Tables: formatted cells for people, raw values for everything else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from incident_lib.model import COUNT_MEANINGS, Check, Column, Counts, PerPurpose, Status, make_table
from incident_lib.model.tables import checks_table, counts_table

COUNTS = Counts(
    families=1,
    active_threads=2,
    active_by_purpose={},
    blocked_families=None,
    blocked=PerPurpose(3, None),
    affected_owners=4,
    blocked_owners=PerPurpose(0, 0),
    coexisting_families=5,
    residual_conflicts=6,
    unguarded_threads=7_000,
    duplicate_keys={},
)


@pytest.mark.parametrize(
    ("column", "value", "cell"),
    [
        (Column("a"), None, "unknown"),
        (Column("a", missing="none"), None, "none"),
        (Column("a"), True, "yes"),
        (Column("a"), False, "no"),
        (Column("a"), 1_088, "1,088"),
        (Column("a"), 1.5, "1.5"),
        (Column("a", decimals=3), 1.5, "1.500"),
        (Column("a"), datetime(2025, 9, 22, 6, 0, 59, tzinfo=UTC), "2025-09-22 06:00"),
        (Column("a"), datetime(2025, 9, 22, 6, tzinfo=timezone(timedelta(hours=7))), "2025-09-21 23:00"),
        (Column("a"), ("chat", "run"), "chat, run"),
        (Column("a"), (), "nothing"),
        (Column("a"), "text", "text"),
    ],
)
def test_a_cell(column: Column, value: object, cell: str) -> None:
    """A cell is the formatted value."""
    assert column.format(value) == cell


@pytest.mark.parametrize(
    ("column", "heading"), [(Column("blocked_for"), "blocked for"), (Column("sql", "SQL"), "SQL"), (Column("a"), "a")]
)
def test_a_heading(column: Column, heading: str) -> None:
    """The heading of a column is its title, or its name with spaces."""
    assert column.heading == heading


def test_a_table_has_raw_values_and_cells() -> None:
    """A table has raw values, and cells with the same values formatted."""
    table = make_table(["name", Column("n", dtype="Int64")], [["x", 1_000], ["y", None]])

    assert table.rows == (("x", 1_000), ("y", None))
    assert table.cells == [("x", "1,000"), ("y", "unknown")]
    assert table.headings == ("name", "n")
    assert [column.is_number for column in table.columns] == [False, True]


def test_the_counts_of_two_snapshots() -> None:
    """Each count has a row with its meaning, and a column for each snapshot; an unknown count is None, not 0."""
    table = counts_table(before=COUNTS, after=None)

    assert table.headings == ("count", "before", "after", "what it counts")
    assert [row[-1] for row in table.rows] == list(COUNT_MEANINGS.values())
    assert [row[1:3] for row in table.rows] == [(number, None) for number in (1, 2, None, 3, None, 4, 5, 6, 7_000)]


def test_a_check_without_an_action() -> None:
    """The action of a check without one is a dash."""
    table = checks_table([Check("name", Status.PASS, "fine"), Check("other", Status.FAIL, "bad", "mend it")])

    assert table.cells == [("name", "pass", "fine", "–"), ("other", "fail", "bad", "mend it")]
