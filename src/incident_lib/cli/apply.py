"""Commands that change an environment, and take its name for it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from incident_lib.cli.investigate import examining, show_duplicates, verified
from incident_lib.cli.options import CONFIRM, ENVIRONMENT, TIMEOUT
from incident_lib.model import IndexKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from incident_lib.migration import Progress


NO_WAIT = click.option("--no-wait", is_flag=True, help="Refuse where somebody is at it already, instead of waiting.")
BUDGET = click.option(
    "--budget",
    type=click.FloatRange(min=0.1),
    default=3600.0,
    show_default=True,
    metavar="SECONDS",
    help="How long all of it may take, waiting for others included.",
)


@click.command()
@ENVIRONMENT
@CONFIRM
@NO_WAIT
@BUDGET
@TIMEOUT
def apply(name: str, confirm: str, no_wait: bool, budget: float, timeout: float) -> int:
    """Apply the fix, step by step, with progress. Takes the environment's name as --confirm."""
    return _change(name, confirm, IndexKind.FIXED, wait=not no_wait, budget=budget, timeout=timeout)


@click.command()
@ENVIRONMENT
@CONFIRM
@NO_WAIT
@BUDGET
@TIMEOUT
def rollback(name: str, confirm: str, no_wait: bool, budget: float, timeout: float) -> int:
    """Go back to the original index, where the data can keep it. Takes the environment's name as --confirm."""
    return _change(name, confirm, IndexKind.ORIGINAL, wait=not no_wait, budget=budget, timeout=timeout)


def _change(name: str, confirm: str, target: IndexKind, *, wait: bool, budget: float, timeout: float) -> int:
    from incident_lib.migration import apply, require_confirm

    require_confirm(name, confirm, "change it")
    with examining(name, target, timeout) as (environment, connection, checks):
        if checks.duplicates:
            show_duplicates(connection, name, target)
    if target is IndexKind.ORIGINAL and checks.plan.steps and checks.safe:
        click.echo("From the moment that the original index is built, chat is blocked by run again.", err=True)
    checks.require(name)
    with _progress() as listener:
        done = apply(environment, confirm=confirm, target=target, wait=wait, budget=budget, listener=listener)
    for step in done.steps:
        click.echo(f"{step.name}: {step.outcome}, {step.seconds:.3f} s")
    if done.ended_at and target is IndexKind.FIXED:
        click.echo(f"The incident ended at {done.ended_at:%Y-%m-%d %H:%M:%S} UTC.")
    return verified(name, done.after, target=target)


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    """A bar of each step of a migration, on a terminal only."""
    from incident_lib.progress import bars

    with bars() as show:
        yield lambda progress: show(progress.step, progress.share, progress.note)
