"""The commands that change an environment: apply, rollback. They need its name as confirmation."""

from __future__ import annotations

import time
from typing import Any

import click

from incident_lib.cli.options import BUDGET, CONFIRM, ENVIRONMENT, PLAIN, TIMEOUT
from incident_lib.cli.preflight import preflight, print_duplicates, print_nothing_to_do, print_verification
from incident_lib.model import IndexKind

NO_WAIT = click.option("--no-wait", is_flag=True, help="Fail if another migration is running, instead of waiting.")
MAX_BLOCK = click.option(
    "--max-block",
    type=click.FloatRange(min=0.1),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="How long another session may wait for a step. The step is then cancelled and tried again later.",
)


@click.command()
@ENVIRONMENT
@CONFIRM
@NO_WAIT
@BUDGET
@MAX_BLOCK
@PLAIN
@TIMEOUT
def apply(name: str, confirm: str, no_wait: bool, **options: Any) -> int:
    """Apply the fix, step by step, with progress. Needs the environment's name as --confirm."""
    return _change(name, confirm, IndexKind.FIXED, wait=not no_wait, **options)


@click.command()
@ENVIRONMENT
@CONFIRM
@NO_WAIT
@BUDGET
@MAX_BLOCK
@PLAIN
@TIMEOUT
def rollback(name: str, confirm: str, no_wait: bool, **options: Any) -> int:
    """Restore the original index, where the data allows it. Needs the environment's name as --confirm."""
    return _change(name, confirm, IndexKind.ORIGINAL, wait=not no_wait, **options)


def _change(
    name: str,
    confirm: str,
    target: IndexKind,
    *,
    wait: bool,
    budget: float,
    max_block: float,
    plain: bool,
    timeout: float,
) -> int:
    from incident_lib import migration
    from incident_lib.database import bounded
    from incident_lib.model import format_timestamp
    from incident_lib.progress import bars

    migration.require_confirm(name, confirm)
    with (
        bounded(budget) as deadline,
        preflight(name, target, timeout, plain=plain) as (environment, connection, checks),
    ):
        if checks.duplicates:
            print_duplicates(connection, name, target)
    if target is IndexKind.ORIGINAL and checks.plan.steps and checks.safe:
        click.echo("Once the original index is built, run threads block new chats again.", err=True)
    checks.require(name)
    if not checks.plan.steps:
        print_nothing_to_do(name, target)
        return 0
    with bars() as show:
        result = migration.apply(
            environment,
            confirm=confirm,
            target=target,
            wait=wait,
            budget=deadline - time.monotonic(),
            max_block=max_block,
            plain=plain,
            listener=lambda progress: show(progress.step, progress.share, progress.note),
        )
    for step in result.steps:
        click.echo(f"{step.name}: {step.outcome}, {step.seconds:.3f} s")
    if result.ended_at and target is IndexKind.FIXED:
        click.echo(f"The incident ended at {format_timestamp(result.ended_at.replace(microsecond=0))} UTC.")
    return print_verification(name, result.after, target=target)
