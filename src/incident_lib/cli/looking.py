"""Commands that only look: investigate, plan, verify."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import click

from incident_lib.catalog import Kind
from incident_lib.cli.options import CONFIRM, ENVIRONMENT, SINCE, TIMEOUT
from incident_lib.errors import Refused
from incident_lib.model import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from incident_lib.catalog import Catalog
    from incident_lib.environments import Connection, Environment
    from incident_lib.model import BlockedFamily, Check
    from incident_lib.preflight import Preflight


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
    from incident_lib import demo, environments, preflight, terminal, words
    from incident_lib import investigate as find
    from incident_lib.moments import parse
    from incident_lib.progress import waiting

    since = parse(purpose_since or (demo.PURPOSE_SINCE if name == "demo" else ""))
    wanted: dict[str, Any] = {"purpose_since": since, "limit": limit or None}
    families: list[BlockedFamily] = []
    with TemporaryFile() as listed:  # so that no transaction stays open while somebody reads
        with (
            waiting(f"looking at {name} …"),
            environments.reading(environment := environments.resolve(name), seconds=timeout) as connection,
        ):
            found = find.investigate(connection)
            checks = preflight.preflight(connection, environment, found)
            if shape == "csv":
                find.copy_blocked(connection, found.catalog, listed, **wanted)
            else:
                families = find.blocked(connection, found.catalog, **wanted)
        state, hides_rows = found.catalog.state, found.rights.hides_rows
        line = words.verdict(name, state, found.counts, safe=checks.safe, hides_rows=hides_rows)
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
@click.option("--rollback", is_flag=True, help="The way back to the original guard.")
@TIMEOUT
def plan(name: str, rollback: bool, timeout: float) -> int:
    """Preflight, and every step with its SQL, its lock and why; changes nothing."""
    from incident_lib import terminal

    target = Kind.ORIGINAL if rollback else Kind.FIXED
    with examining(name, target, timeout) as (_, connection, checks):
        terminal.checks(checks.checks)
        terminal.plan(checks.plan)
        if checks.duplicates:
            show_duplicates(connection, name, target)
    if not checks.safe:
        raise Refused(
            f"It is not safe to {'roll back' if rollback else 'apply the fix to'} {name!r} now.",
            "; ".join(f"{check.name}: {check.seen}" for check in checks.stops) + ".",
            " ".join(check.cure for check in checks.stops),
        )
    click.echo(checks.sentence(name))
    return 0


@contextmanager
def examining(name: str, target: Kind, seconds: float) -> Iterator[tuple[Environment, Connection, Preflight]]:
    """An environment, one snapshot of it, and the preflight in that; the waiting for them is told."""
    from incident_lib import environments, preflight
    from incident_lib import investigate as find
    from incident_lib.progress import waiting

    with ExitStack() as snapshot:
        with waiting(f"looking at {name} …"):
            environment = environments.resolve(name)
            connection = snapshot.enter_context(environments.reading(environment, seconds=seconds))
            checks = preflight.preflight(connection, environment, find.investigate(connection), target)
        yield environment, connection, checks


def show_duplicates(connection: Connection, name: str, target: Kind) -> None:
    """Show what stands against a guard: a sample, a file of all, and SQL that would make room, which is not run."""
    from incident_lib import emit, paths, terminal
    from incident_lib import investigate as find
    from incident_lib.progress import waiting

    file = paths.private(name, f"duplicates-{target}.csv")
    with waiting(f"writing {file.name} …"):
        find.write_duplicates(connection, target, file)
        sample = find.duplicates(connection, target, limit=5)
    terminal.families(sample)
    click.echo(f"All of them: {file} (raw ids, not to be shared)\n")
    click.echo("This would make room. It ends threads that users see: nothing here runs it.\n")
    click.echo(f"{emit.settle(target)}\n")


@click.command()
@click.option("--rollback", is_flag=True, help="The way back to the original guard.")
@click.option(
    "--out",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Write numbered files with one statement each, for a migrations folder.",
)
def sql(rollback: bool, out: str | None) -> int:
    """The migration as idempotent SQL for psql, or for a migrations folder."""
    from incident_lib import emit, terminal

    target = Kind.ORIGINAL if rollback else Kind.FIXED
    if out is None:
        click.echo(emit.script(target), nl=False)
    else:
        terminal.write_files(out, emit.files(target))
    return 0


@click.command()
@ENVIRONMENT
@click.option("--probe", "probed", is_flag=True, help="Also try it as a client, rolled back. Takes --confirm.")
@CONFIRM
def verify(name: str, probed: bool, confirm: str) -> int:
    """Is the fixed guard alone in force, by definition and flags? Exit code 0 only then."""
    from incident_lib import environments, guards, migrate
    from incident_lib.progress import waiting

    if probed:
        migrate.require_confirm(name, confirm, "try it as a client")
    with waiting(f"looking at {name} …"):
        environment = environments.resolve(name)
        with environments.reading(environment) as connection:
            guards.rights(connection)
            catalog = guards.read(connection)
        probes = _probed(environment) if probed else ()
    return verified(name, catalog, probes)


def _probed(environment: Environment) -> tuple[Check, ...]:
    from incident_lib import environments, probe, queries
    from incident_lib.clients import Family
    from incident_lib.verify import verify_semantics

    with environments.connecting(environment, "probe") as connection:
        rows = queries.rows(connection, "probed", {"most": probe.FAMILIES})
        return verify_semantics(probe.probe_semantics(connection, [Family(**row) for row in rows]))


def verified(name: str, catalog: Catalog, probes: tuple[Check, ...] = (), target: Kind = Kind.FIXED) -> int:
    """Print whether the target's guard alone is in force; the exit code says it, too."""
    from incident_lib import terminal, words
    from incident_lib.verify import holds
    from incident_lib.verify import verify as check

    checks = (*check(catalog, target), *probes)
    terminal.checks(checks)
    if not holds(checks):
        raise Refused(
            f"The {target} guard is not alone in force in {name!r}.",
            "; ".join(f"{check.name}: {check.seen}" for check in checks if check.answer is Answer.STOP) + ".",
            f"Look at `{words.plan_command(target, name)}`: it shows what is left to do.",
        )
    click.echo(f"{name}: the {target} guard alone is in force.")
    return 0
