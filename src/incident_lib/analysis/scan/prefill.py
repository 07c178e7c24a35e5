"""A change that would put a column into a key, as the file that `incident plan --change` takes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from incident_lib.model import Refused

if TYPE_CHECKING:
    from incident_lib.model import ExaminedIndex


def change_file(index: ExaminedIndex, column: str) -> str:
    """The text of a TOML file that describes the change; it decides nothing that a person has to decide.

    Args:
        index: whose key it would be in.
        column: one of its suspects.

    Raises:
        Refused: it is none of them.
    """
    found = [suspect for suspect in index.suspects if suspect.column == column]
    if not found:
        known = ", ".join(suspect.column for suspect in index.suspects) or "no column"
        raise Refused(
            f"No change was written: {column!r} is no suspect of {index.index}.",
            f"The scan suspects {known}.",
            "Name one of these, or write the file by hand: docs/migration.md has its format.",
        )
    lines = [
        f"table = {_text(index.table)}",
        f"index = {_text(index.index)}",
        f"key_before = {_list(index.key)}",
        f"key_after = {_list([*index.key, column])}",
    ]
    if index.predicate is not None:
        lines.append(f"predicate = {_text(index.predicate)}")
    lines.append(f"constraint = {str(index.constraint).lower()}")
    lines.append(f"nulls_before = {_text('not distinct' if index.nulls_not_distinct else 'distinct')}")
    if found[0].nullable and not index.nulls_not_distinct:
        lines += [
            f"# {column} may be NULL. Choose what becomes of rows without a value:",
            '# nulls_after = "not distinct"  # they are compared with each other (PostgreSQL 15 and later)',
            f"# not_unique_where_null = {_list([column])}  # they may be duplicates from then on",
        ]
    return "\n".join(lines) + "\n"


def _text(value: str) -> str:
    """A basic string of TOML, which has the escapes of JSON."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _list(values: list[str]) -> str:
    return f"[{', '.join(map(_text, values))}]"
