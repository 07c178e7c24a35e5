"""The options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from incident_lib.model import IndexChange


class EnvironmentName(click.ParamType[str]):
    """The name of an environment; a shell completes it."""

    name = "name"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002 - click's signature
        """The names that resolve here and begin so, and how each resolves."""
        from click.shell_completion import CompletionItem

        from incident_lib.database import known_environments

        return [CompletionItem(name, help=how) for name, how in known_environments() if name.startswith(incomplete)]


class ChangeName(click.ParamType["IndexChange"]):
    """The name of a change, or of a file that describes one; a shell completes both."""

    name = "change"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> IndexChange:  # noqa: ARG002 - click's signature
        """The change."""
        from incident_lib.database import named_change

        return named_change(value) if isinstance(value, str) else value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002 - click's signature
        """The incident's changes, else files."""
        from click.shell_completion import CompletionItem

        from incident_lib.model import CHANGES

        named = [CompletionItem(name) for name in CHANGES if name.startswith(incomplete)]
        return named or [CompletionItem(incomplete, type="file")]


NAME = EnvironmentName()
ENVIRONMENT = click.option(
    "-e",
    "--env",
    "name",
    required=True,
    type=NAME,
    envvar="INCIDENT_ENV",
    metavar="NAME",
    help="The environment; `demo` needs no database of yours.  [default: INCIDENT_ENV]",
)
CONFIRM = click.option("--confirm", type=NAME, metavar="NAME", default="", help="The environment's name once more.")
CHANGE = click.option(
    "--change",
    "change",
    type=ChangeName(),
    default="purpose",
    show_default=True,
    metavar="purpose|provider|FILE.toml",
    help="Which change of which unique index.",
)
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
