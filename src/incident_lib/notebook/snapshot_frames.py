"""One snapshot of an environment as DataFrames."""

from __future__ import annotations

from collections import defaultdict
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

from incident_lib.model import (
    IndexState,
    blocked_table,
    blockers_table,
    checks_table,
    counts_table,
    indexes_table,
    plan_table,
    purposes_table,
    residual_table,
    threads_table,
)
from incident_lib.notebook.access import Revocable
from incident_lib.notebook.frames import SHOWN, to_frame

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from incident_lib.model import BlockedFamily, BlockerCount, Counts
    from incident_lib.notebook.access import Access
    from incident_lib.notebook.frames import Frame
    from incident_lib.notebook.snapshot import SnapshotData


class Snapshot(Revocable):
    """One snapshot of an environment: all of it was read in one REPEATABLE READ, READ ONLY transaction.

    Its tables are pandas DataFrames, with typed columns also where they have no row. Ids are pseudonyms, unless
    `redact` is off. Text has the dtype `str`, counts `Int64`, flags `boolean`, times `datetime64[us, UTC]`.
    """

    def __init__(self, data: SnapshotData, access: Access) -> None:
        self._data, self._access = data, access

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.startswith("_")]

    def __repr__(self) -> str:
        return repr(self._data)

    @property
    def environment(self) -> str:
        """The name of the environment."""
        return self._data.environment

    @property
    def at(self) -> datetime:
        """When the snapshot was taken, by the server's clock, in UTC."""
        return self._data.investigation.at

    @property
    def change(self) -> str:
        """The change that the preflight and the plan are about: `purpose` or `provider`."""
        return self._data.change.name

    @property
    def is_fixed(self) -> bool:
        """Whether the fixed index, or a finer one, is the only unique index that is enforced."""
        return self._data.investigation.catalog.state is IndexState.FIXED

    @property
    def has_provider(self) -> bool:
        """Whether the unique index has the provider in its key, and covers threads without an owner."""
        return self._data.has_provider

    @property
    def verdict(self) -> str:
        """The headline: what is rejected, whether the change has been applied, the next command."""
        return self._data.verdict

    @property
    def summary(self) -> str:
        """The preflight in a sentence: safe to apply now or not, for how long, what it waits for, the next command."""
        return self._data.checks.summary(self._data.environment)

    @property
    def totals(self) -> Counts:
        """The counts as attributes, such as `totals.blocked.chat`; None: not known, never 0."""
        return self._data.counts

    @property
    def indexes(self) -> Frame:
        """The unique indexes in the catalog, by definition and flags, one a row.

        Columns: index, kind, key, flags (str), enforced (boolean).
        """
        return to_frame(indexes_table(self._data.investigation.catalog))

    @property
    def counts(self) -> Frame:
        """The counts, one a row; <NA>: not known, since an enforced index cannot be read.

        Columns: count (str), number (Int64, families, threads or users), meaning (str).
        """
        return to_frame(counts_table(number=self._data.counts))

    @property
    def purposes(self) -> Frame:
        """The active threads by purpose, whatever the column holds.

        Columns: purpose (str), active_threads (Int64).
        """
        return to_frame(purposes_table(self._data.counts))

    @property
    def blocked(self) -> Frame:
        """The blocked families: one row for each family and each purpose that is blocked in it; at most 10,000.

        The first ten differ in what blocks them; then chat first, and those that have been blocked longest first.
        `Incident.families()` returns all of them, and selects.

        Columns: root, owner, blocked_for (str), since (datetime64[us, UTC]; NaT: unknown), blocking_thread,
        blocking_purpose, blocking_provider (str; missing: none).
        """
        return to_frame(blocked_table(different_first(self._data.blocked_head), self._data.names))

    @property
    def blockers(self) -> Frame:
        """What blocks the families: one row for each kind of blocking thread, those that block most families first.

        No row where an enforced index cannot be read.

        Columns: blocked_for, purpose, provider (str; missing: none), families (Int64).
        """
        return to_frame(blockers_table(self._data.blocked_by or []))

    @property
    def blocker_counts(self) -> list[BlockerCount]:
        """The same as `blockers`, as objects with attributes."""
        return self._data.blocked_by or []

    @property
    def residual(self) -> Frame:
        """The provider conflicts, which the fix does not change: one row for each provider that blocks another one.

        Columns: provider (str; missing: none), active_threads, families (Int64).
        """
        return to_frame(residual_table(self._data.residual))

    @property
    def preflight(self) -> Frame:
        """Every preflight check: `fail` forbids the fix, `warn` names what it would wait for, `info` is worth knowing.

        Columns: check, status, finding, action (str; missing: none needed).
        """
        return to_frame(checks_table(self._data.checks.checks))

    @property
    def plan(self) -> Frame:
        """The plan to the fixed index, one step a row; no row where nothing is left to do.

        Columns: step, sql, lock (the strongest), why (str).
        """
        return to_frame(plan_table(self._data.checks.plan))

    @property
    def example(self) -> Frame:
        """One family, thread by thread: the fix plan's own, whose ids are published, where it has threads here.

        Columns: those of `Incident.threads`.
        """
        return to_frame(threads_table(self._data.example_threads, self._data.names))


def different_first(families: Iterable[BlockedFamily], count: int = SHOWN) -> list[BlockedFamily]:
    """The same families in the same order, but first a few that differ: in turn one of each kind of blocking thread."""
    every = list(families)
    kinds: dict[tuple[str, str, str | None], list[BlockedFamily]] = defaultdict(list)
    for family in every:
        kind = kinds[family.blocked_for, family.blocking_purpose, family.blocking_provider]
        if len(kind) < count:
            kind.append(family)
    turns = chain.from_iterable(zip_longest(*kinds.values()))
    first = [family for family in turns if family is not None][:count]
    chosen = {id(family) for family in first}
    first.sort(key=lambda family: family.blocked_for)
    return first + [family for family in every if id(family) not in chosen]
