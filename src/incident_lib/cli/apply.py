"""The commands that change an environment: apply, rollback. They need its name as confirmation."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import click

from incident_lib.cli.answer import Answer
from incident_lib.cli.command import AnsweringCommand, chosen_format, note
from incident_lib.cli.options import BUDGET, CHANGE, CONFIRM, ENVIRONMENT, PLAIN, TIMEOUT
from incident_lib.cli.preflight import duplicates, not_enforced, preflight, split_checks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from incident_lib.migration import MigrationResult, Preflight
    from incident_lib.model import IndexChange, IndexKind

NO_WAIT = click.option("--no-wait", is_flag=True, help="Fail if another migration is running, instead of waiting.")
MAX_BLOCK = click.option(
    "--max-block",
    type=click.FloatRange(min=0.1),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="How long another session may wait for a step. The step is then cancelled and tried again later.",
)


@click.command(cls=AnsweringCommand)
@ENVIRONMENT
@CHANGE
@CONFIRM
@NO_WAIT
@BUDGET
@MAX_BLOCK
@PLAIN
@TIMEOUT
def apply(name: str, change: IndexChange, confirm: str, no_wait: bool, **options: Any) -> Answer:
    """Apply the fix, step by step. Needs the environment's name as --confirm."""
    from incident_lib.model import IndexKind

    return _change(name, change, confirm, IndexKind.FIXED, wait=not no_wait, **options)


@click.command(cls=AnsweringCommand)
@ENVIRONMENT
@CHANGE
@CONFIRM
@NO_WAIT
@BUDGET
@MAX_BLOCK
@PLAIN
@TIMEOUT
def rollback(name: str, change: IndexChange, confirm: str, no_wait: bool, **options: Any) -> Answer:
    """Restore the original index, where the data allows it. Needs --confirm."""
    from incident_lib.model import IndexKind

    return _change(name, change, confirm, IndexKind.ORIGINAL, wait=not no_wait, **options)


def _change(
    name: str,
    change: IndexChange,
    confirm: str,
    target: IndexKind,
    *,
    wait: bool,
    budget: float,
    max_block: float,
    plain: bool,
    timeout: float,
) -> Answer:
    from incident_lib import migration
    from incident_lib.cli.terminal import Page
    from incident_lib.database import bounded
    from incident_lib.model import ChangeDefinition, ChangeResult, IndexKind
    from incident_lib.progress import bars

    migration.require_confirm(name, confirm, change=change.name)
    with (
        bounded(budget) as deadline,
        preflight(name, change, target, timeout, plain=plain) as (environment, connection, checks),
    ):
        version = connection.info.server_version
        if checks.duplicates and chosen_format() == "table":
            page = Page()
            for block in duplicates(connection, name, change, target)[1]:
                page.add(block)
            page.show(pager=False)
    if target is IndexKind.ORIGINAL and checks.plan.steps and checks.safe:
        note(change.wording.warning)
    checks.require(name)
    if not checks.plan.steps:
        done = "rolled back" if target is IndexKind.ORIGINAL else "applied"
        return Answer(
            f"{name}: already {done}: {migration.enforced_alone(checks.catalog, target)}.",
            ChangeResult(
                change=ChangeDefinition.of(change), target=target, steps=[], incident_ended_at=None, verification=[]
            ),
            environment=name,
            next=checks.next_command(name),
        )
    with bars() as show, _recording(name, checks, version) as record:
        result = migration.apply(
            environment,
            confirm=confirm,
            change=change,
            target=target,
            wait=wait,
            budget=deadline - time.monotonic(),
            max_block=max_block,
            plain=plain,
            listener=lambda progress: show(progress.step, progress.share, progress.note),
            done=record,
        )
        record(result, is_over=True)
    return _answer(name, target, result)


class _Record(Protocol):
    """What is called after each step, and once all of them are over."""

    def __call__(self, result: MigrationResult, *, is_over: bool = False) -> None: ...


@contextmanager
def _recording(name: str, checks: Preflight, server_version: int) -> Iterator[_Record]:
    """Record what is done to another table than the incident's: that has no run."""
    from incident_lib.migration import verify_catalog
    from incident_lib.model import CHANGES, ChangeDefinition, ChangeRecord, Indexes, RunStatus
    from incident_lib.records import package_versions, recording_change

    change, target = checks.plan.change, checks.plan.target
    if change.name in CHANGES:
        yield lambda result, *, is_over=False: None  # noqa: ARG005 - the protocol's names
        return
    begun = ChangeRecord(
        schema_version=2,
        environment=name,
        change=ChangeDefinition.of(change),
        target=target,
        status=RunStatus.RUNNING,
        started_at=datetime.now(UTC),
        finished_at=None,
        versions=package_versions(),
        server_version=server_version,
        rows=checks.estimate.rows,
        before=Indexes.of(checks.catalog),
        preflight=list(checks.checks),
        steps=[],
        ended_at=None,
        after=None,
        verification=None,
        error=None,
    )
    with recording_change(begun) as file:

        def record(result: MigrationResult, *, is_over: bool = False) -> None:
            found = list(verify_catalog(result.after, target)) if is_over else None
            after = Indexes.of(result.after)
            file.set(steps=list(result.steps), ended_at=result.ended_at, after=after, verification=found)

        yield record


def _answer(name: str, target: IndexKind, result: MigrationResult) -> Answer:
    """The steps, when the incident ended, and what is enforced now."""
    from incident_lib.migration import enforced_alone, verify_catalog, verify_commits
    from incident_lib.model import (
        ChangeDefinition,
        ChangeResult,
        IndexKind,
        change_command,
        format_timestamp,
        plan_command,
        steps_table,
    )

    change, commits = result.after.change, verify_commits(result.steps)
    checks = (*verify_catalog(result.after, target), *commits)
    error = not_enforced(name, checks, change, target)
    ended = result.ended_at if target is IndexKind.FIXED else None
    following = change_command("verify", name, change.name)
    if target is IndexKind.ORIGINAL:
        following = plan_command(IndexKind.FIXED, name, change.name)
    text = error.what if error else f"{name}: {enforced_alone(result.after, target)}."
    if ended:
        text += f" {change.wording.done} {format_timestamp(ended.replace(microsecond=0))} UTC."
    text += "".join(f" Warning: {check.finding}." for check in commits)
    return Answer(
        text,
        ChangeResult(
            change=ChangeDefinition.of(change),
            target=target,
            steps=list(result.steps),
            incident_ended_at=ended,
            verification=list(checks),
        ),
        environment=name,
        next=following,
        body=(
            steps_table(result.steps).only("step", "seconds", "outcome").titled("Steps"),
            *split_checks(checks, everything=True),
        ),
        error=error,
    )
