"""The commands of the embedded database: demo reset, settle, url, stop."""

import click


@click.group()
def demo() -> None:
    """The embedded database of the environment `demo`."""


@demo.command()
def reset() -> int:
    """Replace the demo's database by one as the incident left it."""
    from incident_lib.database import demo as server
    from incident_lib.progress import waiting

    with waiting("loading the demo's database …"):
        server.reset()
    click.echo("demo is as the incident left it.")
    return 0


@demo.command()
def settle() -> int:
    """End the demo's threads that prevent the change `provider`: of several with one key, the newest stays."""
    from incident_lib.analysis import settle
    from incident_lib.database import DEMO, connecting, resolve_environment
    from incident_lib.model import PROVIDER, IndexKind, plural

    with connecting(resolve_environment(DEMO), "settle") as connection:
        settled = settle(connection, PROVIDER, IndexKind.FIXED)
    click.echo(
        f"demo: {plural(settled.ended, 'thread')} ended. Next: incident plan --env demo --change {PROVIDER.name}"
    )
    return 0


@demo.command()
def url() -> int:
    """Print the address of the demo's database; its server runs until `incident demo stop`."""
    from incident_lib.database import demo as server
    from incident_lib.progress import waiting

    with waiting("starting the embedded server …"):
        address = server.url()
    click.echo(address)
    return 0


@demo.command()
def stop() -> int:
    """Stop the embedded server; its databases stay."""
    from incident_lib.database import demo as server
    from incident_lib.progress import waiting

    with waiting("stopping the embedded server …"):
        stopped = server.stop()
    click.echo("The embedded server has stopped." if stopped else "The embedded server was not running.")
    return 0
