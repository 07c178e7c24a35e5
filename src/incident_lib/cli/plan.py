"""The commands `plan` and `sql`: the change as steps and as SQL; nothing is changed."""

from __future__ import annotations

import click

from incident_lib.cli.options import ENVIRONMENT, PLAIN, TIMEOUT
from incident_lib.cli.preflight import preflight, print_duplicates
from incident_lib.model import IndexKind, Refused


@click.command()
@ENVIRONMENT
@click.option("--rollback", is_flag=True, help="The plan back to the original index.")
@PLAIN
@TIMEOUT
def plan(name: str, rollback: bool, plain: bool, timeout: float) -> int:
    """The preflight, and every step with its SQL, its lock and the reason; changes nothing."""
    from incident_lib.cli import terminal
    from incident_lib.model import Table, checks_table, plan_table

    target = IndexKind.ORIGINAL if rollback else IndexKind.FIXED
    with preflight(name, target, timeout, plain=plain) as (_, connection, checks):
        terminal.print_table(checks_table(checks.checks))
        if checks.plan.steps:
            steps = plan_table(checks.plan)
            terminal.print_table(Table(steps.columns, steps.rows, "Steps"))
        if checks.duplicates:
            print_duplicates(connection, name, target)
    if not checks.safe:
        raise Refused(
            f"It is not safe to {'roll back' if rollback else 'apply the fix to'} {name!r} now.",
            "; ".join(f"{check.name}: {check.finding}" for check in checks.failures) + ".",
            " ".join(check.action for check in checks.failures),
        )
    click.echo(checks.summary(name))
    return 0


@click.command()
@click.option("--rollback", is_flag=True, help="The SQL back to the original index.")
@click.option(
    "--out",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Write numbered files with one statement each, for a migrations folder.",
)
def sql(rollback: bool, out: str | None) -> int:
    """The migration as idempotent SQL for psql, or for a migrations folder."""
    from incident_lib.cli import terminal
    from incident_lib.migration import migration_files, migration_script

    target = IndexKind.ORIGINAL if rollback else IndexKind.FIXED
    if out is None:
        click.echo(migration_script(target), nl=False)
    else:
        terminal.write_files(out, migration_files(target))
    return 0
