"""Rehearse the fix on a copy of what an environment's unique indexes see, and say whether it will work there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from incident_lib.analysis import Investigation
from incident_lib.database import read_access, read_catalog, reading
from incident_lib.experiments.rehearsal.copy import copy_threads, fill_indexes
from incident_lib.experiments.rehearsal.results import Rehearsal, RehearsalVerdict, RollbackVerdict
from incident_lib.experiments.rehearsal.stage import Stage
from incident_lib.experiments.rehearsal.traffic import client_results, clients_running
from incident_lib.experiments.scratch import nearest_version, scratch_database
from incident_lib.migration import Progress, plan_change, run_preflight
from incident_lib.model import Check, Failed, IncidentError, IndexKind, IndexState, Status, plan_command, plural
from incident_lib.records import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable

    from incident_lib.database import Environment, TableAccess
    from incident_lib.experiments.rehearsal.copy import CopySize
    from incident_lib.experiments.rehearsal.results import ClientResults
    from incident_lib.migration import Preflight
    from incident_lib.model import Catalog

SECONDS = 1800.0  # that the copy may take
CLIENT_FAMILIES = 100
# What stops this role or this address alone: the rehearsal says who or where instead.
ELSEWHERE = {
    "table owner": "by the table's owner",
    "schema": "by a role that may create in the table's schema",
    "pooler": "past the transaction pooler",
    "primary": "on the primary",
}


@dataclass(frozen=True)
class TrialResult:
    """What came out on the copy: whether the fix went in, what was checked, what clients met, the way back."""

    applied: bool
    checks: tuple[Check, ...]
    clients: ClientResults
    rollback: RollbackVerdict


def rehearse(
    environment: Environment, *, seconds: float = SECONDS, listener: Callable[[Progress], None] = lambda _: None
) -> Rehearsal:
    """Copy what the unique indexes see, apply the fix there under clients' writes, verify, roll back, apply again.

    The environment is only read: once for the copy, in one snapshot, and once for what would hold the fix up.
    What the copy counts is what the environment would count, for the unique indexes see the same there.

    Args:
        environment: which database; any role that reads every row of the table will do.
        seconds: how long the copy may take there (statement_timeout; 0: no limit).
        listener: is told how far it is, from several threads.

    Raises:
        Failed: the environment cannot be read, policies hide rows of it, or the embedded server fails.
    """
    version = _readable(environment)
    with scratch_database("rehearsal", nearest_version(version)) as copy:
        stage = Stage(copy, listener)
        rights, catalog, copied = _copy(environment, stage, seconds)
        with stage.timed("guards"):
            lacking = fill_indexes(copy, catalog)
        found = Investigation(datetime.now(UTC), rights, catalog, stage.count(catalog))
        with reading(environment) as connection:
            checks = run_preflight(connection, environment, found)
        tried = _try(stage, found, environment.name)
        rehearsal_version = stage.server_version()
    return Rehearsal(
        environment=environment.name,
        rehearsed_at=utc_now(),
        server_version=version,
        rehearsal_version=rehearsal_version,
        threads=copied.threads,
        active_threads=found.counts.active_threads,
        bytes=copied.bytes,
        verdict=judge(environment.name, found, tried, checks),
        steps=tuple(stage.taken),
        clients=tried.clients,
        rollback=tried.rollback,
        waits=tuple(check for check in checks.checks if check.status in (Status.WARN, Status.FAIL)),
        not_reproduced=lacking,
    )


def _readable(environment: Environment) -> int:
    """The version of an environment's server, once it is sure that every row can be copied from there."""
    with reading(environment) as connection:
        rights = read_access(connection)
    if rights.hides_rows:
        raise Failed(
            f"{environment.name!r} cannot be rehearsed.",
            "Policies hide rows from this role: the copy would lack them.",
            "Use a role with BYPASSRLS, or the owner where RLS is not forced.",
        )
    return rights.server_version


def _copy(environment: Environment, stage: Stage, seconds: float) -> tuple[TableAccess, Catalog, CopySize]:
    """Look at the unique indexes and copy, in one snapshot; to count is left to the copy, for which nobody waits."""

    def told(threads: int) -> None:
        stage.listener(Progress("copy", f"{threads:,} threads"))

    with stage.timed("copy"), reading(environment, seconds=seconds) as source:
        rights, catalog = read_access(source), read_catalog(source)
        return rights, catalog, copy_threads(source, environment.name, stage.copy, catalog, told)


def _try(stage: Stage, found: Investigation, name: str) -> TrialResult:
    """Apply while clients write, verify and probe; then there and back again, where the data allows it."""
    families = stage.families(CLIENT_FAMILIES)
    with clients_running(stage.copy, families) as clients:
        applied = _applies(stage, found)
    checks: tuple[Check, ...] = ()
    rollback = RollbackVerdict(None, "Not tried: the fix did not go in.")
    if applied:
        checks = (*stage.verify(IndexKind.FIXED), *stage.probe(families))
        rollback, more = _roll_back(stage, found, name)
        checks += more
        stage.migrate("apply again", IndexKind.FIXED)
        checks += stage.verify(IndexKind.FIXED)
    return TrialResult(applied, checks, client_results(clients), rollback)


def _applies(stage: Stage, found: Investigation) -> bool:
    """Whether the fix went in; False where the environment's data or catalog stand against it."""
    try:
        stage.migrate("apply", IndexKind.FIXED)
    except IncidentError:
        if found.counts.duplicate_keys[IndexKind.FIXED] or plan_change(found.catalog).refusal:
            return False
        raise
    return True


def _roll_back(stage: Stage, found: Investigation, name: str) -> tuple[RollbackVerdict, tuple[Check, ...]]:
    """Roll back, unless the original index could not hold the data."""
    if families := found.counts.duplicate_keys[IndexKind.ORIGINAL]:
        several = "1 family holds" if families == 1 else f"{families:,} families hold"
        return RollbackVerdict(
            False,
            f"{several} more than one active thread, which the original index cannot; "
            f"`{plan_command(IndexKind.ORIGINAL, name)}` shows them, and prints SQL that would make room.",
        ), ()
    stage.migrate("rollback", IndexKind.ORIGINAL)
    return RollbackVerdict(
        True, "No family holds more than one active thread; the first chat beside a run ends that."
    ), stage.verify(IndexKind.ORIGINAL)


def judge(name: str, found: Investigation, tried: TrialResult, checks: Preflight) -> RehearsalVerdict:
    """Whether it will work, from what the copy showed and what the preflight saw in the environment itself."""
    stops = [check for check in checks.stops if check.name not in ELSEWHERE]
    wrong = [*stops, *(check for check in tried.checks if check.status is Status.FAIL), *_met_wrong(tried)]
    if wrong or not tried.applied:
        seen = "; ".join(f"{check.name}: {check.finding}" for check in wrong)
        failed = "" if tried.applied else " On the copy it failed, too."
        return RehearsalVerdict(False, f"{seen}.{failed}", " ".join(dict.fromkeys(check.action for check in wrong)))
    back = ", was rolled back, and went in again" if tried.rollback.possible else ""
    copy = f"on a copy of {plural(found.counts.active_threads, 'active thread')}"
    if found.catalog.state is IndexState.FIXED:
        why = f"The fix is in already; {copy} it held under writes{back}."
        return RehearsalVerdict(True, why, f"incident verify --env {name}")
    why = f"O{copy[1:]} the fix went in under writes{back}."
    if elsewhere := [check for check in checks.stops if check.name in ELSEWHERE]:
        where = " and ".join(dict.fromkeys(ELSEWHERE[check.name] for check in elsewhere))
        cures = " ".join(check.action for check in elsewhere)
        return RehearsalVerdict(True, f"{why} It has to be applied {where}: from here it is refused.", cures)
    return RehearsalVerdict(True, why, f"incident apply --env {name} --confirm {name}")


def _met_wrong(tried: TrialResult) -> list[Check]:
    """What clients must not meet: a chat rejected once the fix is in, or an answer that is no unique index's."""
    chats = tried.clients.rejected_after.get("chat", 0) if tried.applied else 0
    states = ", ".join(sorted(tried.clients.errors))
    cure = "Rehearse again, and apply only once that is gone."
    seen = {
        f"{plural(chats, 'chat')} rejected after the fix": chats,
        f"errors that no unique index gives ({states})": states,
    }
    return [Check("clients", Status.FAIL, what, cure) for what, there in seen.items() if there]
