"""Commands that only look: investigate, plan, verify."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from incident_lib.cli.options import ENVIRONMENT, SINCE, TIMEOUT

if TYPE_CHECKING:
    from incident_lib.catalog import Catalog
    from incident_lib.model import Check


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

    since = parse(purpose_since or (demo.PURPOSE_SINCE if name == "demo" else ""))
    environment = environments.resolve(name)
    with environments.reading(environment, seconds=timeout) as connection:
        found = find.investigate(connection)
        checks = preflight.preflight(connection, environment, found)
        families = find.blocked(connection, found.catalog, purpose_since=since, limit=limit or None)
    line = words.verdict(name, found.catalog.state, found.counts, safe=checks.safe)
    if shape == "table":
        terminal.investigation(line, found, families)
        return 0
    click.echo(line, err=True)
    if shape == "csv":
        terminal.csv(families)
    else:
        terminal.json(name, found, families)
    return 0


@click.command()
@ENVIRONMENT
@TIMEOUT
def plan(name: str, timeout: float) -> int:
    """Preflight, and every step with its SQL, its lock and why; changes nothing."""
    from incident_lib import environments, preflight, terminal
    from incident_lib import investigate as find

    environment = environments.resolve(name)
    with environments.reading(environment, seconds=timeout) as connection:
        checks = preflight.preflight(connection, environment, find.investigate(connection))
    terminal.checks(checks.checks)
    terminal.plan(checks.plan)
    click.echo(checks.sentence(name))
    return 0 if checks.safe else 1


@click.command()
@ENVIRONMENT
def verify(name: str) -> int:
    """Is the fixed guard alone in force, by definition and flags? Exit code 0 only then."""
    from incident_lib import environments, guards

    with environments.reading(environments.resolve(name)) as connection:
        guards.rights(connection)
        catalog = guards.read(connection)
    return verified(name, catalog)


def verified(name: str, catalog: Catalog) -> int:
    """Print whether the fix is in; the exit code says it, too."""
    from incident_lib import terminal
    from incident_lib.verify import is_fixed, verify

    checks: tuple[Check, ...] = verify(catalog)
    terminal.checks(checks)
    click.echo(f"{name}: the fixed guard {'alone is' if is_fixed(catalog) else 'is not alone'} in force.")
    return 0 if is_fixed(catalog) else 1
