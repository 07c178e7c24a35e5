"""Commands that answer: the options that all of them take, and what becomes of their answers."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import click

from incident_lib.cli.answer import Answer
from incident_lib.cli.layout import wrap
from incident_lib.cli.streams import discard_output

_KEY = "incident_lib.output"
_NAMES = ("shape", "quiet", "verbose", "no_pager")


@dataclass(frozen=True)
class Output:
    """How an answer is printed, as far as the command line says."""

    shape: str | None = None
    quiet: bool = False
    verbose: bool = False
    no_pager: bool = False

    def begin(self) -> None:
        """Show no progress, or show statements, from now on."""
        if self.quiet:
            os.environ["INCIDENT_PROGRESS"] = "off"
        if self.verbose:
            import logging

            logger = logging.getLogger("incident_lib.statements")
            logger.setLevel(logging.DEBUG)
            logger.addHandler(logging.StreamHandler())


def chosen_format() -> str:
    """The --format of the running command: table, csv or json."""
    made: Output = click.get_current_context().meta[_KEY]
    return made.shape or "table"


def note(text: str) -> None:
    """Print a sentence for people on standard error, before the answer: not with --quiet, nor beside JSON."""
    made: Output = click.get_current_context().meta[_KEY]
    if not made.quiet and chosen_format() != "json":
        columns = shutil.get_terminal_size().columns if sys.stderr.isatty() else len(text)
        click.echo("\n".join(wrap(text, columns)), err=True)


def _common(formats: tuple[str, ...]) -> list[click.Parameter]:
    """The options that every command takes which answers."""
    return [
        click.Option(
            ["--format", "shape"], type=click.Choice(formats), help="What standard output holds.  [default: table]"
        ),
        click.Option(["-q", "--quiet"], is_flag=True, help="Print errors only."),
        click.Option(["-v", "--verbose"], is_flag=True, help="Print each SQL statement and its time, too."),
        click.Option(["--no-pager"], is_flag=True, help="Print a long answer without a pager."),
    ]


class AnsweringCommand(click.Command):
    """A command whose function returns an answer, several one after the other, or an exit code."""

    formats: tuple[str, ...] = ("table", "json")

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own options, then those of all commands that answer, then --help."""
        *own, last = super().get_params(ctx)
        return [*own, *_common(self.formats), last]

    def invoke(self, ctx: click.Context) -> int:
        """Run it, print what it answers, and return the exit code; raises the error of an answer that is no."""
        outer = ctx.meta.get(_KEY, Output())  # of a group, whose options may stand before the command's name
        made = Output(**{name: ctx.params.pop(name) or getattr(outer, name) for name in _NAMES})
        ctx.meta[_KEY] = made
        made.begin()
        result = super().invoke(ctx)
        code = 0
        for answer in result if isinstance(result, Iterator) else [result]:
            if not isinstance(answer, Answer):
                return int(answer or 0)
            is_read = True
            try:
                if not made.quiet:
                    answer.print(ctx.command_path.partition(" ")[2], chosen_format(), pager=not made.no_pager)
            except BrokenPipeError:  # its reader has ended; the exit code is the answer's
                discard_output()
                is_read = False
            if answer.error:
                raise answer.error
            code = answer.exit_code
            if not is_read:
                break
        return code


class ListingCommand(AnsweringCommand):
    """A command that answers, and has a list that can be written as CSV."""

    formats = ("table", "csv", "json")


class AnsweringGroup(AnsweringCommand, click.Group):
    """A group that answers where none of its commands is named."""
