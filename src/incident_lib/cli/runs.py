"""The commands `runs`, `runs compare` and `runs delete`: the index of what a report is made from."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from incident_lib.cli.answer import Answer
from incident_lib.cli.command import AnsweringCommand, AnsweringGroup, note
from incident_lib.cli.options import NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from incident_lib.model import RunSummary, Table
    from incident_lib.records import RunEntry


@click.group(cls=AnsweringGroup, invoke_without_command=True)
@click.option(
    "-e", "--env", "name", type=NAME, default="", metavar="NAME", help="The runs of one environment.  [default: all]"
)
@click.pass_context
def runs(context: click.Context, name: str) -> Answer | None:
    """List the runs, and what a report takes from each."""
    from incident_lib import paths
    from incident_lib.model import RunsResult, plural
    from incident_lib.records import list_runs, unreadable_folders

    if context.invoked_subcommand:
        return None
    entries = list_runs(name)
    for folder in unreadable_folders():
        note(f"{folder} is no run that this version can read.")
    where = os.path.relpath(paths.runs())
    return Answer(
        f"{plural(len(entries), 'run')} of {name or 'all environments'} in {where}."
        if entries
        else f"There is no run of {name or 'any environment'} in {where}.",
        RunsResult(runs=[_summary(entry) for entry in entries]),
        environment=name or None,
        body=(_table(entries),) if entries else (),
    )


@runs.command(cls=AnsweringCommand)
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
def compare(first: str, second: str) -> Answer:
    """The counts of two runs side by side. A and B are named as `incident runs` lists them."""
    from incident_lib.model import RunsResult, counts_table
    from incident_lib.records import find_run

    entries = [find_run(first), find_run(second)]
    snapshots = {
        f"{letter} {half}": counts
        for letter, entry in zip("AB", entries, strict=True)
        for half in ("before", "after")
        if (counts := getattr(entry.run.record.counts, half))
    }
    return Answer(
        "The counts of two runs." if snapshots else "Neither of the two took a snapshot.",
        RunsResult(runs=[_summary(entry, counts=True) for entry in entries]),
        body=(
            *(
                f"{letter}: {entry.name}, {entry.status}, report: {entry.use}"
                for letter, entry in zip("AB", entries, strict=True)
            ),
            *([counts_table(**snapshots)] if snapshots else []),
        ),
    )


@runs.command(cls=AnsweringCommand)
@click.argument("name", metavar="RUN")
@click.option("--confirm", metavar="NAME", default="", help="The run's name once more; without it the command asks.")
def delete(name: str, confirm: str) -> Answer:
    """Delete a run's folder, with its notebooks. Its name is the confirmation."""
    from incident_lib.model import DeletedResult, UsageError
    from incident_lib.records import delete_run, find_run

    entry = find_run(name)
    if not confirm and sys.stdin.isatty():
        click.echo(f"{entry.name}: {entry.status}, report: {entry.use}.", err=True)
        confirm = click.prompt("Its name, to delete it", default="", show_default=False, err=True)
    if confirm != entry.name:
        raise UsageError(
            f"The run {entry.name} was not deleted.",
            "Deleting it takes its name once more.",
            f"Confirm it: incident runs delete {entry.name} --confirm {entry.name}",
        )
    delete_run(entry)
    return Answer(f"Deleted {entry.name}.", DeletedResult(run=entry.name), environment=entry.run.record.environment)


def _table(entries: Sequence[RunEntry]) -> Table:
    from incident_lib.model import Column, make_table

    columns = (
        "run",
        Column("started_at", "started (UTC)", "datetime64[us, UTC]"),
        "started by",
        "status",
        Column("before", "blocked before", "Int64", missing="–"),
        Column("after", "after", "Int64", missing="–"),
        Column("use", "in the report"),
    )
    rows = (
        (
            entry.name,
            entry.run.record.started_at,
            entry.run.record.started_by,
            entry.status,
            *(_blocked(entry, half) for half in ("before", "after")),
            entry.use,
        )
        for entry in entries
    )
    return make_table(columns, rows)


def _blocked(entry: RunEntry, half: str) -> int | str | None:
    """The families blocked for chat; `unknown` where a snapshot could not tell, None where none was taken."""
    counts = getattr(entry.run.record.counts, half)
    return None if counts is None else "unknown" if counts.blocked.chat is None else counts.blocked.chat


def _summary(entry: RunEntry, *, counts: bool = False) -> RunSummary:
    """A run as JSON has it."""
    from incident_lib.model import RunSummary

    record = entry.run.record
    before, after = record.counts.before, record.counts.after
    return RunSummary(
        run=entry.name,
        environment=record.environment,
        folder=str(entry.run.folder),
        started_at=record.started_at,
        started_by=record.started_by,
        change=record.change.name,
        status=entry.status,
        recorded=record.recorded,
        blocked_before=before.blocked.chat if before else None,
        blocked_after=after.blocked.chat if after else None,
        use=entry.use,
        counts_before=before if counts else None,
        counts_after=after if counts else None,
    )
