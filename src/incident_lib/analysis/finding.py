"""A family by the first digits of its ids; and where there is none, what those ids are instead."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from incident_lib.database import fetch_all, fetch_one
from incident_lib.model import Family, UsageError

if TYPE_CHECKING:
    from incident_lib.database import Connection

DIGITS = 32
FEWEST = 4


@dataclass(frozen=True)
class FoundFamily:
    """The family that two ids name; where there is none: why, and what to do.

    Attributes:
        swapped: the ids name a family in the other order.
    """

    family: Family | None
    why: str = ""
    action: str = ""
    swapped: bool = False


def find_family(connection: Connection, root: str, owner: str) -> FoundFamily:
    """The family whose ids begin so.

    Args:
        connection: as `database.reading` yields it.
        root: the id of the root prompt, or its first digits, with hyphens or without.
        owner: the id of the user, likewise.

    Raises:
        UsageError: one of them is no beginning of an id.
    """
    values = dict(zip(("root_from", "root_to", "owner_from", "owner_to"), (*_range(root), *_range(owner)), strict=True))
    found = [Family(**row) for row in fetch_all(connection, "analysis/find_family", values)]
    if len(found) == 1:
        return FoundFamily(found[0])
    if found:
        return FoundFamily(None, "Several families have ids that begin so.", "Give more digits of both ids.")
    return _what_they_are(fetch_one(connection, "analysis/what_ids_are", values))


def _range(text: str) -> tuple[UUID, UUID]:
    """The first and the last id that begin with these digits."""
    digits = text.strip(" {}").lower().removeprefix("urn:uuid:").replace("-", "")
    if not re.fullmatch(rf"[0-9a-f]{{{FEWEST},{DIGITS}}}", digits):
        raise UsageError(
            "One of the two ids is not a UUID.",
            f"An id is a UUID, or its first {FEWEST} digits or more; what was given is not repeated here.",
            "Copy the ids from `incident investigate`: first the root, then the owner.",
        )
    return UUID(digits.ljust(DIGITS, "0")), UUID(digits.ljust(DIGITS, "f"))


def _what_they_are(counts: dict[str, int]) -> FoundFamily:
    if counts["swapped"]:
        return FoundFamily(None, "The two ids are swapped: the second one is the root.", "Swap them.", swapped=True)
    threads = [which for which in ("first", "second") if counts[f"{which}_is_thread"]]
    if threads:
        ids = "Both ids are" if len(threads) == len(("first", "second")) else f"The {threads[0]} id is"
        return FoundFamily(
            None,
            f"{ids} that of a thread, not of a root prompt or a user.",
            "Read the thread's root_prompt_row_id and owner_id, and explain those.",
        )
    unknown = {
        (False, False): "No thread has this root, and none has this owner.",
        (False, True): "No thread has this root; the owner has threads of other families.",
        (True, False): "No thread has this owner; the root has threads of other users, or without one.",
        (True, True): "Root and owner have threads, but none together.",
    }[counts["roots"] > 0, counts["owners"] > 0]
    return FoundFamily(None, unknown, "Check the ids, and that this is the right environment.")
