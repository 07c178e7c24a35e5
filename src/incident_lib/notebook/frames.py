"""Typed rows as DataFrames, at the edge where people look; each with its columns and dtypes, also when empty."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from incident_lib.model import COUNT_MEANINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pandas.io.formats.style_render import CSSDict

    from incident_lib.analysis import Thread
    from incident_lib.migration import StepResult
    from incident_lib.model import BlockedFamily, Catalog, Check, Counts, Plan, Pseudonyms


def frame(rows: Iterable[Sequence[Any]], columns: Mapping[str, str]) -> pd.DataFrame:
    """A DataFrame of these rows with these columns and dtypes, whether or not there is a row."""
    return pd.DataFrame(list(rows), columns=list(columns)).astype(dict(columns))


def styled(table: pd.DataFrame) -> Styler:
    """A DataFrame as people read it: texts whole and to the left, numbers with thousands apart, no row numbers."""
    flat = table if isinstance(table.index, pd.RangeIndex) else table.reset_index()
    made = Styler(flat, uuid="table", cell_ids=False, escape="html").hide(axis="index")
    return made.set_table_styles(_RULES).format(_shown)


_RULES: list[CSSDict] = [
    {"selector": "th, td", "props": "text-align: left; vertical-align: top; white-space: pre-wrap;"},
    {"selector": "th.col_heading", "props": "white-space: nowrap;"},
]


def _shown(value: object) -> str:
    if pd.isna(value):  # type: ignore[call-overload]  # any scalar will do
        return "unknown"
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int | np.integer) else escape(str(value))


def indexes(catalog: Catalog) -> pd.DataFrame:
    """The guards in the catalog: index, kind, key, flags, enforced."""
    columns = {"index": "str", "kind": "str", "key": "str", "flags": "str", "enforced": "bool"}
    return frame(
        (
            (i.name, i.kind.value, ", ".join(c or "(expression)" for c in i.columns), i.flags(), i.enforced)
            for i in catalog.family_indexes
        ),
        columns,
    ).set_index("index")


def counts(**looks: Counts | None) -> pd.DataFrame:
    """The counts by their words, a column for each look, and what each means; <NA> where unknown."""
    by_look = {moment: counts_by_name(look) for moment, look in looks.items()}
    rows = [(word, *(by_look[moment][word] for moment in looks), meaning) for word, meaning in COUNT_MEANINGS.items()]
    columns = {"count": "str", **dict.fromkeys(looks, "Int64"), "meaning": "str"}
    return frame(rows, columns).set_index("count")


def attempts(record: Mapping[str, Any]) -> pd.DataFrame:
    """Failed attempts as a run record carries them: count, number (<NA> where unknown), meaning."""
    rows = ((word.replace("_", " "), record[word], meaning) for word, meaning in ATTEMPT_MEANINGS.items())
    return frame(rows, {"count": "str", "number": "Int64", "meaning": "str"}).set_index("count")


def purposes(counts: Counts) -> pd.DataFrame:
    """The active threads by purpose, whatever stands in the column."""
    return frame(counts.active_by_purpose.items(), {"purpose": "str", "active_threads": "Int64"}).set_index("purpose")


def blocked(families: Iterable[BlockedFamily], names: Pseudonyms | None) -> pd.DataFrame:
    """Blocked families, ids named by pseudonyms or, where `names` is None, raw."""

    def named(word: str, value: Any) -> str:
        return str(value if names is None else names.name(word, value))

    def coded(code: str | None) -> str | None:
        return code if names is None or code is None else str(names.scrub(code))

    rows = [
        (
            named("root", f.root_prompt_row_id),
            named("owner", f.owner_id),
            f.blocked_for,
            f.since,
            named("thread", f.blocking_thread),
            coded(f.blocking_purpose),
            coded(f.blocking_provider),
        )
        for f in families
    ]
    columns = {
        "root": "str",
        "owner": "str",
        "blocked_for": "str",
        "since": "datetime64[us, UTC]",
        "blocking_thread": "str",
        "blocking_purpose": "str",
        "blocking_provider": "str",
    }
    return frame(rows, columns)


def checks(found: Iterable[Check]) -> pd.DataFrame:
    """Checks: name, answer, what was seen, cure."""
    return frame(
        ((c.name, c.status.value, c.finding, c.action) for c in found),
        dict.fromkeys(("check", "answer", "seen", "cure"), "str"),
    ).set_index("check")


def plan(way: Plan) -> pd.DataFrame:
    """The steps of a plan: step, what is sent, the strongest lock, why."""
    return frame(
        ((s.name, ";\n".join(s.sql), s.lock, s.why) for s in way.steps),
        dict.fromkeys(("step", "sql", "lock", "why"), "str"),
    ).set_index("step")


def steps(taken: Iterable[StepResult]) -> pd.DataFrame:
    """The steps that were taken, and how each ended."""
    return frame(((s.name, s.outcome) for s in taken), {"step": "str", "outcome": "str"}).set_index("step")


def explained(found: Iterable[Thread], names: Pseudonyms | None) -> pd.DataFrame:
    """The threads of a family, and the purposes that each blocks now and would under the fixed guard."""
    columns = dict.fromkeys(("thread", "created_at", "purpose", "provider", "is_active"), "str")
    columns |= {"is_active": "boolean", "blocks": "str", "under_the_fixed_guard": "str"}
    rows = (
        (
            str(t.row_id) if names is None else names.name("thread", t.row_id),
            t.created_at and f"{t.created_at:%Y-%m-%d %H:%M}",
            t.purpose,
            t.provider,
            t.is_active,
            None if t.blocks is None else ", ".join(t.blocks) or "nothing",
            ", ".join(t.would_block) or "nothing",
        )
        for t in found
    )
    return frame(rows, columns)
