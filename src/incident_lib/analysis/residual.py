"""What the fix does not change: provider conflicts, active threads that no index covers, an index that would help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from incident_lib.database import fetch_all, fetch_one
from incident_lib.model import (
    PREDICATE,
    PROVIDER,
    SCHEMA,
    TABLE,
    Family,
    IndexKind,
    ProposedIndex,
    ProviderConflicts,
    ProviderExample,
    ProviderThread,
    ResidualConflicts,
    format_minute,
    plural,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from incident_lib.database import Connection
    from incident_lib.model import Catalog, Thread

PROPOSED_NAME = "idx_q_threads_family_provider_unique"
NULLS_NOT_DISTINCT_SINCE = 150000


@dataclass(frozen=True)
class ProviderConflict:
    """A family with a provider conflict: which provider's thread has the key, and which provider needs it."""

    family: Family
    held_by: str | None
    asked_for: str
    purpose: str | None

    def example(self, threads: Sequence[Thread]) -> ProviderExample:
        """The family with its threads, and without its ids."""
        rows = [
            ProviderThread(
                created_at=format_minute(thread.created_at) if thread.created_at else None,
                purpose=thread.purpose,
                provider=thread.provider,
                is_active=thread.is_active,
            )
            for thread in threads
        ]
        return ProviderExample(held_by=self.held_by, asked_for=self.asked_for, purpose=self.purpose, threads=rows)


def find_provider_conflict(connection: Connection, catalog: Catalog) -> ProviderConflict | None:
    """The family that shows a provider conflict best; None where there is no such conflict."""
    if catalog.is_followed(IndexKind.FIXED):
        return None
    for row in fetch_all(connection, "analysis/provider_conflict_family"):
        return ProviderConflict(Family(row.pop("root"), row.pop("owner")), **row)
    return None


def count_provider_conflicts(connection: Connection, catalog: Catalog) -> tuple[ProviderConflicts, ...]:
    """Count the active threads that block another provider, per provider: the most threads first.

    There are none where the change `provider` is applied, whose index has the provider in its key.
    """
    if catalog.is_followed(IndexKind.FIXED):
        return ()
    usual = fetch_one(connection, "analysis/usual_provider")["provider"]
    rows = fetch_all(connection, "analysis/provider_conflicts", {"usual": usual})
    return tuple(ProviderConflicts(**row) for row in rows)


def read_residual(
    connection: Connection,
    catalog: Catalog,
    conflicts: Sequence[ProviderConflicts],
    example: ProviderExample | None = None,
    *,
    since: datetime | None = None,
) -> ResidualConflicts:
    """What the fix does not change; before the fix: what it will not change.

    Args:
        connection: as `database.reading` yields it, so that all is of one snapshot.
        catalog: the unique indexes, of the same snapshot.
        conflicts: see `count_provider_conflicts`; of the same snapshot.
        example: a family that shows it, of the same snapshot.
        since: when the fix was applied; None: it was not, or that is unknown.

    Returns:
        No ids. A provider is free text: sanitize it before it is shared.
    """
    row = fetch_one(connection, "analysis/proposed_index")
    created = fetch_one(connection, "analysis/created_conflicts", {"since": since}) if since else {"threads": None}
    return ResidualConflicts(
        residual_conflicts=sum(conflict.active_threads for conflict in conflicts),
        by_provider=list(conflicts),
        without_provider=row.pop("without_provider"),
        unguarded_threads=row.pop("unguarded"),
        example=example,
        proposal=propose_index(connection.info.server_version, row, is_applied=catalog.is_followed(IndexKind.FIXED)),
        created_since=created["threads"],
    )


def propose_index(server_version: int, keys: dict[str, Any], *, is_applied: bool = False) -> ProposedIndex:
    """The index that would end the provider conflicts, and whether today's data allows it.

    Args:
        server_version: of the environment.
        keys: keys, ownerless_keys, too_many; see `sql/proposed_index.sql`.
        is_applied: whether it is there: the change `provider` has built it.
    """
    buildable = not is_applied and server_version >= NULLS_NOT_DISTINCT_SINCE and not keys["keys"]
    return ProposedIndex(
        sql=_proposed_sql(),
        buildable=buildable,
        finding="It is there: the change provider has been applied." if is_applied else _finding(server_version, keys),
        server_version=server_version,
        **keys,
    )


def _proposed_sql() -> str:
    """Each provider and purpose gets a key of its own, and NULLs are equal."""
    text = "CREATE UNIQUE INDEX CONCURRENTLY {} ON {} ({}) NULLS NOT DISTINCT WHERE " + PREDICATE
    key = sql.SQL(", ").join(map(sql.Identifier, PROVIDER.after.parts))
    return sql.SQL(text).format(sql.Identifier(PROPOSED_NAME), sql.Identifier(SCHEMA, TABLE), key).as_string()


def _finding(server_version: int, keys: dict[str, Any]) -> str:
    if server_version < NULLS_NOT_DISTINCT_SINCE:
        return f"It cannot be built on PostgreSQL {server_version // 10000}: NULLS NOT DISTINCT came with 15."
    if not keys["keys"]:
        return "It could be built today: no two active threads share one of its keys."
    shared = plural(keys["keys"], "combination")
    return (
        f"It cannot be built today: {shared} of root prompt, user, provider and purpose "
        f"{'has' if keys['keys'] == 1 else 'have'} several active threads ({keys['ownerless_keys']:,} without a user). "
        f"All but one of each would have to be ended first: {plural(keys['too_many'], 'thread')}."
    )
