"""One environment's part of the postmortem: the results of its run, as sentences, numbers and tables."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from incident_lib.model import (
    Column,
    IndexState,
    PerPurpose,
    count_name,
    counts_table,
    make_table,
    rollback_sentence,
)
from incident_lib.report import charts
from incident_lib.report.history_chart import Line
from incident_lib.report.recorded import NOTHING_SEEN, Recorded, hides_rows

if TYPE_CHECKING:
    from incident_lib.model import (
        BeforeAfter,
        Check,
        Counts,
        ExampleThread,
        Indexes,
        RehearsalReport,
        ScanFindings,
        Table,
    )
    from incident_lib.report.second_change import SecondChange

EXAMPLE = (
    Column("thread"),
    Column("created_at", "created (UTC)"),
    Column("purpose"),
    Column("provider", missing="none"),
    Column("active"),
    Column("blocks_before", "rejects before"),
    Column("blocks_after", "rejects after"),
)


@dataclass(frozen=True)
class Chapter(Recorded):
    """One environment's part of the postmortem: its incident as its runs recorded it.

    Attributes:
        rehearsal: of the environment.
        following: the change after the fix, `provider`, as its runs recorded it; None: no run was about it.
    """

    rehearsal: RehearsalReport | None = None
    following: SecondChange | None = None

    @property
    def scan(self) -> ScanFindings | None:
        """The latest scan of the environment; None: there was none."""
        found = [*self.runs, *(self.following.runs if self.following else [])]
        ordered = sorted((record for _, record, _ in found), key=lambda record: record.started_at)
        return next((record.scan for record in reversed(ordered) if record.scan), None)

    @property
    def verdict(self) -> str:
        """The verdict line of the latest snapshot."""
        return self.record.verdict or NOTHING_SEEN

    @property
    def before(self) -> Counts | None:
        """The counts before; where row level security hides rows, a number of blocked families that is 0 is unknown."""
        return self._seen(self.record.counts.before, self.record.indexes.before)

    @property
    def after(self) -> Counts | None:
        """The counts after, in the same way; None where nothing was applied."""
        return self._seen(self.record.counts.after, self.record.indexes.after)

    def _seen(self, counts: Counts | None, indexes: Indexes | None) -> Counts | None:
        fixed = indexes is not None and indexes.state is IndexState.FIXED  # then no family is blocked by a purpose
        if not counts or not self.hides_rows or fixed:
            return counts
        seen = PerPurpose(chat=counts.blocked.chat or None, run=counts.blocked.run or None)
        return msgspec.structs.replace(counts, blocked=seen)

    @property
    def hides_rows(self) -> bool:
        """Whether row level security hid rows from the role of the snapshots: each count may be too low."""
        return hides_rows(self.record)

    @property
    def is_undone(self) -> bool:
        """Whether the fix was applied, and the latest snapshot shows another state than the fixed index alone."""
        after = self.record.indexes.after
        return bool(self.record.incident_ended_at and after and after.state is not IndexState.FIXED)

    @property
    def is_fixed(self) -> bool:
        """Whether the latest snapshot shows the fixed index, and no family that is blocked for chat."""
        indexes = self.record.indexes.after or self.record.indexes.before
        fixed = indexes is not None and indexes.state is IndexState.FIXED
        return fixed and self.latest is not None and self.latest.blocked.chat == 0

    @property
    def rollback(self) -> str:
        """Whether the fix could be rolled back as of the latest snapshot; empty where it was not applied."""
        if self.is_fixed and self.can_roll_back is None:
            return "Whether a rollback is possible is unknown: row level security hides rows."
        sentence = rollback_sentence(self.latest) if self.is_fixed and self.latest else ""
        first = "The change provider would be rolled back first."
        return f"{sentence} {first}" if self.can_roll_back and self.has_provider else sentence

    @property
    def has_provider(self) -> bool:
        """Whether the change `provider` has been applied since the fix, as of the latest snapshot."""
        return self.following is not None and self.following.is_applied

    @property
    def now(self) -> Counts | None:
        """The counts of the latest snapshot, of whichever change."""
        return self.following.latest if self.following and self.has_provider else self.latest

    @property
    def can_roll_back(self) -> bool | None:
        """Whether the original index could be restored as of the latest snapshot; None: not replaced, or unknown."""
        if not self.is_fixed or not self.latest or (self.hides_rows and not self.latest.coexisting_families):
            return None
        return self.latest.coexisting_families == 0

    @property
    def conflicts(self) -> tuple[int | None, int | None]:
        """The provider conflicts before and after, of the second change where a run was about it; None: not counted."""
        told = self.following or self
        before, after = (counts.residual_conflicts if counts else None for counts in (told.before, told.after))
        return before, after

    @property
    def conflict_change(self) -> str:
        """Why the fix did not leave as many provider conflicts as there were, in a sentence; empty where it did."""
        if not self.before or not self.after or self.before.residual_conflicts == self.after.residual_conflicts:
            return ""
        before, after = self.before.residual_conflicts, self.after.residual_conflicts
        created = self.record.residual.created_since if self.record.residual else None
        was = f"{before:,} before the fix, {after:,} after it"
        if created is None:
            return (
                f"{was}: a thread that is created in a family of two providers is one more, one that is ended one less."
            )
        ended = before + created - after
        less = f", and {ended:,} older ones are ended" if ended > 0 else ""
        more = f", and {-ended:,} older ones are in families that have got a second provider" if ended < 0 else ""
        return f"{was}: {created:,} are threads created since then, in families of two providers{less}{more}."

    @property
    def compared(self) -> charts.Compared:
        """The environment as one among others."""
        return charts.Compared(self.environment, self.ended, self.before, self.after)

    @cached_property
    def line(self) -> Line | None:
        """The families blocked for chat over time; None where it is unknown since when they are."""
        points = self.record.blocked_since.chat if self.record.blocked_since else []
        ended, snapshot_at = self.record.incident_ended_at, self.record.snapshot_at.before
        if not points or not snapshot_at:
            return None
        after = self.after.blocked.chat if self.after and ended else None
        total = (self.before.blocked.chat if self.before else None) or points[-1][1]
        until = ended if ended and after is not None else snapshot_at
        return Line(self.environment, tuple(points), until, after, total)

    @property
    def counts(self) -> Table:
        """Every count by its name, before, after, and its meaning."""
        made = counts_table(before=self.before, after=self.after)
        snapshots = (self.before, self.after)
        purposes = sorted({purpose for counts in snapshots if counts for purpose in counts.active_by_purpose})
        rows = [
            *made.rows,
            *(
                (
                    f"active {purpose}",
                    *(counts.active_by_purpose.get(purpose, 0) if counts else None for counts in snapshots),
                    "active threads of that purpose",
                )
                for purpose in purposes
            ),
        ]
        return replace(
            made,
            rows=tuple(
                (name, self._cell(before, self.before), self._cell(after, self.after), self._meaning(name, meaning))
                for name, before, after, meaning in rows
            ),
        )

    def _meaning(self, name: str, meaning: str) -> str:
        """What a count counts; where provider conflicts changed, also why."""
        why = self.conflict_change if name == count_name("residual_conflicts") else ""
        return f"{meaning}. {why}" if why else meaning

    def _cell(self, number: int | None, counts: Counts | None) -> int | str | None:
        """A number of a snapshot; where there was none, unknown before, and how the run ended after.

        Where rows are hidden, a 0 is unknown.
        """
        if not counts:
            return "unknown" if self.after else self.ended or "–"
        return number or None if self.hides_rows and not self.is_fixed else number

    def number(self, snapshot: str, purpose: str) -> int | str | None:
        """How many families were blocked for a purpose, before or after; how the run ended where none were counted."""
        counts: Counts | None = getattr(self.record.counts, snapshot)
        return self._cell(getattr(counts.blocked, purpose) if counts else None, counts)

    def state(self, snapshot: str) -> str:
        """The state of the unique indexes before or after; how the run ended where they were not read."""
        indexes = getattr(self.record.indexes, snapshot)
        unseen = "unknown" if self.after else self.ended or "not read"
        return str(indexes.state) if indexes else unseen

    @property
    def example(self) -> Table | None:
        """The threads of the worked example: what each blocks before and after; None where they were not read."""
        threads: BeforeAfter[list[ExampleThread]] = self.record.example_threads
        before, after = ({thread.thread: thread for thread in found or []} for found in (threads.before, threads.after))
        unseen = self.ended or "not read"
        rows = [
            (
                *_thread(thread),
                _blocks(before.get(name)) if before else "unknown",
                _blocks(after.get(name)) if after else unseen,
            )
            for name, thread in (before | after).items()
        ]
        return make_table(EXAMPLE, rows) if rows else None

    @property
    def results(self) -> list[str]:
        """The results of what was tried and compared after the steps, a sentence each."""
        record = self.record
        verified = [check.finding for check in record.verification or ()]
        lines = [f"Probe, rolled back, {probe}." for probe in record.probes if not _is_told(probe, verified)]
        if record.retries:
            lines.append(f"The demo's clients: {record.retries}")
        if record.integrity:
            lines.append(f"Threads, over the steps alone: {record.integrity}")
        return lines

    @property
    def unknown(self) -> list[str]:
        """What the latest snapshot does not show, a sentence each."""
        record = self.following.record if self.following and self.has_provider else self.record
        return [f"Everything. {NOTHING_SEEN}"] if record.unknown is None else record.unknown


def checks(found: list[Check] | None) -> Table | None:
    """The checks of a preflight or of a verification, an action after its finding; None where there were none."""
    rows = ((c.name, str(c.status), f"{c.finding}. Action: {c.action}" if c.action else c.finding) for c in found or ())
    return make_table(("check", "status", "finding"), rows) if found else None


def _thread(thread: ExampleThread) -> tuple[Any, ...]:
    return (thread.thread, thread.created_at, thread.purpose, thread.provider, thread.is_active)


def _blocks(thread: ExampleThread | None) -> list[str] | str | None:
    """The purposes that PostgreSQL rejects because of a thread."""
    return "not there" if thread is None else thread.blocks


def _is_told(probe: str, verified: list[str]) -> bool:
    """Whether the result of a probe, which is behind its time, is in a check's finding."""
    result = probe.partition(": ")[2]
    return bool(result) and any(result in finding for finding in verified)
