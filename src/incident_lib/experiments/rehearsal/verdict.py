"""Whether the fix will work, judged by the results of a rehearsal and the environment's preflight. No connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from incident_lib.model import Check, IndexState, Status, change_command, plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from incident_lib.migration import Found
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
    """The results on the copy: whether it was applied, the checks, the clients, the rollback, what clients then may."""

    applied: bool
    checks: tuple[Check, ...]
    clients: ClientCounts
    rollback: RollbackOutcome
    freed: str = "chat"


def judge(name: str, found: Found, trial: TrialResult, preflight: Sequence[Check]) -> Conclusion:
    """Whether the fix will work.

    Args:
        name: of the environment.
        found: its indexes and counts.
        trial: what happened on the copy.
        preflight: the checks of the environment itself.
    """
    change = found.catalog.change
    act = change.wording.act
    stops = [check for check in preflight if check.status is Status.FAIL]
    here = [check for check in stops if check.name not in ELSEWHERE]
    failed = [*here, *(check for check in trial.checks if check.status is Status.FAIL), *_client_checks(trial, act)]
    if failed or not trial.applied:
        findings = "; ".join(f"{check.name}: {check.finding}" for check in failed)
        on_copy = "" if trial.applied else f" {act[0].upper()}{act[1:]} failed on the copy, too."
        return Conclusion(False, f"{findings}.{on_copy}", " ".join(dict.fromkeys(check.action for check in failed)))
    back = ", was rolled back, and was applied again" if trial.rollback.possible else ""
    copy = f"a copy of {plural(found.rows, change.wording.row)}"
    if found.catalog.state is IndexState.FIXED:
        why = f"{act[0].upper()}{act[1:]} has already been applied. On {copy} it worked while clients wrote{back}."
        return Conclusion(True, why, change_command("verify", name, change.name))
    why = f"On {copy} {act} was applied while clients wrote{back}."
    if elsewhere := [check for check in stops if check.name in ELSEWHERE]:
        where = " and ".join(dict.fromkeys(ELSEWHERE[check.name] for check in elsewhere))
        actions = " ".join(check.action for check in elsewhere)
        return Conclusion(
            True, f"{why} It has to be applied {where}: with this address and role it is refused.", actions
        )
    return Conclusion(True, why, change_command("apply", name, change.name))


def _client_checks(trial: TrialResult, act: str) -> list[Check]:
    """What clients must not get: a rejection of what the change allows, or an error that is no unique index's."""
    rejected = trial.clients.rejected_after.get(trial.freed, 0) if trial.applied else 0
    errors = ", ".join(sorted(trial.clients.errors))
    findings = {
        f"{plural(rejected, trial.freed)} rejected after {act}": bool(rejected),
        f"errors that no unique index causes ({errors})": bool(errors),
    }
    action = f"Rehearse again, and apply {act} only once this does not happen any more."
    return [Check("clients", Status.FAIL, finding, action) for finding, there in findings.items() if there]


def seconds_per_million(steps: Sequence[RehearsalStep], active_threads: int) -> float | None:
    """Seconds of the first build for each million rows of the index; None: too few, or no build."""
    builds = [step.seconds for step in steps if step.name in _BUILDS and step.outcome == "done"]
    return round(builds[0] / active_threads * 1e6, 3) if builds and active_threads >= MIN_THREADS else None
