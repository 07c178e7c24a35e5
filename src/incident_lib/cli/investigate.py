"""The command `investigate`: what is blocked; reads only."""

from __future__ import annotations

import json
from contextlib import ExitStack
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import click

from incident_lib.cli.options import ENVIRONMENT, SINCE, TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from incident_lib.analysis import Investigation, Standby
    from incident_lib.model import BlockedFamily


@click.command()
@ENVIRONMENT
@click.option("--format", "shape", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    metavar="N",
    help="How many blocked families to list; 0: all.",
)
@SINCE
@TIMEOUT
def investigate(name: str, shape: str, limit: int, purpose_since: str, timeout: float) -> int:
    """The verdict, the counts, the blocked families (with raw ids: do not share)."""
    from incident_lib import analysis
    from incident_lib.cli import terminal
    from incident_lib.database import purpose_since as known_purpose_since
    from incident_lib.database import reading, resolve_environment
    from incident_lib.migration import run_preflight
    from incident_lib.model import verdict_line
    from incident_lib.progress import waiting

    environment = resolve_environment(name)
    wanted: dict[str, Any] = {"purpose_since": known_purpose_since(environment, purpose_since), "limit": limit or None}
    families: list[BlockedFamily] = []
    with ExitStack() as files:
        listed = files.enter_context(TemporaryFile())  # so that no transaction is open while a reader takes the output
        with (
            waiting(f"reading {name} …"),
            reading(environment, seconds=timeout) as connection,
        ):
            standby = analysis.read_standby(connection)
            found = analysis.investigate(connection)
            checks = run_preflight(connection, environment, found)
            if shape == "csv":
                analysis.copy_blocked(connection, found.catalog, listed, **wanted)
            else:
                families = analysis.list_blocked(connection, found.catalog, **wanted)
        line = verdict_line(
            name, found.catalog.state, found.counts, safe=checks.safe, hides_rows=found.access.hides_rows
        )
        if shape == "table":
            _print_tables(line, found, families, standby)
            return 0
        click.echo(line, err=True)
        if standby:
            click.echo(str(standby), err=True)
        if shape == "csv":
            terminal.print_csv(listed)
        else:
            _print_json(name, found, families, standby)
    return 0


def _print_tables(line: str, found: Investigation, families: list[BlockedFamily], standby: Standby | None) -> None:
    """Print the verdict first, then how old it is on a standby, indexes, counts and blocked families."""
    from incident_lib.cli import terminal
    from incident_lib.model import Column, Table, blocked_table, counts_table, indexes_table, make_table

    terminal.print_line(line, "bold")
    if standby:
        terminal.print_line(str(standby), "yellow")
    indexes = indexes_table(found.catalog)
    definitions = [
        (*row, index.definition) for row, index in zip(indexes.rows, found.catalog.family_indexes, strict=True)
    ]
    columns = (*indexes.columns, Column("definition", code=True))
    terminal.print_table(
        make_table(columns, definitions, f"Unique indexes: {found.catalog.state}"),
        columns=("index", "kind", "flags", "definition"),
    )
    counts = counts_table(families=found.counts)
    terminal.print_table(
        Table((counts.columns[0], Column("number", " ", "Int64"), *counts.columns[2:]), counts.rows, "Counts")
    )
    purposes = ", ".join(f"{purpose} {count:,}" for purpose, count in found.counts.active_by_purpose.items())
    terminal.print_line(f"Active threads by purpose: {purposes}\n")
    listed = blocked_table(families, None)
    terminal.print_table(
        Table(listed.columns, listed.rows, f"Blocked families, {len(families)} shown: raw ids, do not share")
    )


def _print_json(
    environment: str, found: Investigation, families: Iterable[BlockedFamily], standby: Standby | None
) -> None:
    import msgspec

    definitions = [
        {"name": i.name, "kind": i.kind.value, "definition": i.definition, "flags": i.flags()}
        for i in found.catalog.family_indexes
    ]
    result = {
        "environment": environment,
        "standby": standby,
        "indexes": {"state": found.catalog.state.value, "definitions": definitions},
        "counts": found.counts,
        "blocked": list(families),
    }
    click.echo(json.dumps(msgspec.to_builtins(result), indent=1))
