"""The worked example: one family that shows the incident, the fix plan's own where the environment has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from incident_lib.analysis.families import explain_family
from incident_lib.analysis.investigate import list_blocked
from incident_lib.database import Family
from incident_lib.model import PLAN_OWNER, PLAN_ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from incident_lib.analysis.families import Thread
    from incident_lib.database import Connection
    from incident_lib.model import Catalog, Pseudonyms

PLAN_FAMILY = Family(PLAN_ROOT, PLAN_OWNER)


def choose_example(connection: Connection, catalog: Catalog, purpose_since: datetime | None = None) -> Family:
    """The fix plan's own family; where it has no thread here, the family that has been blocked for chat longest."""
    if not explain_family(connection, *PLAN_FAMILY):
        for found in list_blocked(connection, catalog, purpose_since=purpose_since, limit=1):
            return Family(found.root_prompt_row_id, found.owner_id)
    return PLAN_FAMILY


def example_record(chosen: Family, moment: str, threads: Iterable[Thread], names: Pseudonyms) -> dict[str, Any]:
    """The family and its threads, `before` or `after`, as a run record carries them: every id named."""
    rows = [
        {
            "thread": names.name("thread", thread.row_id),
            "created_at": thread.created_at and f"{thread.created_at:%Y-%m-%d %H:%M}",
            "purpose": thread.purpose,
            "provider": thread.provider,
            "is_active": thread.is_active,
            "blocks": thread.blocks,
            "would_block": thread.would_block,
        }
        for thread in threads
    ]
    return {"root": names.name("root", chosen.root), "owner": names.name("owner", chosen.owner), moment: rows}
