"""DataFrames of a notebook: with dtypes also if empty, and with formatted values."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime
from html import unescape
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
from incident_lib.model.threads import BlockedFamily
from incident_lib.notebook import frames

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
        plan_table(Plan(IndexKind.FIXED, ())),
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


def cells(table: Table) -> list[str]:
    """The texts of a table's cells, as a browser shows them."""
    return [unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", frames.styled(table).to_html(), re.DOTALL)]


def test_texts_are_aligned_to_the_left_and_numbers_to_the_right() -> None:
    """Texts are aligned left; whole numbers and their headings are aligned right."""
    styles = frames.styled(purposes_table(COUNTS)).to_html().partition("</style>")[0]

    assert re.findall(r"#T_table_1 +(\S+) \{\s*text-align: (\w+)", styles) == [
        ("th", "left"),
        ("td", "left"),
        ("td.col1", "right"),
        ("th.col1", "right"),
    ]


def test_the_rules_of_a_table_are_not_those_of_another() -> None:
    """Two tables on one page have separate style sheets."""
    texts = make_table(["step", "why"], [("build", "…")])

    assert "T_table_1 " not in frames.styled(texts).to_html()


def test_shown_escapes_markup_in_values() -> None:
    """Markup in a value is shown as text."""
    html = frames.styled(make_table(["purpose"], [("<script>alert('&')</script>",)])).to_html()

    assert "<script" not in html
    assert "&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;" in html


def test_shown_escapes_markup_in_a_purpose() -> None:
    """Markup in a purpose is shown as text, whatever the column's dtype."""
    assert cells(purposes_table(COUNTS)) == ["chat", "161", "<b>", "7"]
    assert "<b>" not in frames.styled(purposes_table(COUNTS)).to_html()


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
    assert cells(make_table([Column("value", dtype=dtype)], [(value,)])) == [shown]


def test_shown_has_no_row_numbers() -> None:
    """The row numbers of a table are not shown."""
    assert len(cells(blocked_table([FAMILY], None))) == 7


def test_shown_is_the_same_each_time() -> None:
    """The same table gives the same HTML."""
    assert frames.styled(purposes_table(COUNTS)).to_html() == frames.styled(purposes_table(COUNTS)).to_html()


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
    shown = cells(blocked_table([replace(FAMILY, since=None, blocking_provider=None)], None))

    assert (shown[3], shown[6]) == ("unknown", "none")


def test_indexes_show_an_expression_in_a_key() -> None:
    """An expression in the key is shown."""
    odd = dataclasses.replace(ORIGINAL, columns=("root_prompt_row_id", None))

    assert list(frames.to_frame(indexes_table(Catalog((odd,))))["key"]) == ["root_prompt_row_id, (expression)"]
