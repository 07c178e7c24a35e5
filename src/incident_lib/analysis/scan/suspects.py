"""The columns that may belong in the key of one index: three at most, each with its reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from incident_lib.analysis.scan.evidence import weigh
from incident_lib.model import Suspect, join_names

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from incident_lib.analysis.scan.catalog import TableColumn
    from incident_lib.analysis.scan.evidence import Case, Evidence

MOST = 3
LEAST_REASON = 2.5  # together: a place in the table and few values are true of nearly every column


def find_suspects(case: Case, answered: Mapping[str, date]) -> list[Suspect]:
    """The columns that may belong in the key, the likeliest first; then those that a person answered with no.

    Args:
        case: the index, and what is around it.
        answered: when a person answered with no, by column.
    """
    if case.generates_its_key:
        return []
    weighed = [(column, weigh(case, column)) for column in case.candidates]
    likely = [(column, found) for column, found in weighed if _is_likely(found)]
    likely.sort(key=lambda each: (-_sum(each[1]), -each[0].number))
    asked = [each for each in likely if each[0].name not in answered][:MOST]
    told = [each for each in weighed if each[0].name in answered]
    return [_as_suspect(column, found, answered.get(column.name)) for column, found in (*asked, *told)]


def remarks(case: Case) -> list[str]:
    """What is to be known of the answer."""
    found = []
    if case.generates_its_key:
        made = f"The server makes the values of {case.generates_its_key}, each once"
        found.append(f"{made}: no other column belongs beside it, so none was looked for.")
        return found
    if not case.has_ages:
        found.append(
            "All columns of this table came at once, as they do in a restored database: which ones are younger than "
            "this index is not known. The order of the columns alone is used."
        )
    if unread := [column.name for column in case.candidates if not column.readable]:
        found.append(f"Not known to this role: how many distinct values there are in {join_names(unread)}.")
    elif all(column.distinct_values is None for column in case.candidates):
        found.append("Not known: how many distinct values the columns have. The table was never analyzed.")
    return found


def _sum(found: list[Evidence]) -> float:
    return sum(each.weight for each in found)


def _is_likely(found: list[Evidence]) -> bool:
    return sum(each.weight for each in found if each.weight > 0) >= LEAST_REASON and _sum(found) > 0


def _as_suspect(column: TableColumn, found: list[Evidence], answered: date | None) -> Suspect:
    return Suspect(
        column=column.name,
        reasons=[each.text for each in found if each.weight > 0],
        objections=[each.text for each in found if each.weight < 0],
        nullable=not column.not_null,
        answered_no=answered,
    )
