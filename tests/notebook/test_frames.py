"""DataFrames of a notebook: with dtypes also if empty, and with formatted values."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime
from html import unescape
from typing import TYPE_CHECKING
from uuid import UUID

import pandas as pd
import pytest
from msgspec.structs import replace

from incident_lib.migration import plan_change
from incident_lib.model import (
    Catalog,
    Check,
    Column,
    Counts,
    IndexKind,
    PerPurpose,
    Plan,
    Pseudonyms,
    Status,
    StepResult,
    Table,
    UniqueIndex,
    blocked_table,
    checks_table,
    counts_table,
    indexes_table,
    make_table,
    plan_table,
    purposes_table,
    steps_table,
)
from incident_lib.model.change import PURPOSE
from incident_lib.model.threads import BlockedFamily
from incident_lib.notebook import frames

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

AT = datetime(2025, 9, 22, 6, tzinfo=UTC)
ROOT, OWNER, THREAD = (UUID(int=n) for n in (1, 2, 3))
FAMILY = BlockedFamily(
    root_prompt_row_id=ROOT,
    owner_id=OWNER,
    blocked_for="chat",
    since=datetime(2025, 9, 22, 6, tzinfo=UTC),
    blocking_thread=THREAD,
    blocking_purpose="run",
    blocking_provider="openai",
)
COUNTS = Counts(
    families=1257,
    active_threads=1408,
    active_by_purpose={"chat": 161, "<b>": 7},
    blocked_families=None,
    blocked=PerPurpose(None, 0),
    affected_owners=None,
    blocked_owners=PerPurpose(None, None),
    coexisting_families=0,
    residual_conflicts=65,
    unguarded_threads=159,
    duplicate_keys={"original": 0, "fixed": 0},
)
ORIGINAL = UniqueIndex(
    "idx_q_threads_family_unique",
    "CREATE UNIQUE INDEX …",
    ("root_prompt_row_id", "owner_id"),
    "((is_active = true) AND (root_prompt_row_id IS NOT NULL))",
    unique=True,
    nulls_not_distinct=False,
    valid=True,
    ready=True,
    live=True,
)

STEP = StepResult(
    name="build", sql=("CREATE …",), seconds=0.1, outcome="done", started_at=datetime(2026, 1, 7, tzinfo=UTC)
)


def dtypes(table: pd.DataFrame) -> dict[str, str]:
    """The dtype of each column."""
    return {str(column): str(dtype) for column, dtype in table.dtypes.items()}


EMPTY_AND_NOT = [
    pytest.param(
        blocked_table([], None),
        blocked_table([FAMILY, replace(FAMILY, since=None, blocking_provider=None)], None),
        {
            "root": "str",
            "owner": "str",
            "blocked_for": "str",
            "since": "datetime64[us, UTC]",
            "blocking_thread": "str",
            "blocking_purpose": "str",
            "blocking_provider": "str",
        },
        id="blocked",
    ),
    pytest.param(
        indexes_table(Catalog(())),
        indexes_table(Catalog((ORIGINAL,))),
        {"index": "str", "kind": "str", "key": "str", "flags": "str", "enforced": "boolean"},
        id="indexes",
    ),
    pytest.param(
        purposes_table(replace(COUNTS, active_by_purpose={})),
        purposes_table(COUNTS),
        {"purpose": "str", "active_threads": "Int64"},
        id="purposes",
    ),
    pytest.param(
        counts_table(before=None, after=None),
        counts_table(before=COUNTS, after=None),
        {"count": "str", "before": "Int64", "after": "Int64", "meaning": "str"},
        id="counts",
    ),
    pytest.param(
        checks_table([]),
        checks_table([Check("primary", Status.PASS, "this server is the primary")]),
        {"check": "str", "status": "str", "finding": "str", "action": "str"},
        id="checks",
    ),
    pytest.param(
        plan_table(Plan(PURPOSE, IndexKind.FIXED, ())),
        plan_table(plan_change(Catalog((ORIGINAL,)))),
        {"step": "str", "sql": "str", "lock": "str", "why": "str"},
        id="plan",
    ),
    pytest.param(
        steps_table([]),
        steps_table([STEP]),
        {"step": "str", "sql": "str", "seconds": "Float64", "outcome": "str"},
        id="steps",
    ),
]


@pytest.mark.parametrize(("empty", "filled", "expected"), EMPTY_AND_NOT)
def test_an_empty_table_keeps_its_dtypes(empty: Table, filled: Table, expected: dict[str, str]) -> None:
    """A table without a row has the documented columns and dtypes."""
    assert dtypes(frames.to_frame(empty)) == expected


@pytest.mark.parametrize(("empty", "filled", "expected"), EMPTY_AND_NOT)
def test_a_table_with_rows_has_the_same_dtypes(empty: Table, filled: Table, expected: dict[str, str]) -> None:
    """A table with rows has the same columns and dtypes, with or without NULLs."""
    assert dtypes(frames.to_frame(filled)) == expected


def html(table: Table) -> str:
    """A table as a browser gets it."""
    return frames.to_frame(table)._repr_html_() or ""


def cells(table: Table) -> list[str]:
    """The texts of a table's cells, as a browser shows them."""
    return [unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", html(table), re.DOTALL)]


def test_texts_are_aligned_to_the_left_and_numbers_to_the_right() -> None:
    """Texts are aligned left; whole numbers and their headings are aligned right, with and without styles."""
    aligned = re.findall(r'<(t[hd])[^>]*align="(\w+)" style="text-align: (\w+)', html(purposes_table(COUNTS)))

    assert aligned[:4] == [
        ("th", "left", "left"),
        ("th", "right", "right"),
        ("td", "left", "left"),
        ("td", "right", "right"),
    ]


def test_headings_have_a_scope() -> None:
    """Each heading says that it is that of a column; an index with names is a heading of its row."""
    grouped = frames.to_frame(purposes_table(COUNTS)).groupby("purpose").sum()

    assert re.findall(r"<th scope=\"(\w+)\"[^>]*>(.*?)</th>", grouped._repr_html_()) == [
        ("col", "purpose"),
        ("col", "active threads"),
        ("row", "&lt;b&gt;"),
        ("row", "chat"),
    ]


def test_shown_escapes_markup_in_values() -> None:
    """Markup in a value is shown as text."""
    made = html(make_table(["purpose"], [("<script>alert('&')</script>",)]))

    assert "<script" not in made
    assert "&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;" in made


def test_shown_escapes_markup_in_a_purpose() -> None:
    """Markup in a purpose is shown as text, whatever the column's dtype."""
    assert cells(purposes_table(COUNTS)) == ["chat", "161", "<b>", "7"]
    assert "<b>" not in html(purposes_table(COUNTS))


def test_the_text_is_what_the_table_shows() -> None:
    """`text/plain` has the headings and cells of the table, a line for each row, so that a diff can compare them."""
    frame = frames.to_frame(purposes_table(COUNTS))

    assert repr(frame) == "purpose  active threads\nchat                161\n<b>                   7"


def test_an_empty_table_says_so() -> None:
    """A table without a row has its headings, and says that it has none."""
    assert repr(frames.to_frame(purposes_table(replace(COUNTS, active_by_purpose={})))) == (
        "purpose  active threads\nNo rows."
    )


def test_a_column_without_a_value_is_left_out() -> None:
    """A column that has no value in any row is not shown, and stays in the DataFrame."""
    frame = frames.to_frame(blocked_table([replace(FAMILY, since=None)], None))

    assert "since" not in repr(frame)
    assert "since" in frame.columns


def test_of_a_long_frame_the_first_rows_are_shown() -> None:
    """Of more rows than pandas shows, ten are shown, and how many there are is said."""
    frame = frames.to_frame(make_table([Column("n", dtype="Int64")], [(n,) for n in range(1234)]))

    assert repr(frame).splitlines() == ["n", *map(str, range(10)), "The first 10 of 1,234 rows."]


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame[frame["active_threads"] > 100],
        lambda frame: frame.merge(frame, on="purpose"),
        lambda frame: frame.assign(share=0.5),
        lambda frame: frame.sort_values("purpose").head(1),
        lambda frame: frame.groupby("purpose").sum(),
        lambda frame: pd.concat([frame, frame]),
        lambda frame: frame.copy(),
    ],
)
def test_it_stays_a_frame(change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """What pandas makes of a frame is displayed like it."""
    made = change(frames.to_frame(purposes_table(COUNTS)))

    assert type(made) is frames.Frame
    assert made._repr_html_().startswith("<table>")


def test_a_filtered_frame_keeps_its_headings() -> None:
    """The headings and the words for missing values stay after filtering."""
    frame = frames.to_frame(blocked_table([FAMILY, replace(FAMILY, blocking_provider=None)], None))

    assert "none" in repr(frame[frame["blocked_for"] == "chat"])


def test_two_levels_of_columns_are_displayed_as_pandas_does() -> None:
    """A frame whose columns have two levels is pandas' own to display."""
    made = frames.to_frame(purposes_table(COUNTS)).groupby("purpose")[["active_threads"]].agg(["sum", "max"])

    assert repr(made) == repr(pd.DataFrame(made))


def test_times_survive_csv(tmp_path: Path) -> None:
    """Times with and without fractions of a second are parsed again from CSV, in one format."""
    odd = replace(FAMILY, since=datetime(2025, 9, 23, 6, 1, 2, 345678, tzinfo=UTC))
    frame = frames.to_frame(blocked_table([FAMILY, odd, replace(FAMILY, since=None)], None))
    frame.to_csv(tmp_path / "families.csv", index=False)
    read = pd.read_csv(tmp_path / "families.csv", parse_dates=["since"])

    assert str(read["since"].dtype) == "datetime64[us, UTC]"
    assert read["since"].equals(frame["since"])


@pytest.mark.parametrize(
    ("value", "dtype", "shown"),
    [
        (None, "Int64", "unknown"),
        (None, "str", "unknown"),
        (None, "boolean", "unknown"),
        (None, "datetime64[us, UTC]", "unknown"),
        (0, "Int64", "0"),
        (1408, "Int64", "1,408"),
        (True, "bool", "yes"),
        (False, "boolean", "no"),
        (datetime(2025, 9, 22, 6, tzinfo=UTC), "datetime64[us, UTC]", "2025-09-22 06:00"),
        ("1408", "str", "1408"),
        ("", "str", ""),
    ],
)
def test_how_a_value_is_shown(value: object, dtype: str, shown: str) -> None:
    """Thousands have separators, flags are yes or no, and missing values are unknown."""
    table = make_table(
        [Column("what"), Column("value", dtype=dtype)], [("a", value), ("b", "" if dtype == "str" else None)]
    )
    known = value if value is not None else {"str": "x", "Int64": 1, "boolean": True}.get(dtype, AT)

    assert cells(make_table(table.columns, [("a", value), ("b", known)]))[1] == shown


def test_shown_has_no_row_numbers() -> None:
    """The row numbers of a table are not shown."""
    assert len(cells(blocked_table([FAMILY], None))) == 7


def test_shown_is_the_same_each_time() -> None:
    """The same table gives the same HTML."""
    assert html(purposes_table(COUNTS)) == html(purposes_table(COUNTS))


def test_counts_that_are_not_known_are_na() -> None:
    """An unknown count is <NA>, not 0."""
    table = frames.to_frame(counts_table(now=COUNTS)).set_index("count")["now"]

    assert table["blocked for run"] == 0
    assert [word for word, number in table.items() if number is pd.NA] == [
        "blocked families",
        "blocked for chat",
        "affected owners",
    ]


def test_blocked_has_pseudonyms() -> None:
    """With a key, the ids of blocked families are pseudonyms."""
    names = Pseudonyms("a key")
    (row,) = frames.to_frame(blocked_table([FAMILY], names)).to_dict("records")

    assert (row["root"], row["owner"], row["blocking_thread"]) == (
        names.name("root", ROOT),
        names.name("owner", OWNER),
        names.name("thread", THREAD),
    )


def test_blocked_without_a_key_is_raw() -> None:
    """Without redaction, the ids are raw."""
    (row,) = frames.to_frame(blocked_table([FAMILY], None)).to_dict("records")

    assert (row["root"], row["owner"], row["blocking_thread"]) == (str(ROOT), str(OWNER), str(THREAD))


def test_a_blocking_thread_without_provider_or_age() -> None:
    """A blocking thread without a provider shows none; one of unknown age shows unknown."""
    shown = cells(blocked_table([FAMILY, replace(FAMILY, since=None, blocking_provider=None)], None))

    assert (shown[7 + 3], shown[7 + 6]) == ("unknown", "none")


def test_indexes_show_an_expression_in_a_key() -> None:
    """An expression in the key is shown."""
    odd = dataclasses.replace(ORIGINAL, columns=("root_prompt_row_id", None))

    assert list(frames.to_frame(indexes_table(Catalog((odd,))))["key"]) == ["root_prompt_row_id, (expression)"]
