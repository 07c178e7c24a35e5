"""One family, thread by thread: what blocks what with the indexes that are enforced, and with the fixed index."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from incident_lib.database import fetch_all
from incident_lib.model import PLAN_OWNER, PLAN_ROOT, PURPOSES, Family, IndexKind, Thread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from incident_lib.database import Connection
    from incident_lib.model import Catalog

PLAN_FAMILY = Family(PLAN_ROOT, PLAN_OWNER)  # of the fix plan; its ids are published


def explain_family(connection: Connection, catalog: Catalog, family: Family) -> list[Thread]:
    """The threads of a family, the oldest first; empty where it has none.

    Args:
        connection: as `database.reading` yields it.
        catalog: the unique indexes, of the same snapshot.
        family: with an owner; a thread without one belongs to no family.
    """
    return explain_families(connection, catalog, [family])[family]


def explain_families(
    connection: Connection, catalog: Catalog, families: Sequence[Family]
) -> dict[Family, list[Thread]]:
    """The threads of several families, by one query; see `explain_family`."""
    found: dict[Family, list[Thread]] = {family: [] for family in families}
    values = {"roots": [family.root for family in found], "owners": [family.owner for family in found]}
    rows = fetch_all(connection, "analysis/family", values)
    for family, threads in groupby(rows, key=lambda row: Family(row.pop("root"), row.pop("owner"))):
        found[family] = [_thread(row, catalog) for row in threads]
    return found


def _thread(row: dict[str, Any], catalog: Catalog) -> Thread:
    return Thread(**row, blocks=_blocks(row, catalog), would_block=_blocked_by(row, IndexKind.FIXED))


def _blocks(row: dict[str, Any], catalog: Catalog) -> tuple[str, ...] | None:
    if catalog.unreadable:
        return None
    enforced = [kind for kind in (IndexKind.ORIGINAL, IndexKind.FIXED, IndexKind.FINER) if catalog.enforces(kind)]
    return tuple(sorted({purpose for kind in enforced for purpose in _blocked_by(row, kind)}))


def _blocked_by(row: dict[str, Any], kind: IndexKind) -> tuple[str, ...]:
    """The purposes, of those that clients ask for, whose key this thread has in an index of that kind."""
    if not row["is_active"]:
        return ()
    return PURPOSES if kind is IndexKind.ORIGINAL else tuple(p for p in PURPOSES if p == row["purpose"])
