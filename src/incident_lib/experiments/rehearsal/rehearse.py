"""Rehearse the fix on a copy of an environment's threads, and say whether it will work in the environment."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

from incident_lib.database import bounded, connecting, read_access, read_catalog, reading
from incident_lib.experiments import traffic
from incident_lib.experiments.rehearsal.copy import copy_threads, fill_indexes
from incident_lib.experiments.rehearsal.steps import Steps
from incident_lib.experiments.rehearsal.verdict import TrialResult, judge, seconds_per_million
from incident_lib.experiments.scratch import nearest_version, scratch_database
from incident_lib.experiments.traffic import Client, run_clients
from incident_lib.migration import Progress, plan_change, run_preflight
from incident_lib.model import (
    ClientCounts,
    Failed,
    Family,
    IncidentError,
    IndexKind,
    RehearsalReport,
    RollbackOutcome,
    Status,
    format_families,
    plan_command,
    utc_now,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from incident_lib.analysis import Investigation
    from incident_lib.database import Environment, TableAccess
    from incident_lib.experiments.rehearsal.copy import CopySize
    from incident_lib.experiments.traffic import Traffic, TrafficResult
    from incident_lib.model import Catalog, Check

SECONDS = 1800.0  # that the copy may take
BUDGET = 3600.0  # seconds for all of a rehearsal
CLIENTS, CLIENT_FAMILIES, MADE_UP_FAMILIES = 2, 100, 3  # made-up families: for each client
EVERY, ANSWERS = 0.005, 12  # seconds between two calls of a client; answers before the migration, and after it


def rehearse(
    environment: Environment,
    *,
    seconds: float = SECONDS,
    budget: float = BUDGET,
    listener: Callable[[Progress], None] = lambda _: None,
) -> RehearsalReport:
    """Copy the threads in the unique indexes; on the copy apply the fix while clients write, roll back, apply again.

    The environment is only read: once for the copy, in one snapshot, and once for the preflight. The copy has the
    counts of the environment, because it has all the threads that are in its unique indexes.

    Args:
        environment: which database; any role that can read every row of the table will do.
        seconds: how long the copy may take there (statement_timeout; 0: no limit).
        budget: seconds for all of it; it ends within five seconds more.
        listener: gets the progress, from several threads.

    Raises:
        Failed: the environment cannot be read, row level security hides rows of it, or the embedded server fails.
    """
    with bounded(budget):
        version = _require_all_rows(environment)
        with scratch_database("rehearsal", nearest_version(version)) as copy:
            steps = Steps(copy, listener)
            access, catalog, size = _copy(environment, steps, seconds)
            with steps.step("indexes"):
                not_reproduced = fill_indexes(copy, catalog)
            found = steps.investigate(access, catalog)
            with reading(environment) as connection:
                preflight = run_preflight(connection, environment, found).checks
            trial = _try(steps, found, environment.name)
            rehearsal_version = steps.server_version()
    works, why, next_step = judge(environment.name, found, trial, preflight)
    return RehearsalReport(
        schema_version=2,
        rehearsed_at=utc_now(),
        environment=environment.name,
        server_version=version,
        rehearsal_version=rehearsal_version,
        threads=size.threads,
        active_threads=found.counts.active_threads,
        bytes=size.bytes,
        works=works,
        why=why,
        next=next_step,
        steps=steps.steps,
        build_seconds_per_million=seconds_per_million(steps.steps, found.counts.active_threads),
        clients=trial.clients,
        rollback=trial.rollback,
        waits=[check for check in preflight if check.status in (Status.WARN, Status.FAIL)],
        not_reproduced=not_reproduced,
        copied_in_seconds=sum(step.seconds for step in steps.steps if step.name == "copy"),
    )


def _require_all_rows(environment: Environment) -> int:
    """The version of an environment's server; fails where the role cannot read every row."""
    with reading(environment) as connection:
        access = read_access(connection)
    if access.hides_rows:
        raise Failed(
            f"{environment.name!r} cannot be rehearsed.",
            "Row level security hides rows from this role: the copy would lack them.",
            "Use a role with BYPASSRLS, or the owner where RLS is not forced.",
        )
    return access.server_version


def _copy(environment: Environment, steps: Steps, seconds: float) -> tuple[TableAccess, Catalog, CopySize]:
    """Read the indexes and copy, in one snapshot; the threads are counted on the copy, to keep the snapshot short."""

    def report(threads: int) -> None:
        steps.listener(Progress("copy", f"{threads:,} threads"))

    with steps.step("copy"), reading(environment, seconds=seconds) as source:
        access, catalog = read_access(source), read_catalog(source)
        return access, catalog, copy_threads(source, environment.name, steps.copy, catalog, report)


def _try(steps: Steps, found: Investigation, name: str) -> TrialResult:
    """Apply while clients write, verify and probe; then roll back and apply again, where the data allow it."""
    families = steps.families(CLIENT_FAMILIES)
    with run_traffic(steps.copy, families) as clients, clients.change():
        applied = _apply(steps, found)
    checks: tuple[Check, ...] = ()
    rollback = RollbackOutcome(possible=None, why="Not tried: the fix was not applied.")
    if applied:
        checks = (*steps.verify(IndexKind.FIXED), *steps.probe(families))
        rollback, rollback_checks = _roll_back(steps, found, name)
        steps.migrate("apply again", IndexKind.FIXED)
        checks = (*checks, *rollback_checks, *steps.verify(IndexKind.FIXED))
    return TrialResult(applied, checks, count_calls(clients.result()), rollback)


def _apply(steps: Steps, found: Investigation) -> bool:
    """Whether the fix could be applied; False where the environment's data or catalog prevent it."""
    try:
        steps.migrate("apply", IndexKind.FIXED)
    except IncidentError:
        if found.counts.duplicate_keys[IndexKind.FIXED] or plan_change(found.catalog).refusal:
            return False
        raise
    return True


def _roll_back(steps: Steps, found: Investigation, name: str) -> tuple[RollbackOutcome, tuple[Check, ...]]:
    """Roll back, unless the data would violate the original index."""
    if families := found.counts.duplicate_keys[IndexKind.ORIGINAL]:
        have = "has" if families == 1 else "have"
        why = (
            f"{format_families(families)} {have} several active threads, which the original index does not allow; "
            f"`{plan_command(IndexKind.ORIGINAL, name)}` lists them, and prints SQL that resolves them."
        )
        return RollbackOutcome(possible=False, why=why), ()
    steps.migrate("rollback", IndexKind.ORIGINAL)
    why = "No family has several active threads. The first chat beside a run will prevent a rollback."
    return RollbackOutcome(possible=True, why=why), steps.verify(IndexKind.ORIGINAL)


@contextmanager
def run_traffic(copy: Environment, families: Sequence[Family]) -> Iterator[Traffic]:
    """Let clients create chats and runs before, during and after the block, then delete what they created.

    Args:
        copy: a scratch database.
        families: families with an active run and no chat; made-up families without a thread are added.
    """
    made_up = [Family(uuid4(), uuid4()) for _ in range(CLIENTS * MADE_UP_FAMILIES)]
    calls = {"chat": traffic.chat, "run": traffic.run}
    clients = [Client(calls, [*made_up[place::CLIENTS], *families[place::CLIENTS]]) for place in range(CLIENTS)]
    with run_clients(copy, clients, every=EVERY, answers=ANSWERS) as running:
        yield running
    with connecting(copy, traffic.ACTIVITY) as connection:
        connection.execute("DELETE FROM public.q_threads WHERE name = %s", [traffic.NAME])


def count_calls(result: TrafficResult) -> ClientCounts:
    """The calls of all clients, as rehearsal.json holds them."""
    return ClientCounts(
        writes=result.admitted.total(),
        rejected=dict(sorted(result.rejected.items())),
        rejected_after=dict(sorted(result.rejected_after.items())),
        errors=dict(sorted(result.errors.items())),
        longest_stall=round(max(call.seconds for call in result.calls), 4),
    )
