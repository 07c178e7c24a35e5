"""The options that several commands share."""

import click

ENVIRONMENT = click.option(
    "--env", "name", required=True, metavar="NAME", help="The environment; `demo` needs no database of yours."
)
CONFIRM = click.option("--confirm", metavar="NAME", default="", help="The environment's name once more.")
TIMEOUT = click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    envvar="INCIDENT_TIMEOUT",
    metavar="SECONDS",
    help="How long a read-only statement may take; 0: no limit.",
)
SINCE = click.option("--purpose-since", default="", metavar="TIME", help="When the column purpose came, ISO 8601.")
PLAIN = click.option(
    "--plain-index",
    "plain",
    is_flag=True,
    help="Build the index without the tablespace, storage parameters and INCLUDE columns of the one that it replaces.",
)
BUDGET = click.option(
    "--budget",
    type=click.FloatRange(min=0.1),
    default=3600.0,
    show_default=True,
    metavar="SECONDS",
    help="How long all of it may take, waiting for others included. It ends within five seconds more.",
)
