"""What blocks the families, and since when, as sums: what the report draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from incident_lib.database import fetch_all
from incident_lib.model import PURPOSES, BlockedSince, BlockerCount

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from incident_lib.database import Connection
    from incident_lib.model import Catalog

MOST_BLOCKERS = 10  # kinds of blocking threads, for each purpose; the others are one sum
MOST_POINTS = 30
LONGEST = 40  # characters of a purpose or provider


def summarize_blockers(
    connection: Connection, catalog: Catalog, purpose_since: datetime | None
) -> tuple[list[BlockerCount] | None, BlockedSince | None]:
    """What blocks the families, and since when; see `sql/blockers.sql`.

    Returns:
        The kinds of blocking threads, those that block most families first; and how many of the families that are
        blocked now had been blocked by each time (families of unknown age are in none). Both are None where an
        enforced index has a definition that cannot be read.
    """
    if catalog.blocks is None:
        return None, None
    rows = fetch_all(connection, "analysis/blockers", {"purpose_since": purpose_since}) if catalog.blocks else []
    kinds = [kind for purpose in PURPOSES for kind in _kinds(rows, purpose)]
    chat, run = (_growth(_rows_of(rows, purpose, of_time=True)) for purpose in PURPOSES)
    return kinds, BlockedSince(chat=chat, run=run)


def _rows_of(rows: Iterable[dict[str, Any]], purpose: str, *, of_time: bool) -> list[dict[str, Any]]:
    return [row for row in rows if row["blocked_for"] == purpose and row["of_time"] is of_time]


def _kinds(rows: list[dict[str, Any]], purpose: str) -> list[BlockerCount]:
    """The kinds of threads that block most families; the others as one."""
    found = [
        BlockerCount(
            blocked_for=purpose, purpose=_cut(row["purpose"]), provider=_cut(row["provider"]), families=row["families"]
        )
        for row in _rows_of(rows, purpose, of_time=False)
    ]
    head, rest = found[:MOST_BLOCKERS], found[MOST_BLOCKERS:]
    if rest:
        families = sum(kind.families for kind in rest)
        head.append(BlockerCount(blocked_for=purpose, purpose="others", provider="others", families=families))
    return head


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _growth(rows: list[dict[str, Any]]) -> list[tuple[datetime, int]]:
    """The sum up to each time; of many times as many as a chart can show, the first and the last among them."""
    total, points = 0, []
    for row in rows:
        total += row["families"]
        points.append((row["since"].replace(microsecond=0), total))
    step = -(-(len(points) - 1) // (MOST_POINTS - 1))
    return points[:1] + points[1:-1][step - 1 :: step] + points[-1:] if step > 1 else points
