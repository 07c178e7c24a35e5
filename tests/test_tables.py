"""DataFrames at the edge: typed also when empty, and shown as people read them."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from uuid import UUID

import pandas as pd
import pytest

from incident_lib import tables
from incident_lib.catalog import Catalog, Index, Kind
from incident_lib.model import Answer, BlockedFamily, Check, Counts, PerPurpose, Plan
from incident_lib.plan import plan
from incident_lib.pseudonyms import Pseudonyms
from incident_lib.walk import Done

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
ORIGINAL = Index(
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
        tables.blocked([], None),
        tables.blocked([FAMILY, replace(FAMILY, since=None, blocking_provider=None)], None),
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
        tables.guards(Catalog(())),
        tables.guards(Catalog((ORIGINAL,))),
        {"index": "str", "kind": "str", "key": "str", "flags": "str", "in_force": "bool"},
        id="guards",
    ),
    pytest.param(
        tables.purposes(replace(COUNTS, active_by_purpose={})),
        tables.purposes(COUNTS),
        {"purpose": "str", "active_threads": "Int64"},
        id="purposes",
    ),
    pytest.param(
        tables.counts(before=None, after=None),
        tables.counts(before=COUNTS, after=COUNTS),
        {"count": "str", "before": "Int64", "after": "Int64", "meaning": "str"},
        id="counts",
    ),
    pytest.param(
        tables.checks([]),
        tables.checks([Check("primary", Answer.OK, "this server is the primary")]),
        {"check": "str", "answer": "str", "seen": "str", "cure": "str"},
        id="checks",
    ),
    pytest.param(
        tables.plan(Plan(Kind.FIXED, ())),
        tables.plan(plan(Catalog((ORIGINAL,)))),
        {"step": "str", "sql": "str", "lock": "str", "why": "str"},
        id="plan",
    ),
    pytest.param(
        tables.steps([]),
        tables.steps([Done("build", ("CREATE …",), 0.1, "done", datetime(2026, 1, 7, tzinfo=UTC))]),
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
    return [unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", tables.shown(table).to_html(), re.DOTALL)]


def test_shown_aligns_to_the_left() -> None:
    """Every cell and head of a table is aligned to the left."""
    styles = tables.shown(tables.purposes(COUNTS)).to_html().partition("</style>")[0]

    assert re.findall(r"([^{}]*)\{[^}]*text-align: (\w+)", styles.replace("\n", " ")) == [
        ('<style type="text/css"> #T_table th ', "left"),
        (" #T_table  td ", "left"),
    ]


def test_shown_escapes_markup_in_values() -> None:
    """Markup in a value is shown and not obeyed."""
    html = tables.shown(tables.frame([("<script>alert('&')</script>",)], {"purpose": "str"})).to_html()

    assert "<script" not in html
    assert "&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;" in html


def test_shown_escapes_markup_in_the_index() -> None:
    """Markup in a row's name, a purpose say, is shown and not obeyed."""
    assert cells(tables.purposes(COUNTS)) == ["chat", "161", "<b>", "7"]
    assert "<b>" not in tables.shown(tables.purposes(COUNTS)).to_html()


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
    assert cells(tables.frame([(value,)], {"it": dtype})) == [said]


def test_shown_has_no_row_numbers() -> None:
    """A table that numbers its rows does not show the numbers."""
    assert len(cells(tables.blocked([FAMILY], None))) == 7


def test_shown_is_the_same_each_time() -> None:
    """The same table is the same HTML."""
    assert tables.shown(tables.purposes(COUNTS)).to_html() == tables.shown(tables.purposes(COUNTS)).to_html()


def test_counts_that_are_not_known_are_na() -> None:
    """A count that is not known is <NA>, never 0."""
    table = tables.counts(now=COUNTS)["now"]

    assert table["blocked for run"] == 0
    assert [word for word, number in table.items() if number is pd.NA] == [
        "blocked_families",
        "blocked for chat",
        "affected_owners",
    ]


def test_blocked_names_ids() -> None:
    """Under a key the ids of blocked families are pseudonyms."""
    names = Pseudonyms("a key")
    (row,) = tables.blocked([FAMILY], names).to_dict("records")

    assert (row["root"], row["owner"], row["blocking_thread"]) == (
        names.name("root", ROOT),
        names.name("owner", OWNER),
        names.name("thread", THREAD),
    )


def test_blocked_without_a_key_is_raw() -> None:
    """Where redaction was turned off by hand the ids are raw."""
    (row,) = tables.blocked([FAMILY], None).to_dict("records")

    assert (row["root"], row["owner"], row["blocking_thread"]) == (str(ROOT), str(OWNER), str(THREAD))


def test_blocked_by_an_unknown_provider_says_unknown() -> None:
    """A blocking thread without a provider, and one of no known age, are shown as unknown."""
    shown = cells(tables.blocked([replace(FAMILY, since=None, blocking_provider=None)], None))

    assert (shown[3], shown[6]) == ("unknown", "unknown")


def test_guards_show_an_expression_in_a_key() -> None:
    """A key column that is an expression is shown as one."""
    odd = replace(ORIGINAL, columns=("root_prompt_row_id", None))

    assert list(tables.guards(Catalog((odd,)))["key"]) == ["root_prompt_row_id, (expression)"]
