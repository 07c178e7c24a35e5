"""The table of the incident and what it holds: threads, families, and families that are blocked."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import msgspec

COLUMNS = ("row_id", "root_prompt_row_id", "owner_id", "provider", "purpose", "is_active", "created_at")
PURPOSES = ("chat", "run")
USUAL_PROVIDER = "openai"  # the column's default


class Family(NamedTuple):
    """A prompt family: a root prompt and its user. The original index allows it one active thread."""

    root: UUID
    owner: UUID | None


class BlockedFamily(msgspec.Struct, frozen=True, kw_only=True):
    """A family in which a thread of one purpose cannot be created, and the thread that blocks it."""

    root_prompt_row_id: UUID
    owner_id: UUID
    blocked_for: str
    since: datetime | None  # None: the thread's age, or when the column purpose came, is unknown
    blocking_thread: UUID
    blocking_purpose: str
    blocking_provider: str | None

    @property
    def family(self) -> Family:
        """The family that is blocked."""
        return Family(self.root_prompt_row_id, self.owner_id)


class Thread(msgspec.Struct, frozen=True, kw_only=True):
    """A thread of a family, and the purposes for which PostgreSQL rejects another one because of it."""

    row_id: UUID
    created_at: datetime | None
    purpose: str | None
    provider: str | None
    is_active: bool | None
    blocks: tuple[str, ...] | None  # now; None: an enforced index has a definition that this project cannot read
    would_block: tuple[str, ...]  # with the fixed index alone
