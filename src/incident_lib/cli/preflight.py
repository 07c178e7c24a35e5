"""What the commands about the migration share: the preflight in one snapshot, duplicates, the final check."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import click

from incident_lib.model import IndexKind, Refused, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from incident_lib.database import Connection, Environment
    from incident_lib.migration import Preflight
    from incident_lib.model import Catalog, Check


@contextmanager
def preflight(
    name: str, target: IndexKind, seconds: float, *, plain: bool = False
) -> Iterator[tuple[Environment, Connection, Preflight]]:
    """An environment, a connection in one snapshot of it, and the preflight of that snapshot."""
    from incident_lib.analysis import investigate
    from incident_lib.database import reading, resolve_environment
    from incident_lib.migration import run_preflight
    from incident_lib.progress import waiting

    with ExitStack() as snapshot:
        with waiting(f"reading {name} …"):
            environment = resolve_environment(name)
            connection = snapshot.enter_context(reading(environment, seconds=seconds))
            checks = run_preflight(connection, environment, investigate(connection), target, plain=plain)
        yield environment, connection, checks


def print_duplicates(connection: Connection, name: str, target: IndexKind) -> None:
    """Print what prevents an index: the first keys, a file with all of them, and SQL that would resolve them."""
    from incident_lib import paths
    from incident_lib.analysis import list_duplicates, write_duplicates
    from incident_lib.cli import terminal
    from incident_lib.migration import settling_sql
    from incident_lib.model import make_table
    from incident_lib.progress import waiting

    file = paths.environment_file(name, f"duplicates-{target}.csv")
    with waiting(f"writing {file.name} …"):
        write_duplicates(connection, target, file)
        rows = list_duplicates(connection, target, limit=5)
    terminal.print_table(
        make_table(list(rows[0]), [list(row.values()) for row in rows], "Families, raw ids: do not share")
    )
    click.echo(f"All of them: {file} (raw ids: do not share)\n")
    click.echo("This SQL would resolve them. It ends threads that users see: no command here runs it.\n")
    click.echo(f"{settling_sql(target)}\n")


def print_verification(
    name: str, catalog: Catalog, probes: tuple[Check, ...] = (), target: IndexKind = IndexKind.FIXED
) -> int:
    """Print whether the target's unique index is the only one enforced; the exit code says so, too."""
    from incident_lib.cli import terminal
    from incident_lib.migration import holds, verify_catalog
    from incident_lib.model import checks_table, plan_command

    checks = (*verify_catalog(catalog, target), *probes)
    terminal.print_table(checks_table(checks))
    if not holds(checks):
        raise Refused(
            f"The {target} index is not the only one enforced in {name!r}.",
            "; ".join(f"{check.name}: {check.finding}" for check in checks if check.status is Status.FAIL) + ".",
            f"Run `{plan_command(target, name)}`: it shows what is left to do.",
        )
    click.echo(f"{name}: only the {target} index is enforced.")
    return 0


def print_nothing_to_do(name: str, target: IndexKind) -> None:
    """Print that an environment is at the target already, so that no step is left."""
    done = "rolled back" if target is IndexKind.ORIGINAL else "applied"
    click.echo(f"{name}: already {done}: only the {target} index is enforced.")
