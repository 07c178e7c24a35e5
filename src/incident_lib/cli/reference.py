"""docs/cli.md, generated from the help of every command: `make reference`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from incident_lib import paths
from incident_lib.cli import SECTIONS, cli

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = paths.ROOT / "docs" / "cli.md"
WIDTH = 80


def reference() -> str:
    """The whole page."""
    top = click.Context(cli, info_name="incident", terminal_width=WIDTH, help_option_names=["-h", "--help"])
    parts = [Path(__file__).with_suffix(".md").read_text("utf-8")]
    for title, commands in SECTIONS.items():
        parts.append(f"## {title}\n")
        for command in commands:
            parts.extend(f"### {name}\n\n```text\n{text}\n```\n" for name, text in _helps(command, top))
    return "\n".join(parts)


def _helps(command: click.Command, parent: click.Context) -> Iterator[tuple[str, str]]:
    """The help of a command, then that of each of its commands."""
    context = click.Context(command, info_name=command.name, parent=parent)
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for each in command.commands.values():
            yield from _helps(each, context)


if __name__ == "__main__":
    paths.replace_text(FILE, reference())
