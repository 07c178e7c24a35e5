"""Rehearse a change on a copy of an environment's rows, and say whether it will work in the environment."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from incident_lib.analysis import Subject, read_subject
from incident_lib.database import bounded, read_catalog, read_table, reading
from incident_lib.experiments.rehearsal.callers import callers_of
from incident_lib.experiments.rehearsal.copy import copy_threads, fill_indexes
from incident_lib.experiments.rehearsal.copy_rows import catalog_of_copy, change_of_copy, copy_rows
from incident_lib.experiments.rehearsal.steps import Steps
from incident_lib.experiments.rehearsal.verdict import TrialResult, judge, seconds_per_million
from incident_lib.experiments.scratch import nearest_version, scratch_database
from incident_lib.experiments.traffic import run_clients
from incident_lib.migration import Progress, plan_change, run_preflight
from incident_lib.model import (
    PURPOSE,
    SIDES,
    ChangeDefinition,
    ClientCounts,
    Failed,
    IncidentError,
    IndexKind,
    RehearsalReport,
    RollbackOutcome,
    Status,
    format_families,
    plan_command,
    plural,
    utc_now,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from incident_lib.database import Environment, TableAccess
    from incident_lib.experiments.rehearsal.callers import Callers
    from incident_lib.experiments.rehearsal.copy import CopySize
    from incident_lib.experiments.traffic import Traffic, TrafficResult
    from incident_lib.migration import Found
    from incident_lib.model import Catalog, Check, IndexChange

SECONDS = 1800.0  # that the copy may take
BUDGET = 3600.0  # seconds for all of a rehearsal
EVERY, ANSWERS = 0.005, 12  # seconds between two calls of a client; answers before the migration, and after it


def rehearse(
    environment: Environment,
    change: IndexChange = PURPOSE,
    *,
    seconds: float = SECONDS,
    budget: float = BUDGET,
    listener: Callable[[Progress], None] = lambda _: None,
) -> RehearsalReport:
    """Copy the rows in the unique indexes; on the copy make the change while clients write, roll back, make it again.

    The environment is only read: once for the copy, in one snapshot, and once for the preflight. The copy has the
    counts of the environment, because it has all the rows that are in its unique indexes.

    Args:
        environment: which database; any role that can read every row of the table will do.
        change: which change of which index.
        seconds: how long the copy may take there (statement_timeout; 0: no limit).
        budget: seconds for all of it; it ends within five seconds more.
        listener: gets the progress, from several threads.

    Raises:
        Failed: the environment cannot be read, row level security hides rows of it, or the embedded server fails.
    """
    with bounded(budget):
        version = _require_all_rows(environment, change)
        with scratch_database("rehearsal", nearest_version(version)) as copy:
            steps = Steps(copy, listener, change if change.of_incident else change_of_copy(change))
            access, catalog, size = _copy(environment, change, steps, seconds)
            with steps.step("indexes"):
                not_reproduced = fill_indexes(copy, catalog)
            found = steps.investigate(access, catalog, size.threads)
            with reading(environment) as connection:
                asked = found if change == PURPOSE else read_subject(connection, change, environment.name)
                preflight = run_preflight(connection, environment, asked).checks
            found = _with_source(found, asked)
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
        active_threads=found.rows,
        bytes=size.bytes,
        works=works,
        why=why,
        next=next_step,
        steps=steps.steps,
        build_seconds_per_million=seconds_per_million(steps.steps, found.rows),
        clients=trial.clients,
        rollback=trial.rollback,
        waits=[check for check in preflight if check.status in (Status.WARN, Status.FAIL)],
        not_reproduced=not_reproduced,
        copied_in_seconds=sum(step.seconds for step in steps.steps if step.name == "copy"),
        change=ChangeDefinition.of(change),
    )


def _require_all_rows(environment: Environment, change: IndexChange) -> int:
    """The version of an environment's server; fails where the role cannot read every row."""
    with reading(environment) as connection:
        access = read_table(connection, change)
    if access.hides_rows:
        raise Failed(
            f"{environment.name!r} cannot be rehearsed.",
            "Row level security hides rows from this role: the copy would lack them.",
            "Use a role with BYPASSRLS, or the owner where RLS is not forced.",
        )
    return access.server_version


def _copy(
    environment: Environment, change: IndexChange, steps: Steps, seconds: float
) -> tuple[TableAccess, Catalog, CopySize]:
    """Read the indexes and copy, in one snapshot; the rows are counted on the copy, to keep the snapshot short."""
    rows = "threads" if change.of_incident else "rows"

    def report(copied: int) -> None:
        steps.listener(Progress("copy", f"{copied:,} {rows}"))

    with steps.step("copy"), reading(environment, seconds=seconds) as source:
        access, catalog = read_table(source, change), read_catalog(source, change)
        if change.of_incident:
            return access, catalog, copy_threads(source, environment.name, steps.copy, catalog, report)
        made = catalog_of_copy(catalog, steps.change)
        return access, made, copy_rows(source, environment.name, steps.copy, change, made, report)


def _with_source(found: Found, asked: Found) -> Found:
    """What was found on the copy, with the shared keys of the source.

    The copy of any table has texts, of which two differ where the values are equal, as those of citext may be.
    """
    if not isinstance(found, Subject):
        return found
    shared = {kind: max(found.shared_keys[kind] or 0, asked.shared_keys[kind] or 0) for kind in SIDES}
    return replace(found, shared_keys=shared)


def _try(steps: Steps, found: Found, name: str) -> TrialResult:
    """Apply while clients write, verify and probe; then roll back and apply again, where the data allow it."""
    callers = callers_of(steps.copy, steps.change)
    with run_traffic(steps.copy, callers) as clients, clients.change():
        applied = _apply(steps, found)
    checks: tuple[Check, ...] = ()
    rollback = RollbackOutcome(possible=None, why=f"Not tried: {steps.change.wording.act} was not applied.")
    if applied:
        checks = steps.verify(IndexKind.FIXED)
        if steps.change.of_incident:
            checks += steps.probe(callers.keys)
        rollback, rollback_checks = _roll_back(steps, found, name)
        steps.migrate("apply again", IndexKind.FIXED)
        checks = (*checks, *rollback_checks, *steps.verify(IndexKind.FIXED))
    return TrialResult(applied, checks, count_calls(clients.result()), rollback, callers.freed)


def _apply(steps: Steps, found: Found) -> bool:
    """Whether the change could be made; False where the environment's data or catalog prevent it."""
    try:
        steps.migrate("apply", IndexKind.FIXED)
    except IncidentError:
        if found.shared_keys[IndexKind.FIXED] or plan_change(found.catalog).refusal:
            return False
        raise
    return True


def _roll_back(steps: Steps, found: Found, name: str) -> tuple[RollbackOutcome, tuple[Check, ...]]:
    """Roll back, unless the data would violate the original index."""
    change = steps.change
    shared = found.shared_keys[IndexKind.ORIGINAL] or 0
    if shared:
        have = "has" if shared == 1 else "have"
        label = change.label(IndexKind.ORIGINAL)
        several = f"{format_families(shared)} {have} several active threads"
        if change != PURPOSE:
            several = f"{plural(shared, 'key')} {have} several {change.wording.row}s"
        why = (
            f"{several}, which the {label} index does not allow; "
            f"`{plan_command(IndexKind.ORIGINAL, name, change.name)}` lists them, and prints SQL "
            f"{'that resolves' if change.of_incident else 'about'} them."
        )
        return RollbackOutcome(possible=False, why=why), ()
    steps.migrate("rollback", IndexKind.ORIGINAL)
    why = "No family has several active threads. The first chat beside a run will prevent a rollback."
    if change != PURPOSE:
        row = change.wording.row
        why = f"No two {row}s share a key. The first {row} that the change allows will prevent a rollback."
    return RollbackOutcome(possible=True, why=why), steps.verify(IndexKind.ORIGINAL)


@contextmanager
def run_traffic(copy: Environment, callers: Callers) -> Iterator[Traffic]:
    """Let clients write before, during and after the block, then delete what they created."""
    with run_clients(copy, callers.clients(), every=EVERY, answers=ANSWERS) as running:
        yield running
    callers.delete_created(copy)


def count_calls(result: TrafficResult) -> ClientCounts:
    """The calls of all clients, as rehearsal.json holds them."""
    return ClientCounts(
        writes=result.admitted.total(),
        rejected=dict(sorted(result.rejected.items())),
        rejected_after=dict(sorted(result.rejected_after.items())),
        errors=dict(sorted(result.errors.items())),
        longest_stall=round(max(call.seconds for call in result.calls), 4),
    )
