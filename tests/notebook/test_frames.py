"""DataFrames at the edge: typed also when empty, and shown as people read them."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from uuid import UUID

import pandas as pd
import pytest

from incident_lib.migration.executor import StepResult
from incident_lib.migration.plan import plan_change
from incident_lib.model.catalog import Catalog, IndexKind, UniqueIndex
from incident_lib.model.checks import Check, Status
from incident_lib.model.counts import Counts, PerPurpose
from incident_lib.model.plan import Plan
from incident_lib.model.pseudonyms import Pseudonyms
from incident_lib.model.threads import BlockedFamily
from incident_lib.notebook import frames

ROOT, OWNER, THREAD = (UUID(int=n) for n in (1, 2, 3))
FAMILY = BlockedFamily(ROOT, OWNER, "chat", datetime(2025, 9, 22, 6, tzinfo=UTC), THREAD, "run", "openai")
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


def dtypes(table: pd.DataFrame) -> dict[str, str]:
    """The dtype of each column, the index among them."""
    return {str(column): str(dtype) for column, dtype in table.reset_index().dtypes.items() if column != "index"} | (
        {"index": str(table.index.dtype)} if table.index.name == "index" else {}
    )


EMPTY_AND_NOT = [
    pytest.param(
        frames.blocked([], None),
        frames.blocked([FAMILY, replace(FAMILY, since=None, blocking_provider=None)], None),
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
        frames.indexes(Catalog(())),
        frames.indexes(Catalog((ORIGINAL,))),
        {"index": "str", "kind": "str", "key": "str", "flags": "str", "enforced": "bool"},
        id="guards",
    ),
    pytest.param(
        frames.purposes(replace(COUNTS, active_by_purpose={})),
        frames.purposes(COUNTS),
        {"purpose": "str", "active_threads": "Int64"},
        id="purposes",
    ),
    pytest.param(
        frames.counts(before=None, after=None),
        frames.counts(before=COUNTS, after=COUNTS),
        {"count": "str", "before": "Int64", "after": "Int64", "meaning": "str"},
        id="counts",
    ),
    pytest.param(
        frames.checks([]),
        frames.checks([Check("primary", Status.PASS, "this server is the primary")]),
        {"check": "str", "answer": "str", "seen": "str", "cure": "str"},
        id="checks",
    ),
    pytest.param(
        frames.plan(Plan(IndexKind.FIXED, ())),
        frames.plan(plan_change(Catalog((ORIGINAL,)))),
        {"step": "str", "sql": "str", "lock": "str", "why": "str"},
        id="plan",
    ),
    pytest.param(
        frames.steps([]),
        frames.steps([StepResult("build", ("CREATE …",), 0.1, "done", datetime(2026, 1, 7, tzinfo=UTC))]),
        {"step": "str", "outcome": "str"},
        id="steps",
    ),
]


@pytest.mark.parametrize(("empty", "filled", "expected"), EMPTY_AND_NOT)
def test_an_empty_table_keeps_its_dtypes(empty: pd.DataFrame, filled: pd.DataFrame, expected: dict[str, str]) -> None:
    """A table without a row has the columns and dtypes of its promise."""
    assert dtypes(empty) == expected


@pytest.mark.parametrize(("empty", "filled", "expected"), EMPTY_AND_NOT)
def test_a_table_with_rows_has_the_same_dtypes(
    empty: pd.DataFrame, filled: pd.DataFrame, expected: dict[str, str]
) -> None:
    """A table with rows has the same columns and dtypes, NULLs among them or not."""
    assert dtypes(filled) == expected


def cells(table: pd.DataFrame) -> list[str]:
    """The texts of a table's cells, as a browser shows them."""
    return [unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", frames.styled(table).to_html(), re.DOTALL)]


def test_shown_aligns_to_the_left() -> None:
    """Every cell and head of a table is aligned to the left."""
    styles = frames.styled(frames.purposes(COUNTS)).to_html().partition("</style>")[0]

    assert re.findall(r"([^{}]*)\{[^}]*text-align: (\w+)", styles.replace("\n", " ")) == [
        ('<style type="text/css"> #T_table th ', "left"),
        (" #T_table  td ", "left"),
    ]


def test_shown_escapes_markup_in_values() -> None:
    """Markup in a value is shown and not obeyed."""
    html = frames.styled(frames.frame([("<script>alert('&')</script>",)], {"purpose": "str"})).to_html()

    assert "<script" not in html
    assert "&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;" in html


def test_shown_escapes_markup_in_the_index() -> None:
    """Markup in a row's name, a purpose say, is shown and not obeyed."""
    assert cells(frames.purposes(COUNTS)) == ["chat", "161", "<b>", "7"]
    assert "<b>" not in frames.styled(frames.purposes(COUNTS)).to_html()


@pytest.mark.parametrize(
    ("value", "dtype", "said"),
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
def test_shown_says_a_value(value: object, dtype: str, said: str) -> None:
    """Numbers have their thousands apart, flags are yes or no, and what is not known is unknown."""
    assert cells(frames.frame([(value,)], {"it": dtype})) == [said]


def test_shown_has_no_row_numbers() -> None:
    """A table that numbers its rows does not show the numbers."""
    assert len(cells(frames.blocked([FAMILY], None))) == 7


def test_shown_is_the_same_each_time() -> None:
    """The same table is the same HTML."""
    assert frames.styled(frames.purposes(COUNTS)).to_html() == frames.styled(frames.purposes(COUNTS)).to_html()


def test_counts_that_are_not_known_are_na() -> None:
    """A count that is not known is <NA>, never 0."""
    table = frames.counts(now=COUNTS)["now"]

    assert table["blocked for run"] == 0
    assert [word for word, number in table.items() if number is pd.NA] == [
        "blocked_families",
        "blocked for chat",
        "affected_owners",
    ]


def test_blocked_names_ids() -> None:
    """Under a key the ids of blocked families are pseudonyms."""
    names = Pseudonyms("a key")
    (row,) = frames.blocked([FAMILY], names).to_dict("records")

    assert (row["root"], row["owner"], row["blocking_thread"]) == (
        names.name("root", ROOT),
        names.name("owner", OWNER),
        names.name("thread", THREAD),
    )


def test_blocked_without_a_key_is_raw() -> None:
    """Where redaction was turned off by hand the ids are raw."""
    (row,) = frames.blocked([FAMILY], None).to_dict("records")

    assert (row["root"], row["owner"], row["blocking_thread"]) == (str(ROOT), str(OWNER), str(THREAD))


def test_blocked_by_an_unknown_provider_says_unknown() -> None:
    """A blocking thread without a provider, and one of no known age, are shown as unknown."""
    shown = cells(frames.blocked([replace(FAMILY, since=None, blocking_provider=None)], None))

    assert (shown[3], shown[6]) == ("unknown", "unknown")


def test_indexes_show_an_expression_in_a_key() -> None:
    """A key column that is an expression is shown as one."""
    odd = replace(ORIGINAL, columns=("root_prompt_row_id", None))

    assert list(frames.indexes(Catalog((odd,)))["key"]) == ["root_prompt_row_id, (expression)"]
