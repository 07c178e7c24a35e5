"""The commands of the embedded database: demo reset, url, stop."""

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
