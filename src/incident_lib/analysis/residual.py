"""What the fix leaves: conflicts between providers, threads that nobody finds or guards, and what would settle them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from incident_lib.analysis.families import explain_family
from incident_lib.database import fetch_all, fetch_one
from incident_lib.migration import PREDICATE
from incident_lib.model import SCHEMA, TABLE, plural

if TYPE_CHECKING:
    from uuid import UUID

    from incident_lib.analysis.families import Thread
    from incident_lib.database import Connection

PROPOSED_NAME = "idx_q_threads_family_provider_unique"
PROPOSED_KEY = ("root_prompt_row_id", "owner_id", "provider", "purpose")
NULLS_NOT_DISTINCT_SINCE = 150000


@dataclass(frozen=True)
class ProviderConflicts:
    """The residual conflicts that one provider's active threads make; None: threads without a provider."""

    provider: str | None
    active_threads: int
    families: int


@dataclass(frozen=True)
class WorkedFamily:
    """A family that shows a residual conflict; its ids are raw, and its threads have no names."""

    root: UUID
    owner: UUID
    held_by: str | None
    asked_for: str
    purpose: str
    threads: tuple[Thread, ...]

    def __str__(self) -> str:
        holder = "no provider" if self.held_by is None else f"the provider {self.held_by}"
        return (
            f"An active thread of {holder} and of purpose {self.purpose} holds the fixed guard's key: a client that "
            f"looks for one of {self.asked_for} finds none, and its insert is rejected."
        )

    def as_record(self) -> dict[str, Any]:
        """The family without its ids."""
        rows = [
            {
                "created_at": f"{thread.created_at:%Y-%m-%d %H:%M}" if thread.created_at else None,
                "purpose": thread.purpose,
                "provider": thread.provider,
                "is_active": thread.is_active,
            }
            for thread in self.threads
        ]
        return {"held_by": self.held_by, "asked_for": self.asked_for, "purpose": self.purpose, "threads": rows}


@dataclass(frozen=True)
class ProposedIndex:
    """The guard that would settle it, checked against the data of now. Nothing here ever builds it."""

    server_version: int
    keys: int  # that several active threads hold: each stands in its way
    ownerless_keys: int  # of those
    too_many: int  # threads that would have to end

    @property
    def sql(self) -> str:
        """What would build it: each provider and purpose gets a key of its own, and NULLs are equal."""
        text = "CREATE UNIQUE INDEX CONCURRENTLY {} ON {} ({}) NULLS NOT DISTINCT WHERE " + PREDICATE
        key = sql.SQL(", ").join(map(sql.Identifier, PROPOSED_KEY))
        return sql.SQL(text).format(sql.Identifier(PROPOSED_NAME), sql.Identifier(SCHEMA, TABLE), key).as_string()

    @property
    def buildable(self) -> bool:
        """Whether it could be built today."""
        return self.server_version >= NULLS_NOT_DISTINCT_SINCE and not self.keys

    def __str__(self) -> str:
        if self.server_version < NULLS_NOT_DISTINCT_SINCE:
            major = self.server_version // 10000
            return f"It cannot be built on PostgreSQL {major}: NULLS NOT DISTINCT came with 15."
        if self.buildable:
            return "It could be built today: no two active threads share a key of it."
        return (
            f"It cannot be built today. In its way: {plural(self.keys, 'key')} with several active threads each "
            f"({self.ownerless_keys:,} without an owner), {plural(self.too_many, 'thread')} too many."
        )

    def as_record(self) -> dict[str, Any]:
        """The proposal, and whether it could be built."""
        return {"sql": self.sql, "buildable": self.buildable, "told": str(self), **asdict(self)}


@dataclass(frozen=True)
class Residual:
    """What the fix leaves, of one snapshot; before the fix it is what it will leave."""

    conflicts: tuple[ProviderConflicts, ...]
    without_provider: int  # active threads that no client's lookup finds
    unguarded: int  # active threads without an owner; some may have no provider, either
    worked: WorkedFamily | None  # None where no family has a conflict to show
    proposal: ProposedIndex

    @property
    def residual_conflicts(self) -> int:
        """All of them: the count of the same word."""
        return sum(conflict.active_threads for conflict in self.conflicts)

    def as_record(self) -> dict[str, Any]:
        """All of it without ids. A provider is free text: whoever shares it looks for ids in it first."""
        return {
            "residual_conflicts": self.residual_conflicts,
            "by_provider": [asdict(conflict) for conflict in self.conflicts],
            "without_provider": self.without_provider,
            "unguarded_threads": self.unguarded,
            "worked": self.worked.as_record() if self.worked else None,
            "proposal": self.proposal.as_record(),
        }


def read_residual(connection: Connection) -> Residual:
    """Look at what the fix leaves, or will leave.

    Args:
        connection: as `environments.reading` yields it, so that all is of one snapshot.
    """
    row = fetch_one(connection, "analysis/proposed_index")
    left = {name: row.pop(name) for name in ("without_provider", "unguarded")}
    return Residual(
        conflicts=tuple(ProviderConflicts(**row) for row in fetch_all(connection, "analysis/provider_conflicts")),
        worked=_worked(connection),
        proposal=ProposedIndex(connection.info.server_version, **row),
        **left,
    )


def _worked(connection: Connection) -> WorkedFamily | None:
    for row in fetch_all(connection, "analysis/provider_conflict_family"):
        return WorkedFamily(**row, threads=tuple(explain_family(connection, row["root"], row["owner"])))
    return None
