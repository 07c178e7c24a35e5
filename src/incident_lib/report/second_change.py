"""The second chapter of an environment's story: the change `provider`, which follows the fix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from incident_lib.model import (
    Column,
    IndexKind,
    count_name,
    format_minute,
    make_table,
    plural,
)
from incident_lib.report import charts
from incident_lib.report.chapter import checks
from incident_lib.report.compare import number
from incident_lib.report.document import Bullets, Figure, Paragraph, Part
from incident_lib.report.recorded import SNAPSHOTS, Recorded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from incident_lib.model import Table
    from incident_lib.report.document import Block

COUNTS = ("residual_conflicts", "unguarded_threads", "families", "active_threads")


@dataclass(frozen=True)
class SecondChange(Recorded):
    """The change `provider` in one environment, as its runs recorded it."""

    @property
    def name(self) -> str:
        """The name of the change."""
        return self.record.change.name

    @property
    def is_applied(self) -> bool:
        """Whether the latest snapshot shows the index with the provider in its key, complete."""
        indexes = self.record.indexes.after or self.record.indexes.before
        kinds = {index.kind for index in indexes.definitions if index.flags == "valid"} if indexes else set()
        return IndexKind.FINER in kinds and not kinds & {IndexKind.FIXED, IndexKind.ORIGINAL}

    @property
    def conflicts(self) -> int | None:
        """How many threads block another provider in the latest snapshot; None: none was taken."""
        return self.latest.residual_conflicts if self.latest else None

    @property
    def since(self) -> str:
        """` since <time>`, where it is applied and the time is known; else empty."""
        at = self.record.incident_ended_at
        return f" since {format_minute(at)} UTC" if at and self.is_applied else ""

    @property
    def can_roll_back(self) -> bool | None:
        """Whether the index before the change could be restored as of the latest snapshot; None: it is not replaced."""
        return not self._shared if self.is_applied and self.latest else None

    @property
    def rollback(self) -> str:
        """The same in a sentence; empty where it was not replaced."""
        if self.can_roll_back is None:
            return ""
        if self._shared:
            keys = plural(self._shared, "key")
            return f"A rollback of {self.name} is not possible: several active threads share {keys} of the old index."
        return (
            f"A rollback of {self.name} is still possible: no two active threads share a key of the old index. "
            "The first family with two providers prevents it."
        )

    @property
    def _shared(self) -> int:
        """How many keys of the index before the change several active threads share."""
        return self.latest.duplicate_keys.get(IndexKind.FIXED, 0) if self.latest else 0

    @property
    def outcome(self) -> str:
        """Whether it is applied, since when, and the conflicts before and after, in a phrase."""
        if not self.is_applied:
            why = "not any more" if self.record.incident_ended_at else self.ended or "not complete"
            return f"{self.name}: not applied: {why}"
        before = self.before.residual_conflicts if self.before else None
        was = "" if before is None else f"; {plural(before, 'conflict')} before, {self.conflicts:,} now"
        return f"{self.name}: applied{self.since}{was}"

    @property
    def counts(self) -> Table:
        """The counts that the change is about, before and after."""
        rows = (
            (
                count_name(key),
                *(getattr(each, key) if each else self.ended or "–" for each in (self.before, self.after)),
            )
            for key in COUNTS
        )
        return make_table(("count", *map(number, SNAPSHOTS)), rows)

    def blocks(self, *, alone: bool) -> Iterator[Block]:
        """What was done, and how it was verified; the chart only where there is one environment."""
        if self.ended or not self.is_applied:
            yield Paragraph(self.status, "failed" if self.failed else "plain")
        if self.record.incident_ended_at and not self.is_applied:
            yield Paragraph("It was applied. The latest snapshot does not show it complete any more.", "failed")
        if alone:
            chart = charts.provider_conflicts(self.before, self.after, self.ended)
            yield Figure("provider", chart, self.counts)
        else:
            yield self.counts
        if self.since:
            yield Paragraph(f"The index before the change rejects no insert any more{self.since}.")
        if self.rollback:
            yield Paragraph(self.rollback)
        if self.indexes:
            columns = ("snapshot", Column("definition", code=True), "flags")
            rows = ((snapshot, definition, flags) for _, snapshot, _, definition, flags in self.indexes)
            yield Part("The unique index, before and after the change", (make_table(columns, rows),))
        if verification := checks(self.record.verification):
            yield Part("Verification of the change", (verification,))
        yield from self._results()
        if steps := self.steps:
            yield Part("Steps of the change", (steps,), folded=True)
        if preflight := checks(self.record.preflight):
            yield Part("Preflight of the change", (preflight,), folded=True)

    def _results(self) -> Iterator[Block]:
        """What was tried and compared after the steps."""
        lines = [f"Probe, rolled back: {probe}." for probe in self.record.probes]
        if self.record.integrity:
            lines.append(f"Threads before and after: {self.record.integrity}")
        if lines:
            yield Bullets(tuple(lines))
