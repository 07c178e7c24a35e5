"""The commands `plan` and `sql`: the change as steps and as SQL; nothing is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from incident_lib.cli.answer import Answer
from incident_lib.cli.command import AnsweringCommand
from incident_lib.cli.options import CHANGE, ENVIRONMENT, PLAIN, TIMEOUT
from incident_lib.cli.preflight import duplicates, preflight, split_checks

if TYPE_CHECKING:
    from incident_lib.migration import Preflight
    from incident_lib.model import IndexChange, PlanResult, Refused


@click.command(cls=AnsweringCommand)
@ENVIRONMENT
@CHANGE
@click.option("--rollback", is_flag=True, help="The plan back to the original index.")
@click.option("--all", "everything", is_flag=True, help="List the checks that passed, too.")
@PLAIN
@TIMEOUT
def plan(name: str, change: IndexChange, rollback: bool, everything: bool, plain: bool, timeout: float) -> Answer:
    """The checks, and every step with its SQL. Changes nothing."""
    from incident_lib.model import IndexKind, plan_table

    target = IndexKind.ORIGINAL if rollback else IndexKind.FIXED
    with preflight(name, change, target, timeout, plain=plain) as (_, connection, checks):
        file, found = duplicates(connection, name, change, target) if checks.duplicates else (None, ())
    return Answer(
        checks.sentence,
        _result(checks, file),
        environment=name,
        next=checks.next_command(name),
        body=(
            *split_checks(checks.checks, everything=everything),
            *([plan_table(checks.plan).titled("Steps")] if checks.plan.steps else []),
            *found,
        ),
        error=None if checks.safe else _not_safe(name, checks),
    )


def _result(checks: Preflight, file: str | None) -> PlanResult:
    from incident_lib.model import ChangeDefinition, PlannedStep, PlanResult

    return PlanResult(
        change=ChangeDefinition.of(checks.plan.change),
        target=checks.plan.target,
        safe=checks.safe,
        checks=list(checks.checks),
        steps=[PlannedStep(name=s.name, sql=list(s.sql), lock=s.lock, why=s.why) for s in checks.plan.steps],
        duplicates=file,
    )


def _not_safe(name: str, checks: Preflight) -> Refused:
    from incident_lib.model import IndexKind, Refused

    plan = checks.plan
    act = "roll back" if plan.target is IndexKind.ORIGINAL else f"apply {plan.change.wording.act} to"
    return Refused(
        f"It is not safe to {act} {name!r} now.",
        "; ".join(f"{check.name}: {check.finding}" for check in checks.failures) + ".",
        checks.action(name),
    )


@click.command()
@CHANGE
@click.option("--rollback", is_flag=True, help="The SQL back to the original index.")
@click.option(
    "--out",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Write numbered files with one statement each, for a migrations folder.",
)
def sql(change: IndexChange, rollback: bool, out: str | None) -> int:
    """The change as SQL for psql, or for a migrations folder."""
    from pathlib import Path

    from incident_lib import paths
    from incident_lib.migration import migration_files, migration_script
    from incident_lib.model import IndexKind

    target = IndexKind.ORIGINAL if rollback else IndexKind.FIXED
    if out is None:
        click.echo(migration_script(target, change), nl=False)
        return 0
    for name, text in migration_files(target, change):
        paths.replace_text(Path(out) / name, text)
        click.echo(Path(out) / name)
    return 0
