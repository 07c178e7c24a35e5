"""Rehearse the fix on a copy of what an environment's guards see, and say whether it will work there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from incident_lib import environments, guards, record, scratch
from incident_lib.catalog import GuardState, Kind
from incident_lib.errors import Failed, IncidentError
from incident_lib.investigate import Investigation
from incident_lib.model import Answer, Check
from incident_lib.plan import plan
from incident_lib.preflight import preflight
from incident_lib.rehearsal import traffic
from incident_lib.rehearsal.copying import copy_threads, wake_guards
from incident_lib.rehearsal.stage import Stage
from incident_lib.rehearsal.told import Rehearsal, Rollback, Verdict
from incident_lib.watch import Progress
from incident_lib.words import plan_command, plural

if TYPE_CHECKING:
    from collections.abc import Callable

    from incident_lib.catalog import Catalog
    from incident_lib.environments import Environment
    from incident_lib.guards import Rights
    from incident_lib.preflight import Preflight
    from incident_lib.rehearsal.copying import Copied
    from incident_lib.rehearsal.told import Clients

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
class Tried:
    """What came out on the copy: whether the fix went in, what was checked, what clients met, the way back."""

    applied: bool
    checks: tuple[Check, ...]
    clients: Clients
    rollback: Rollback


def rehearse(
    environment: Environment, *, seconds: float = SECONDS, listener: Callable[[Progress], None] = lambda _: None
) -> Rehearsal:
    """Copy what the guards see, apply the fix there under clients' writes, verify, roll back, apply again.

    The environment is only read: once for the copy, in one snapshot, and once for what would hold the fix up.
    What the copy counts is what the environment would count, for the guards see the same there.

    Args:
        environment: which database; any role that reads every row of the table will do.
        seconds: how long the copy may take there (statement_timeout; 0: no limit).
        listener: is told how far it is, from several threads.

    Raises:
        Failed: the environment cannot be read, policies hide rows of it, or the embedded server fails.
    """
    version = _readable(environment)
    with scratch.database("rehearsal", scratch.nearest(version)) as copy:
        stage = Stage(copy, listener)
        rights, catalog, copied = _copy(environment, stage, seconds)
        with stage.timed("guards"):
            lacking = wake_guards(copy, catalog)
        found = Investigation(datetime.now(UTC), rights, catalog, stage.count(catalog))
        with environments.reading(environment) as connection:
            checks = preflight(connection, environment, found)
        tried = _try(stage, found, environment.name)
        rehearsal_version = stage.server_version()
    return Rehearsal(
        environment=environment.name,
        rehearsed_at=record.now(),
        server_version=version,
        rehearsal_version=rehearsal_version,
        threads=copied.threads,
        active_threads=found.counts.active_threads,
        bytes=copied.bytes,
        verdict=judge(environment.name, found, tried, checks),
        steps=tuple(stage.taken),
        clients=tried.clients,
        rollback=tried.rollback,
        waits=tuple(check for check in checks.checks if check.answer in (Answer.WAIT, Answer.STOP)),
        not_reproduced=lacking,
    )


def _readable(environment: Environment) -> int:
    """The version of an environment's server, once it is sure that every row can be copied from there."""
    with environments.reading(environment) as connection:
        rights = guards.rights(connection)
    if rights.hides_rows:
        raise Failed(
            f"{environment.name!r} cannot be rehearsed.",
            "Policies hide rows from this role: the copy would lack them.",
            "Use a role with BYPASSRLS, or the owner where RLS is not forced.",
        )
    return rights.server_version


def _copy(environment: Environment, stage: Stage, seconds: float) -> tuple[Rights, Catalog, Copied]:
    """Look at the guards and copy, in one snapshot; to count is left to the copy, for which nobody waits."""

    def told(threads: int) -> None:
        stage.listener(Progress("copy", f"{threads:,} threads"))

    with stage.timed("copy"), environments.reading(environment, seconds=seconds) as source:
        rights, catalog = guards.rights(source), guards.read(source)
        return rights, catalog, copy_threads(source, environment.name, stage.copy, catalog, told)


def _try(stage: Stage, found: Investigation, name: str) -> Tried:
    """Apply while clients write, verify and probe; then there and back again, where the data allows it."""
    families = stage.families(CLIENT_FAMILIES)
    with traffic.running(stage.copy, families) as clients:
        applied = _applies(stage, found)
    checks: tuple[Check, ...] = ()
    rollback = Rollback(None, "Not tried: the fix did not go in.")
    if applied:
        checks = (*stage.verify(Kind.FIXED), *stage.probe(families))
        rollback, more = _roll_back(stage, found, name)
        checks += more
        stage.migrate("apply again", Kind.FIXED)
        checks += stage.verify(Kind.FIXED)
    return Tried(applied, checks, traffic.met(clients), rollback)


def _applies(stage: Stage, found: Investigation) -> bool:
    """Whether the fix went in; False where the environment's data or catalog stand against it."""
    try:
        stage.migrate("apply", Kind.FIXED)
    except IncidentError:
        if found.counts.duplicate_keys[Kind.FIXED] or plan(found.catalog).refusal:
            return False
        raise
    return True


def _roll_back(stage: Stage, found: Investigation, name: str) -> tuple[Rollback, tuple[Check, ...]]:
    """Roll back, unless the original guard could not hold the data."""
    if families := found.counts.duplicate_keys[Kind.ORIGINAL]:
        several = "1 family holds" if families == 1 else f"{families:,} families hold"
        return Rollback(
            False,
            f"{several} more than one active thread, which the original guard cannot; "
            f"`{plan_command(Kind.ORIGINAL, name)}` shows them, and prints SQL that would make room.",
        ), ()
    stage.migrate("rollback", Kind.ORIGINAL)
    return Rollback(
        True, "No family holds more than one active thread; the first chat beside a run ends that."
    ), stage.verify(Kind.ORIGINAL)


def judge(name: str, found: Investigation, tried: Tried, checks: Preflight) -> Verdict:
    """Whether it will work, from what the copy showed and what the preflight saw in the environment itself."""
    stops = [check for check in checks.stops if check.name not in ELSEWHERE]
    wrong = [*stops, *(check for check in tried.checks if check.answer is Answer.STOP), *_met_wrong(tried)]
    if wrong or not tried.applied:
        seen = "; ".join(f"{check.name}: {check.seen}" for check in wrong)
        failed = "" if tried.applied else " On the copy it failed, too."
        return Verdict(False, f"{seen}.{failed}", " ".join(dict.fromkeys(check.cure for check in wrong)))
    back = ", was rolled back, and went in again" if tried.rollback.possible else ""
    copy = f"on a copy of {plural(found.counts.active_threads, 'active thread')}"
    if found.catalog.state is GuardState.FIXED:
        why = f"The fix is in already; {copy} it held under writes{back}."
        return Verdict(True, why, f"incident verify --env {name}")
    why = f"O{copy[1:]} the fix went in under writes{back}."
    if elsewhere := [check for check in checks.stops if check.name in ELSEWHERE]:
        where = " and ".join(dict.fromkeys(ELSEWHERE[check.name] for check in elsewhere))
        cures = " ".join(check.cure for check in elsewhere)
        return Verdict(True, f"{why} It has to be applied {where}: from here it is refused.", cures)
    return Verdict(True, why, f"incident apply --env {name} --confirm {name}")


def _met_wrong(tried: Tried) -> list[Check]:
    """What clients must not meet: a chat rejected once the fix is in, or an answer that is no guard's."""
    chats = tried.clients.rejected_after.get("chat", 0) if tried.applied else 0
    states = ", ".join(sorted(tried.clients.errors))
    cure = "Rehearse again, and apply only once that is gone."
    seen = {f"{plural(chats, 'chat')} rejected after the fix": chats, f"errors that no guard gives ({states})": states}
    return [Check("clients", Answer.STOP, what, cure) for what, there in seen.items() if there]
