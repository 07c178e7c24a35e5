"""The commands about environments: env list, env check, env add."""

from __future__ import annotations

import click

from incident_lib.cli.answer import Answer
from incident_lib.cli.command import AnsweringCommand
from incident_lib.cli.options import NAME


@click.group()
def env() -> None:
    """List environments, check what a role may do there, add one."""


@env.command("list", cls=AnsweringCommand)
def list_() -> Answer:
    """List the environments, and how each name resolves. Addresses are not shown."""
    from incident_lib.database import known_environments
    from incident_lib.model import EnvironmentsResult, NamedEnvironment, make_table, plural

    known = known_environments()
    return Answer(
        f"{plural(len(known), 'environment')} can be used here.",
        EnvironmentsResult(environments=[NamedEnvironment(environment=name, resolves_by=how) for name, how in known]),
        body=(make_table(("environment", "resolves by"), known),),
    )


@env.command(cls=AnsweringCommand)
@click.argument("name", type=NAME, envvar="INCIDENT_ENV")
def check(name: str) -> Answer:
    """Connect, and check what the role may do. Each missing permission, and what fails without it."""
    from incident_lib.analysis import check_access
    from incident_lib.database import resolve_environment
    from incident_lib.model import AccessResult, Status, checks_table, join_names, plural
    from incident_lib.progress import waiting

    with waiting(f"reading {name} …"):
        found = check_access(resolve_environment(name))
    lacking = [check.name for check in found if check.status is not Status.PASS]
    return Answer(
        f"{name}: {plural(len(found), 'check')}, "
        + (f"not passed: {join_names(lacking)}." if lacking else "all passed."),
        AccessResult(checks=list(found)),
        environment=name,
        body=(checks_table(found),),
    )


@env.command()
@click.argument("name")
@click.option("--host", required=True, help="The server: a name, an address, or the folder of its socket.")
@click.option("--port", type=click.IntRange(1, 65535), default=5432, show_default=True, help="Its port.")
@click.option("--dbname", required=True, metavar="DATABASE", help="The database with q_threads.")
@click.option("--user", required=True, metavar="ROLE", help="The role to connect as.")
@click.option("--sslmode", default="", metavar="MODE", help="As libpq has it, e.g. verify-full.")
def add(name: str, host: str, port: int, dbname: str, user: str, sslmode: str) -> int:
    """Add an environment as a libpq service. It holds no password; psql can use it, too."""
    from incident_lib.cli.terminal import Page
    from incident_lib.database import add_service, password_line

    options = {"host": host, "port": str(port), "dbname": dbname, "user": user, "sslmode": sslmode}
    file = add_service(name, {key: value for key, value in options.items() if value})
    page = Page()
    page.paragraph(f"{name} was added to {file}, without a password.", bold=True)
    page.paragraph("If it needs one, store it where libpq reads it, in a file that only you can read:")
    page.verbatim(f"  {password_line(options)}")
    page.paragraph("Next:")
    page.verbatim(f"  incident env check {name}")
    page.show(pager=False)
    return 0
