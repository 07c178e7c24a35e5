"""Which runs an environment's incident is made of: the last snapshot before the fix, the latest since, the others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from incident_lib.model import BeforeAfter, RunRecord
from incident_lib.records.run_folder import RunFolder, status_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FINISHED = frozenset({"succeeded", "dry-run", "refused", "failed"})


class Run(NamedTuple):
    """A run's folder and its record."""

    folder: Path
    record: RunRecord


@dataclass(frozen=True)
class History:
    """The runs of one environment, as one incident.

    Attributes:
        run: that applied the fix; without a fix, the one with the latest snapshot. Its record has the last snapshot
            before the fix and the latest since, whichever runs took them.
        earlier: the finished runs before it, the earliest first.
        later: the finished runs since: they looked again, applied again, or failed.
        is_fixed: whether the run applied the fix.
        latest: the run whose snapshot is the one after the fix; None: there is no fix, or none since.
    """

    run: Run
    earlier: tuple[Run, ...] = ()
    later: tuple[Run, ...] = ()
    is_fixed: bool = False
    latest: Run | None = None


def read_histories(folders: Iterable[Path]) -> list[History]:
    """The history of each environment that these runs are of, in the order of the folders.

    Raises:
        UsageError: a folder holds no run record.
    """
    runs: dict[str, list[Run]] = {}
    for folder in folders:
        record = RunFolder(folder).read()
        runs.setdefault(record.environment, []).append(Run(folder, record))
    return [make_history(found) for found in runs.values()]


def make_history(runs: Sequence[Run]) -> History:
    """The history of one environment's runs, of which there is at least one.

    A run that has not finished counts only for a fix that it recorded, or where there is no other run.
    """
    ordered = sorted(runs, key=lambda run: (run.record.started_at, run.folder.name))
    finished = [run for run in ordered if status_of(run.record) in FINISHED or run.record.incident_ended_at]
    with_snapshot = [run for run in finished if run.record.counts.before]
    fix = next((run for run in with_snapshot if run.record.incident_ended_at), None)
    chosen = fix or (with_snapshot or finished or ordered)[-1]
    place = ordered.index(chosen)
    earlier = tuple(run for run in ordered[:place] if run in finished)
    later = tuple(run for run in ordered[place + 1 :] if run in finished)
    shown = _with_attempts(chosen.record, [*earlier, chosen, *later])
    if fix is None:
        return History(Run(chosen.folder, shown), earlier, later)
    latest = next((run for run in reversed(later) if run.record.counts.before), None)
    if latest:
        return History(
            Run(fix.folder, _with_latest(shown, latest.record)), earlier, later, is_fixed=True, latest=latest
        )
    own = fix if fix.record.counts.after else None
    return History(Run(fix.folder, shown), earlier, later, is_fixed=True, latest=own)


def _with_attempts(record: RunRecord, runs: Iterable[Run]) -> RunRecord:
    """The record, with the rejected inserts of the latest run that read a log, and the logs that it did not read."""
    logged = [run.record for run in runs if run.record.rejected_inserts or run.record.unread_logs]
    read = [other for other in logged if other.rejected_inserts]
    if not logged:
        return record
    best = (read or logged)[-1]
    return msgspec.structs.replace(record, rejected_inserts=best.rejected_inserts, unread_logs=best.unread_logs)


def _with_latest(fix: RunRecord, latest: RunRecord) -> RunRecord:
    """The record of the fix, with the latest snapshot of a later run in place of its own snapshot after."""
    halves: dict[str, Any] = {
        name: _with_after(getattr(fix, name), getattr(latest, name)) for name in ("counts", "indexes", "snapshot_at")
    }
    if latest.example == fix.example:  # pseudonyms of runs with different keys do not match
        halves["example_threads"] = _with_after(fix.example_threads, latest.example_threads)
    return msgspec.structs.replace(
        fix,
        **halves,
        verdict=latest.verdict,
        residual=latest.residual or fix.residual,
        unknown=fix.unknown if latest.unknown is None else latest.unknown,
        recovery=latest.recovery or fix.recovery,
        verified=fix.verified if latest.verified is None else latest.verified,
    )


def _with_after(fix: BeforeAfter[Any], latest: BeforeAfter[Any]) -> BeforeAfter[Any]:
    return fix.merge(BeforeAfter(after=latest.before if latest.after is None else latest.after))
