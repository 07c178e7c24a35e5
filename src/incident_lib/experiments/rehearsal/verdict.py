"""Whether the fix will work, judged by the results of a rehearsal and the environment's preflight. No connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from incident_lib.model import Check, IndexState, Status, plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from incident_lib.analysis import Investigation
    from incident_lib.model import ClientCounts, RehearsalStep, RollbackOutcome

# Checks that only stop this role or this address: the rehearsal says by which role, or where, to apply the fix.
ELSEWHERE = {
    "table owner": "by the table's owner",
    "schema": "by a role that may create in the table's schema",
    "pooler": "without the transaction pooler",
    "primary": "on the primary",
}
MIN_THREADS = 100_000  # active ones: with fewer, a build's time says nothing about a million
_BUILDS = ("apply: build", "apply again: build")


class Conclusion(NamedTuple):
    """Whether the fix will work, why, and what to do next."""

    works: bool
    why: str
    next: str


@dataclass(frozen=True)
class TrialResult:
    """The results on the copy: whether the fix was applied, the checks after it, the clients, the rollback."""

    applied: bool
    checks: tuple[Check, ...]
    clients: ClientCounts
    rollback: RollbackOutcome


def judge(name: str, found: Investigation, trial: TrialResult, preflight: Sequence[Check]) -> Conclusion:
    """Whether the fix will work.

    Args:
        name: of the environment.
        found: its indexes and counts.
        trial: what happened on the copy.
        preflight: the checks of the environment itself.
    """
    stops = [check for check in preflight if check.status is Status.FAIL]
    here = [check for check in stops if check.name not in ELSEWHERE]
    failed = [*here, *(check for check in trial.checks if check.status is Status.FAIL), *_client_checks(trial)]
    if failed or not trial.applied:
        findings = "; ".join(f"{check.name}: {check.finding}" for check in failed)
        on_copy = "" if trial.applied else " The fix failed on the copy, too."
        return Conclusion(False, f"{findings}.{on_copy}", " ".join(dict.fromkeys(check.action for check in failed)))
    back = ", was rolled back, and was applied again" if trial.rollback.possible else ""
    copy = f"a copy of {plural(found.counts.active_threads, 'active thread')}"
    if found.catalog.state is IndexState.FIXED:
        why = f"The fix has already been applied. On {copy} it worked while clients wrote{back}."
        return Conclusion(True, why, f"incident verify --env {name}")
    why = f"On {copy} the fix was applied while clients wrote{back}."
    if elsewhere := [check for check in stops if check.name in ELSEWHERE]:
        where = " and ".join(dict.fromkeys(ELSEWHERE[check.name] for check in elsewhere))
        actions = " ".join(check.action for check in elsewhere)
        return Conclusion(
            True, f"{why} It has to be applied {where}: with this address and role it is refused.", actions
        )
    return Conclusion(True, why, f"incident apply --env {name} --confirm {name}")


def _client_checks(trial: TrialResult) -> list[Check]:
    """What clients must not get: a rejected chat after the fix, or an error that is no unique index's."""
    chats = trial.clients.rejected_after.get("chat", 0) if trial.applied else 0
    errors = ", ".join(sorted(trial.clients.errors))
    findings = {
        f"{plural(chats, 'chat')} rejected after the fix": bool(chats),
        f"errors that no unique index causes ({errors})": bool(errors),
    }
    action = "Rehearse again, and apply the fix only once this does not happen any more."
    return [Check("clients", Status.FAIL, finding, action) for finding, there in findings.items() if there]


def seconds_per_million(steps: Sequence[RehearsalStep], active_threads: int) -> float | None:
    """Seconds of the first build of the fixed index for each million active threads; None: too few, or no build."""
    builds = [step.seconds for step in steps if step.name in _BUILDS and step.outcome == "done"]
    return round(builds[0] / active_threads * 1e6, 3) if builds and active_threads >= MIN_THREADS else None
