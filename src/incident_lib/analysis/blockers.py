"""What blocks the families, and since when, summed up: what the report draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from incident_lib.database import fetch_all
from incident_lib.model import PURPOSES, to_iso

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from incident_lib.database import Connection
    from incident_lib.model import Catalog

MOST_BLOCKERS = 10  # kinds of blocking threads, for each purpose; the rest is one sum
MOST_MOMENTS = 30
LONGEST = 40  # characters of a purpose or provider


def summarize_blockers(connection: Connection, catalog: Catalog, purpose_since: datetime | None) -> dict[str, Any]:
    """What blocks the families and since when, as a run record carries it; see `sql/blockers.sql`.

    Returns:
        `purpose_since`, as given. `blocked_by`: dicts of blocked_for, purpose, provider, families; most families first.
        `blocked_since`: for each purpose pairs of a moment and how many of the families that are blocked now were
        blocked by then; families of whom that is unknown are in none. Both are None where a guard cannot be read.
    """
    known = {"purpose_since": purpose_since and to_iso(purpose_since)}
    if catalog.blocks is None:
        return {**known, "blocked_by": None, "blocked_since": None}
    rows = fetch_all(connection, "analysis/blockers", {"purpose_since": purpose_since}) if catalog.blocks else []
    return {
        **known,
        "blocked_by": [kind for purpose in PURPOSES for kind in _kinds(rows, purpose)],
        "blocked_since": {purpose: _growth(_of(rows, purpose, of_time=True)) for purpose in PURPOSES},
    }


def _of(rows: Iterable[dict[str, Any]], purpose: str, *, of_time: bool) -> list[dict[str, Any]]:
    return [row for row in rows if row["blocked_for"] == purpose and row["of_time"] is of_time]


def _kinds(rows: list[dict[str, Any]], purpose: str) -> list[dict[str, Any]]:
    """The kinds of threads that block most families; the others as one."""
    found = [
        {"blocked_for": purpose, "families": row["families"]}
        | {column: _cut(row[column]) for column in ("purpose", "provider")}
        for row in _of(rows, purpose, of_time=False)
    ]
    head, rest = found[:MOST_BLOCKERS], found[MOST_BLOCKERS:]
    if rest:
        families = sum(kind["families"] for kind in rest)
        head.append({"blocked_for": purpose, "purpose": "others", "provider": "others", "families": families})
    return head


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _growth(rows: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """The sum up to each moment; of many moments as many as a chart can show, the first and the last among them."""
    total, points = 0, []
    for row in rows:
        total += row["families"]
        points.append((to_iso(row["since"], "seconds"), total))
    step = -(-(len(points) - 1) // (MOST_MOMENTS - 1))
    return points[:1] + points[1:-1][step - 1 :: step] + points[-1:] if step > 1 else points
