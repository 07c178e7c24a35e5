"""Which runs an environment's incident is made of: the last snapshot before the fix, the latest since, the others.

Each change of the index has a history of its own: a run of `provider` is no part of that of `purpose`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from incident_lib.model import PURPOSE, BeforeAfter, IndexState, RunRecord
from incident_lib.records.run_folder import RunFolder, status_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

FINISHED = frozenset({"succeeded", "dry-run", "refused", "failed"})


class Run(NamedTuple):
    """A run's folder and its record."""

    folder: Path
    record: RunRecord


@dataclass(frozen=True)
class History:
    """The runs of one environment, as one incident; or those of one later change of its index.

    Attributes:
        run: that applied the change; without one, the one with the latest snapshot. Its record has the last snapshot
            before the change and the latest since, whichever runs took them.
        earlier: the finished runs before it, the earliest first.
        later: the finished runs since: they looked again, applied again, or failed.
        is_fixed: whether the run applied the change.
        latest: the run whose snapshot is the one after the change; None: it was not applied, or there is none since.
        following: the runs of the change after this one, `provider`; None: there are none.
    """

    run: Run
    earlier: tuple[Run, ...] = ()
    later: tuple[Run, ...] = ()
    is_fixed: bool = False
    latest: Run | None = None
    following: History | None = None


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

    A run that has not finished counts only for a change that it recorded, or where there is no other run. A run of a
    later change tells of the incident only where there is no other, or where it found that the fix is gone.
    """
    looks = [_as_look(run) for run in runs]
    of_purpose = [run.record.change.name == PURPOSE.name for run in runs]
    own = [run for run, is_own in zip(runs, of_purpose, strict=True) if is_own]
    own += [look for look, is_own in zip(looks, of_purpose, strict=True) if not is_own and _has_lost_the_fix(look)]
    following = [run for run, is_own in zip(runs, of_purpose, strict=True) if not is_own]
    incident = _as_fixed_elsewhere(_history(own or looks))
    if not following:
        return incident
    others = [look for look, is_own in zip(looks, of_purpose, strict=True) if is_own]
    return replace(incident, following=_history(following, others))


def _as_look(run: Run) -> Run:
    """A run as one of another change sees it: what its snapshots show, and nothing that it did."""
    done: dict[str, Any] = dict.fromkeys(("incident_ended_at", "verified", "verification", "preflight", "recovery"))
    return Run(run.folder, msgspec.structs.replace(run.record, **done, steps=[], probes=[]))


def _has_lost_the_fix(look: Run) -> bool:
    """Whether its latest snapshot shows another state than the fixed index, or a finer one, alone."""
    indexes = _latest(look.record.indexes)
    return indexes is not None and indexes.state is not IndexState.FIXED


def _history(runs: Sequence[Run], others: Sequence[Run] = ()) -> History:
    """The history of the runs of one change.

    Args:
        runs: those of the change, at least one.
        others: looks of other changes, which may have the latest snapshot.
    """
    ordered = sorted(runs, key=_began)
    finished = [run for run in ordered if _counts(run)]
    with_snapshot = [run for run in finished if run.record.counts.before]
    fix = next((run for run in with_snapshot if run.record.incident_ended_at), None)
    chosen = fix or (with_snapshot or finished or ordered)[-1]
    place = ordered.index(chosen)
    earlier = tuple(run for run in ordered[:place] if run in finished)
    later = tuple(run for run in ordered[place + 1 :] if run in finished)
    shown = _with_attempts(chosen.record, [*earlier, chosen, *later])
    if fix is None:
        return History(Run(chosen.folder, shown), earlier, later)
    since = [*later, *(run for run in others if _began(run) > _began(fix) and _counts(run))]
    latest = next((run for run in sorted(since, key=_began, reverse=True) if run.record.counts.before), None)
    if latest:
        return History(
            Run(fix.folder, _with_latest(shown, latest.record)), earlier, later, is_fixed=True, latest=latest
        )
    own = fix if fix.record.counts.after else None
    return History(Run(fix.folder, shown), earlier, later, is_fixed=True, latest=own)


def _as_fixed_elsewhere(incident: History) -> History:
    """The history where no run applied the fix, and the latest snapshot shows it all the same.

    That snapshot is the one after the fix. The one before it is the latest that shows another state; without one,
    nothing is known of the time before.
    """
    record = incident.run.record
    if incident.is_fixed or not _shows_the_fix(record):
        return incident
    before = next((run.record for run in reversed(incident.earlier) if _shows_the_incident(run.record)), None)
    halves: dict[str, Any] = {}
    for name in ("counts", "indexes", "snapshot_at", "example_threads"):
        was = getattr(before, name) if before else BeforeAfter()
        halves[name] = _with_after(BeforeAfter(before=_latest(was)), getattr(record, name))
    if before and before.example != record.example:
        halves["example_threads"] = record.example_threads
    since = {name: getattr(before, name) if before else None for name in ("blocked_by", "blocked_since")}
    return replace(incident, run=Run(incident.run.folder, msgspec.structs.replace(record, **halves, **since)))


def _latest(halves: BeforeAfter[Any]) -> Any:
    return halves.before if halves.after is None else halves.after


def _shows_the_fix(record: RunRecord) -> bool:
    indexes = record.indexes.before
    return indexes is not None and indexes.state is IndexState.FIXED


def _shows_the_incident(record: RunRecord) -> bool:
    indexes = _latest(record.indexes)
    return indexes is not None and indexes.state is not IndexState.FIXED and record.counts.before is not None


def _began(run: Run) -> tuple[datetime, str]:
    return run.record.started_at, run.folder.name


def _counts(run: Run) -> bool:
    """Whether it has finished, or recorded a change before it was stopped."""
    return status_of(run.record) in FINISHED or run.record.incident_ended_at is not None


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
    return fix.merge(BeforeAfter(after=_latest(latest)))
