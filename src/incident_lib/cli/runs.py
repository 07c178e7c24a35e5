"""The commands `runs`, `runs compare` and `runs delete`: the index of what a report is made from."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from incident_lib.model import Table
    from incident_lib.records import RunEntry

FORMAT = click.option("--format", "shape", type=click.Choice(["table", "json"]), default="table", show_default=True)


@click.group(invoke_without_command=True)
@click.option("--env", "name", default="", metavar="NAME", help="The runs of one environment.  [default: all]")
@FORMAT
@click.pass_context
def runs(context: click.Context, name: str, shape: str) -> int:
    """List the runs, and what a report over their environment takes from each."""
    return 0 if context.invoked_subcommand else _list(name, shape)


def _list(name: str, shape: str) -> int:
    from incident_lib import paths
    from incident_lib.cli import terminal
    from incident_lib.records import list_runs, unreadable_folders

    entries = list_runs(name)
    if shape == "json":
        click.echo(json.dumps([_described(entry) for entry in entries], indent=1))
    elif entries:
        terminal.print_table(_table(entries))
    else:
        terminal.print_line(f"There is no run of {name or 'any environment'} in {paths.runs()}.")
    for folder in unreadable_folders():
        click.echo(f"{folder} is no run that this version can read.", err=True)
    return 0


@runs.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@FORMAT
def compare(first: str, second: str, shape: str) -> int:
    """The counts of two runs side by side; A and B are named as `incident runs` lists them."""
    from incident_lib.cli import terminal
    from incident_lib.model import counts_table
    from incident_lib.records import find_run

    entries = [find_run(first), find_run(second)]
    if shape == "json":
        click.echo(json.dumps([_described(entry, counts=True) for entry in entries], indent=1))
        return 0
    for letter, entry in zip("AB", entries, strict=True):
        terminal.print_line(f"{letter}: {entry.name}, {entry.status}, report: {entry.use}")
    snapshots = {
        f"{letter} {half}": counts
        for letter, entry in zip("AB", entries, strict=True)
        for half in ("before", "after")
        if (counts := getattr(entry.run.record.counts, half))
    }
    if snapshots:
        terminal.print_table(counts_table(**snapshots))
    else:
        terminal.print_line("Neither of the two took a snapshot.")
    return 0


@runs.command()
@click.argument("name", metavar="RUN")
@click.option("--confirm", metavar="NAME", default="", help="The run's name once more; without it the command asks.")
def delete(name: str, confirm: str) -> int:
    """Delete a run's folder, with its notebooks and blocked.csv; its name is the confirmation."""
    from incident_lib.model import UsageError
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
    click.echo(f"Deleted {entry.name}.")
    return 0


def _table(entries: list[RunEntry]) -> Table:
    from incident_lib.model import Column, make_table

    columns = (
        "run",
        Column("started_at", "started (UTC)", "datetime64[us, UTC]"),
        "started by",
        "status",
        Column("before", "blocked before", "Int64", missing="–"),
        Column("after", "blocked after", "Int64", missing="–"),
        Column("use", "in the report"),
    )
    rows = (
        (
            entry.name,
            entry.run.record.started_at,
            entry.run.record.started_by,
            entry.status,
            *_blocked(entry).values(),
            entry.use,
        )
        for entry in entries
    )
    return make_table(columns, rows)


def _blocked(entry: RunEntry) -> dict[str, int | str | None]:
    """The families blocked for chat before and after; `unknown` where a snapshot could not tell, None where none is."""
    found: dict[str, int | str | None] = {}
    for half in ("before", "after"):
        counts = getattr(entry.run.record.counts, half)
        found[half] = None if counts is None else "unknown" if counts.blocked.chat is None else counts.blocked.chat
    return found


def _described(entry: RunEntry, *, counts: bool = False) -> dict[str, Any]:
    """A run as JSON has it."""
    import msgspec

    record = entry.run.record
    described = {
        "run": entry.name,
        "environment": record.environment,
        "folder": str(entry.run.folder),
        "started_at": record.started_at,
        "started_by": record.started_by,
        "status": entry.status,
        "recorded": record.recorded,
        "blocked": _blocked(entry),
        "use": entry.use,
    }
    made: dict[str, Any] = msgspec.to_builtins(described | ({"counts": record.counts} if counts else {}))
    return made
