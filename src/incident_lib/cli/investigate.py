"""Commands that only look: investigate, plan, verify."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import click

from incident_lib.cli.options import CONFIRM, ENVIRONMENT, SINCE, TIMEOUT
from incident_lib.model import IndexKind, Refused, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from incident_lib.database import Connection, Environment
    from incident_lib.migration import Preflight
    from incident_lib.model import BlockedFamily, Catalog, Check


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
    """The verdict, the counts, the blocked families (with raw ids: not to be shared)."""
    from incident_lib.analysis import copy_blocked, investigate, list_blocked
    from incident_lib.cli import terminal
    from incident_lib.database import demo, reading, resolve_environment
    from incident_lib.migration import run_preflight
    from incident_lib.model import parse_timestamp, verdict_line
    from incident_lib.progress import waiting

    since = parse_timestamp(purpose_since or (demo.PURPOSE_SINCE if name == "demo" else ""))
    wanted: dict[str, Any] = {"purpose_since": since, "limit": limit or None}
    families: list[BlockedFamily] = []
    with TemporaryFile() as listed:  # so that no transaction stays open while somebody reads
        with (
            waiting(f"looking at {name} …"),
            reading(environment := resolve_environment(name), seconds=timeout) as connection,
        ):
            found = investigate(connection)
            checks = run_preflight(connection, environment, found)
            if shape == "csv":
                copy_blocked(connection, found.catalog, listed, **wanted)
            else:
                families = list_blocked(connection, found.catalog, **wanted)
        state, hides_rows = found.catalog.state, found.rights.hides_rows
        line = verdict_line(name, state, found.counts, safe=checks.safe, hides_rows=hides_rows)
        if shape == "table":
            terminal.investigation(line, found, families)
            return 0
        click.echo(line, err=True)
        if shape == "csv":
            terminal.csv(listed)
        else:
            terminal.json(name, found, families)
    return 0


@click.command()
@ENVIRONMENT
@click.option("--rollback", is_flag=True, help="The way back to the original index.")
@TIMEOUT
def plan(name: str, rollback: bool, timeout: float) -> int:
    """Preflight, and every step with its SQL, its lock and why; changes nothing."""
    from incident_lib.cli import terminal

    target = IndexKind.ORIGINAL if rollback else IndexKind.FIXED
    with examining(name, target, timeout) as (_, connection, checks):
        terminal.checks(checks.checks)
        terminal.plan(checks.plan)
        if checks.duplicates:
            show_duplicates(connection, name, target)
    if not checks.safe:
        raise Refused(
            f"It is not safe to {'roll back' if rollback else 'apply the fix to'} {name!r} now.",
            "; ".join(f"{check.name}: {check.finding}" for check in checks.stops) + ".",
            " ".join(check.action for check in checks.stops),
        )
    click.echo(checks.sentence(name))
    return 0


@contextmanager
def examining(name: str, target: IndexKind, seconds: float) -> Iterator[tuple[Environment, Connection, Preflight]]:
    """An environment, one snapshot of it, and the preflight in that; the waiting for them is told."""
    from incident_lib.analysis import investigate
    from incident_lib.database import reading, resolve_environment
    from incident_lib.migration import run_preflight
    from incident_lib.progress import waiting

    with ExitStack() as snapshot:
        with waiting(f"looking at {name} …"):
            environment = resolve_environment(name)
            connection = snapshot.enter_context(reading(environment, seconds=seconds))
            checks = run_preflight(connection, environment, investigate(connection), target)
        yield environment, connection, checks


def show_duplicates(connection: Connection, name: str, target: IndexKind) -> None:
    """Show what stands against a unique index: a sample, a file of all, and SQL that would make room, which is not run."""
    from incident_lib import paths
    from incident_lib.analysis import list_duplicates, write_duplicates
    from incident_lib.cli import terminal
    from incident_lib.migration import settling_sql
    from incident_lib.progress import waiting

    file = paths.private(name, f"duplicates-{target}.csv")
    with waiting(f"writing {file.name} …"):
        write_duplicates(connection, target, file)
        sample = list_duplicates(connection, target, limit=5)
    terminal.families(sample)
    click.echo(f"All of them: {file} (raw ids, not to be shared)\n")
    click.echo("This would make room. It ends threads that users see: nothing here runs it.\n")
    click.echo(f"{settling_sql(target)}\n")


@click.command()
@click.option("--rollback", is_flag=True, help="The way back to the original index.")
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


@click.command()
@ENVIRONMENT
@click.option("--probe", "probed", is_flag=True, help="Also try it as a client, rolled back. Takes --confirm.")
@CONFIRM
def verify(name: str, probed: bool, confirm: str) -> int:
    """Is the fixed index the only one enforced, by definition and flags? Exit code 0 only then."""
    from incident_lib.database import read_access, read_catalog, reading, resolve_environment
    from incident_lib.migration import require_confirm
    from incident_lib.progress import waiting

    if probed:
        require_confirm(name, confirm, "try it as a client")
    with waiting(f"looking at {name} …"):
        environment = resolve_environment(name)
        with reading(environment) as connection:
            read_access(connection)
            catalog = read_catalog(connection)
        probes = _probed(environment) if probed else ()
    return verified(name, catalog, probes)


def _probed(environment: Environment) -> tuple[Check, ...]:
    from incident_lib.database import connecting, fetch_all
    from incident_lib.migration import FAMILIES, probe_semantics, verify_semantics
    from incident_lib.model import Family

    with connecting(environment, "probe") as connection:
        rows = fetch_all(connection, "migration/families_without_chat", {"most": FAMILIES})
        return verify_semantics(probe_semantics(connection, [Family(**row) for row in rows]))


def verified(name: str, catalog: Catalog, probes: tuple[Check, ...] = (), target: IndexKind = IndexKind.FIXED) -> int:
    """Print whether the target's unique index alone is enforced; the exit code says it, too."""
    from incident_lib.cli import terminal
    from incident_lib.migration import holds
    from incident_lib.migration import verify_catalog as check
    from incident_lib.model import plan_command

    checks = (*check(catalog, target), *probes)
    terminal.checks(checks)
    if not holds(checks):
        raise Refused(
            f"The {target} unique index is not the only one enforced in {name!r}.",
            "; ".join(f"{check.name}: {check.finding}" for check in checks if check.status is Status.FAIL) + ".",
            f"Look at `{plan_command(target, name)}`: it shows what is left to do.",
        )
    click.echo(f"{name}: the {target} unique index alone is enforced.")
    return 0
