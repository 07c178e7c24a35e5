"""The worked example: one family that shows the incident, the fix plan's own where the environment has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from incident_lib import family, investigate, pseudonyms
from incident_lib.clients import Family

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from incident_lib.catalog import Catalog
    from incident_lib.environments import Connection
    from incident_lib.family import Thread
    from incident_lib.pseudonyms import Pseudonyms

PLAN_FAMILY = Family(pseudonyms.PLAN_ROOT, pseudonyms.PLAN_OWNER)


def choose(connection: Connection, catalog: Catalog, purpose_since: datetime | None = None) -> Family:
    """The fix plan's own family; where it has no thread here, the family that has been blocked for chat longest."""
    if not family.explain(connection, *PLAN_FAMILY):
        for found in investigate.blocked(connection, catalog, purpose_since=purpose_since, limit=1):
            return Family(found.root_prompt_row_id, found.owner_id)
    return PLAN_FAMILY


def as_record(chosen: Family, moment: str, threads: Iterable[Thread], names: Pseudonyms) -> dict[str, Any]:
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
