"""The words of the project as types: counts, blocked families, steps, checks. Knows no connection."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from incident_lib.model.catalog import IndexKind, UniqueIndex

SCHEMA, TABLE = "public", "q_threads"
COLUMNS = ("row_id", "root_prompt_row_id", "owner_id", "provider", "purpose", "is_active", "created_at")
PURPOSES = ("chat", "run")


@dataclass(frozen=True)
class PerPurpose:
    """A count per wanted purpose; None where a guard could not be read."""

    chat: int | None
    run: int | None


@dataclass(frozen=True)
class Counts:
    """The counts of one investigation, in the design's words. None: not known, never 0."""

    families: int
    active_threads: int
    active_by_purpose: dict[str, int]
    blocked_families: int | None
    blocked: PerPurpose
    affected_owners: int | None
    blocked_owners: PerPurpose
    coexisting_families: int
    residual_conflicts: int
    unguarded_threads: int
    duplicate_keys: dict[str, int]  # keys that the guard of each kind could not hold

    def as_dict(self) -> dict[str, Any]:
        """The counts as a run record carries them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, counts: dict[str, Any]) -> Counts:
        """The counts of a run record."""
        per_purpose = {key: PerPurpose(**counts[key]) for key in ("blocked", "blocked_owners")}
        return cls(**{**counts, **per_purpose})


@dataclass(frozen=True)
class BlockedFamily:
    """A family for which a thread of a purpose cannot be created, and why."""

    root_prompt_row_id: UUID
    owner_id: UUID
    blocked_for: str
    since: datetime | None  # unknown where the thread's age or the purpose column's is
    blocking_thread: UUID
    blocking_purpose: str
    blocking_provider: str | None


@dataclass(frozen=True)
class Step:
    """One step of a plan: what is sent, what it locks, and why it is there."""

    name: str
    sql: tuple[str, ...]
    lock: str
    transaction: bool
    why: str
    builds: UniqueIndex | None = None
    drops: str | None = None
    renames: tuple[tuple[str, str], ...] = ()
    waits_for: str | None = None  # the index that somebody else's session builds


@dataclass(frozen=True)
class Plan:
    """The steps from what the catalog holds to a target, or the reason why there are none."""

    target: IndexKind
    steps: tuple[Step, ...]
    refusal: str | None = None


class Status(StrEnum):
    """The answer of a preflight check."""

    OK = "ok"
    NOTE = "note"  # worth knowing
    WAIT = "wait"  # it would be held up
    STOP = "stop"  # not now, or not so


@dataclass(frozen=True)
class Check:
    """One preflight check: its name, its answer, what was seen, and the cure."""

    name: str
    answer: Status
    seen: str
    cure: str = ""
