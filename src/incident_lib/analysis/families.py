"""One family, thread by thread: what blocks what under the guards in force, and what the fixed guard would allow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from incident_lib.database import fetch_all, read_catalog
from incident_lib.model import PURPOSES, IndexKind

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from incident_lib.database import Connection
    from incident_lib.model import Catalog


@dataclass(frozen=True)
class Thread:
    """A thread of the family, and the purposes for which it keeps another one from being created."""

    row_id: UUID
    created_at: datetime | None
    purpose: str
    provider: str | None
    is_active: bool | None
    blocks: tuple[str, ...] | None  # now; None where a guard cannot be read
    would_block: tuple[str, ...]  # under the fixed guard alone


def explain_family(connection: Connection, root: UUID, owner: UUID | None) -> list[Thread]:
    """The threads of a family, the oldest first; empty where it has none.

    Args:
        connection: as `environments.reading` yields it.
        root: the family's root prompt.
        owner: its user; threads without one are of no family of theirs.
    """
    catalog = read_catalog(connection)
    rows = fetch_all(connection, "analysis/family", {"root": root, "owner": owner})
    return [Thread(**row, blocks=_blocks(row, catalog), would_block=_blocked_by(row, IndexKind.FIXED)) for row in rows]


def _blocks(row: dict[str, Any], catalog: Catalog) -> tuple[str, ...] | None:
    if catalog.unreadable:
        return None
    held = {
        purpose
        for kind in (IndexKind.ORIGINAL, IndexKind.FIXED)
        if catalog.enforces(kind)
        for purpose in _blocked_by(row, kind)
    }
    return tuple(sorted(held))


def _blocked_by(row: dict[str, Any], kind: IndexKind) -> tuple[str, ...]:
    """The purposes, of those that clients ask for, whose key this thread holds under a guard of that kind."""
    if not row["is_active"]:
        return ()
    return PURPOSES if kind is IndexKind.ORIGINAL else tuple(p for p in PURPOSES if p == row["purpose"])
