"""Commands about environments: env list, env check; and about one family: explain."""

from __future__ import annotations

from uuid import UUID

import click

from incident_lib.cli.options import ENVIRONMENT, TIMEOUT


@click.group()
def env() -> None:
    """List environments and check their permissions."""


@env.command("list")
def list_() -> int:
    """List the names that resolve here, and how. Addresses are not shown."""
    from incident_lib.cli import terminal
    from incident_lib.database import known_environments
    from incident_lib.model import make_table

    terminal.print_table(make_table(("environment", "resolves by"), known_environments()))
    return 0


@env.command()
@click.argument("name")
def check(name: str) -> int:
    """Connect, and check server, role, permissions and pooler; each missing permission, and what fails without it."""
    from incident_lib.analysis import check_access
    from incident_lib.cli import terminal
    from incident_lib.database import resolve_environment
    from incident_lib.model import checks_table
    from incident_lib.progress import waiting

    with waiting(f"reading {name} …"):
        found = check_access(resolve_environment(name))
    terminal.print_table(checks_table(found))
    return 0


@click.command()
@ENVIRONMENT
@click.argument("root", type=click.UUID)
@click.argument("owner", type=click.UUID)
@TIMEOUT
def explain(name: str, root: UUID, owner: UUID, timeout: float) -> int:
    """One family, thread by thread: what blocks what (with raw ids: do not share)."""
    from incident_lib.analysis import explain_family
    from incident_lib.cli import terminal
    from incident_lib.database import read_catalog, reading, resolve_environment
    from incident_lib.model import Family, threads_table
    from incident_lib.progress import waiting

    with (
        waiting(f"reading {name} …"),
        reading(resolve_environment(name), seconds=timeout) as connection,
    ):
        threads = explain_family(connection, read_catalog(connection), Family(root, owner))
    if threads:
        terminal.print_table(threads_table(threads, None))
    else:
        terminal.print_line("This family has no thread.")
    return 0
