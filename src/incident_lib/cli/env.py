"""Commands about environments themselves: env list, env check; and about one family: explain."""

from __future__ import annotations

from uuid import UUID

import click

from incident_lib.cli.options import ENVIRONMENT, TIMEOUT


@click.group()
def env() -> None:
    """Which names resolve, and how; what the role there may do."""


@env.command("list")
def list_() -> int:
    """The names that resolve here, and how. Addresses are not shown."""
    from incident_lib.cli import terminal
    from incident_lib.database import known_environments

    terminal.names(known_environments())
    return 0


@env.command()
@click.argument("name")
def check(name: str) -> int:
    """Connect, and report server, role, rights, pooler, and what each missing right would stop."""
    from incident_lib.analysis import check_access
    from incident_lib.cli import terminal
    from incident_lib.database import resolve_environment
    from incident_lib.progress import waiting

    with waiting(f"looking at {name} …"):
        found = check_access(resolve_environment(name))
    terminal.checks(found)
    return 0


@click.command()
@ENVIRONMENT
@click.argument("root", type=click.UUID)
@click.argument("owner", type=click.UUID)
@TIMEOUT
def explain(name: str, root: UUID, owner: UUID, timeout: float) -> int:
    """One family, thread by thread: what blocks what (with raw ids: not to be shared)."""
    from incident_lib.analysis import explain_family
    from incident_lib.cli import terminal
    from incident_lib.database import reading, resolve_environment
    from incident_lib.progress import waiting

    with (
        waiting(f"looking at {name} …"),
        reading(resolve_environment(name), seconds=timeout) as connection,
    ):
        found = explain_family(connection, root, owner)
    terminal.threads(found)
    return 0
