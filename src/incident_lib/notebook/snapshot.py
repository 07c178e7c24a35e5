"""One snapshot of an environment, as it is read and recorded: everything of one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from incident_lib.analysis import (
    PLAN_FAMILY,
    Investigation,
    explain_families,
    find_provider_conflict,
    investigate,
    list_blocked,
    read_residual,
    read_subject,
    summarize_blockers,
    write_blocked,
)
from incident_lib.database import reading
from incident_lib.migration import run_preflight
from incident_lib.model import (
    PURPOSE,
    BeforeAfter,
    ExampleFamily,
    ExampleThread,
    Indexes,
    IndexKind,
    format_minute,
    list_unknowns,
    provider_verdict,
    verdict_line,
)

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from incident_lib.database import Connection, Environment
    from incident_lib.migration import Preflight
    from incident_lib.model import (
        BlockedFamily,
        BlockedSince,
        BlockerCount,
        Counts,
        Family,
        IndexChange,
        Pseudonyms,
        ResidualConflicts,
        Thread,
    )

HEAD = 10_000  # blocked families that are kept in memory


@dataclass(frozen=True, kw_only=True, repr=False)
class SnapshotData:
    """One snapshot of an environment. All of it was read in one REPEATABLE READ, READ ONLY transaction.

    Attributes:
        blocked_head: the first blocked families: chat first, those that have been blocked longest first.
        example_family: the family of the worked example, and its threads.
        names: pseudonyms for what is displayed; None where `redact` is off.
    """

    environment: str
    investigation: Investigation
    checks: Preflight
    purpose_since: datetime | None
    blocked_head: tuple[BlockedFamily, ...]
    blocked_by: list[BlockerCount] | None
    blocked_since: BlockedSince | None
    residual: ResidualConflicts
    example_family: Family
    example_threads: tuple[Thread, ...]
    names: Pseudonyms | None

    def __repr__(self) -> str:
        return f"<Snapshot of {self.environment} at {format_minute(self.investigation.at)} UTC: {self.verdict}>"

    @property
    def change(self) -> IndexChange:
        """The change that `checks` are about."""
        return self.checks.plan.change

    @property
    def has_provider(self) -> bool:
        """Whether the unique index has the provider in its key, and covers threads without an owner."""
        return self.investigation.catalog.is_followed(IndexKind.FIXED)

    @property
    def counts(self) -> Counts:
        """The counts, as numbers."""
        return self.investigation.counts

    @property
    def verdict(self) -> str:
        """The headline: what is rejected, whether the change has been applied, the next command."""
        found = self.investigation
        if self.change != PURPOSE:
            return provider_verdict(self.environment, self.checks.catalog.state, found.counts, safe=self.checks.safe)
        return verdict_line(
            self.environment,
            found.catalog.state,
            found.counts,
            safe=self.checks.safe,
            hides_rows=found.access.hides_rows,
        )

    def unknown(self, *, logs_read: bool) -> list[str]:
        """What this snapshot does not show, a sentence each."""
        return list_unknowns(
            self.environment,
            self.counts,
            hides_rows=self.investigation.access.hides_rows,
            since_known=self.purpose_since is not None,
            logs_read=logs_read,
            has_provider=self.has_provider,
        )

    def as_record(self, moment: str, names: Pseudonyms) -> dict[str, Any]:
        """The fields of a run record that this snapshot fills.

        Args:
            moment: `before` or `after`.
            names: pseudonyms for the ids of the worked example.
        """
        found = self.investigation
        fields: dict[str, Any] = {
            "indexes": BeforeAfter(**{moment: Indexes.of(found.catalog)}),
            "counts": BeforeAfter(**{moment: found.counts}),
            "snapshot_at": BeforeAfter(**{moment: found.at}),
            "verdict": self.verdict,
            "server_version": found.access.server_version,
            "residual": self.residual,
            "example": ExampleFamily(
                root=names.name("root", self.example_family.root), owner=names.name("owner", self.example_family.owner)
            ),
            "example_threads": BeforeAfter(**{moment: [_named(thread, names) for thread in self.example_threads]}),
        }
        if moment == "before":
            fields |= {
                "preflight": list(self.checks.checks),
                "purpose_since": self.purpose_since,
                "blocked_by": self.blocked_by,
                "blocked_since": self.blocked_since,
            }
        return fields


def _named(thread: Thread, names: Pseudonyms) -> ExampleThread:
    return ExampleThread(
        thread=str(names.name("thread", thread.row_id)),
        created_at=format_minute(thread.created_at) if thread.created_at else None,
        purpose=thread.purpose,
        provider=thread.provider,
        is_active=thread.is_active,
        blocks=None if thread.blocks is None else list(thread.blocks),
        would_block=list(thread.would_block),
    )


def take_snapshot(
    environment: Environment,
    *,
    purpose_since: datetime | None = None,
    names: Pseudonyms | None = None,
    blocked_file: Path | None = None,
    example: Family | None = None,
    fixed_at: datetime | None = None,
    change: IndexChange = PURPOSE,
) -> SnapshotData:
    """Take one snapshot: every query runs once, all of them in one read-only transaction.

    Args:
        environment: which database.
        purpose_since: when the column purpose came.
        names: pseudonyms for what is displayed.
        blocked_file: a CSV file that gets every blocked family, as a stream: raw ids, mode 0600.
        example: the family of the worked example; by default the fix plan's own, or the one blocked longest.
        fixed_at: when the fix was applied; None: it was not, or that is unknown.
        change: that the preflight and the plan are about.

    Raises:
        Failed: the environment cannot be reached, the table is not as expected, or a query failed.
    """
    with reading(environment) as connection:
        found = investigate(connection)
        head = _blocked_head(connection, found, purpose_since, blocked_file)
        conflict = find_provider_conflict(connection, found.catalog)
        candidates = [example] if example else [PLAN_FAMILY, *(each.family for each in head[:1])]
        threads = explain_families(connection, found.catalog, [*candidates, *([conflict.family] if conflict else [])])
        chosen = next((family for family in candidates if threads[family]), candidates[0])
        subject = found if change == PURPOSE else read_subject(connection, change, environment.name)
        blocked_by, blocked_since = summarize_blockers(connection, found.catalog, purpose_since)
        return SnapshotData(
            environment=environment.name,
            investigation=found,
            checks=run_preflight(connection, environment, subject),
            purpose_since=purpose_since,
            blocked_head=tuple(head),
            blocked_by=blocked_by,
            blocked_since=blocked_since,
            residual=read_residual(
                connection,
                found.catalog,
                found.provider_conflicts,
                conflict.example(threads[conflict.family]) if conflict else None,
                since=fixed_at,
            ),
            example_family=chosen,
            example_threads=tuple(threads[chosen]),
            names=names,
        )


def _blocked_head(
    connection: Connection, found: Investigation, purpose_since: datetime | None, file: Path | None
) -> list[BlockedFamily]:
    if file:
        return write_blocked(connection, found.catalog, file, purpose_since=purpose_since, head=HEAD)
    return list_blocked(connection, found.catalog, purpose_since=purpose_since, limit=HEAD)
