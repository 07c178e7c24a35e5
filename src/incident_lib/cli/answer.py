"""What a command answers: one sentence, tables for people, one JSON envelope for programs; and how it is printed."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, BinaryIO

import click

if TYPE_CHECKING:
    from incident_lib.cli.terminal import Page, Verbatim
    from incident_lib.model import IncidentError, Table


@dataclass(frozen=True)
class Answer:
    """What a command answers.

    Attributes:
        text: the answer in a sentence or two; it is printed first.
        result: for JSON; one of `model.RESULTS`.
        environment: the name of the only one that it is about.
        next: the command that follows.
        body: what people read after it.
        error: why the answer is no; it decides the exit code.
        exit_code: where no single error does.
        listed: the whole list, as CSV or, for JSON, as the objects of the result's last, empty list.
    """

    text: str
    result: Any
    environment: str | None = None
    next: str = ""
    body: tuple[Table | Verbatim | str, ...] = ()
    error: IncidentError | None = None
    exit_code: int = 0
    listed: BinaryIO | None = field(default=None, repr=False)

    def print(self, command: str, shape: str, *, pager: bool) -> None:
        """Print it on standard output.

        Args:
            command: the command that answers, for the envelope.
            shape: table, csv or json.
            pager: whether a long text may go through one.
        """
        if shape == "json":
            self._print_json(command)
        elif shape == "csv" and self.listed:
            from incident_lib.cli.terminal import print_file

            click.echo(self.text, err=True)
            print_file(self.listed)
        else:
            self._page().show(pager=pager)

    def _print_json(self, command: str) -> None:
        envelope = self._envelope(command)
        if self.listed is None:
            click.echo(envelope.encode())  # JSON is UTF-8, whatever the terminal's encoding is
            return
        from incident_lib.cli.terminal import print_file

        before, _, after = envelope.rpartition('": []')  # the key of the last empty list
        click.echo(f'{before}": ['.encode())
        print_file(self.listed)
        click.echo(f"\n  ]{after}".encode())

    def _envelope(self, command: str) -> str:
        import msgspec

        from incident_lib.model import Envelope, ErrorMessage, utc_now

        made = Envelope(
            command=command,
            environment=self.environment,
            at=utc_now(),
            exit_code=self.error.exit_code if self.error else self.exit_code,
            answer=self.text,
            next=self.next or None,
            result=self.result,
            error=ErrorMessage.of(self.error) if self.error else None,
        )
        contents = msgspec.json.encode(made)
        # for people, as jq prints it; one line for each reading of `watch`
        return (contents if command == "watch" else msgspec.json.format(contents, indent=1)).decode()

    def _page(self) -> Page:
        from incident_lib.cli.terminal import Page

        page = Page()
        page.paragraph(self.text, bold=True)
        if self.next:
            page.paragraph("Next:")
            page.verbatim(f"  {self.next}")
        for block in self.body:
            page.add(block)
        return page


def print_error(error: IncidentError) -> None:
    """Print what happened, why, and what to do next on standard error; as JSON where that was asked for."""
    if not json_is_asked_for(sys.argv):
        click.echo("\n".join(_message(error)), err=True)
        return
    import msgspec

    from incident_lib.model import ErrorMessage, Problem

    click.echo(msgspec.json.encode(Problem(exit_code=error.exit_code, error=ErrorMessage.of(error))), err=True)


def _message(error: IncidentError) -> list[str]:
    """The lines of a message; on a terminal they are wrapped between words, and not in a command to type."""
    if not sys.stderr.isatty():
        return [f"incident: {error}"]
    from incident_lib.cli.layout import printable, wrap

    width = shutil.get_terminal_size().columns
    lines = wrap(f"incident: {printable(error.what)}", width, hang="  ")
    text, colon, command = error.next.partition(": incident ")
    for label, part in (("why:  ", error.why), ("next: ", text + colon[:1])):
        first, *rest = wrap(printable(part), width - 2 - len(label)) or [""]
        lines += [f"  {label}{first}", *(" " * (2 + len(label)) + line for line in rest)]
    return [*lines, *([f"    incident {printable(command)}"] if colon else [])]


def json_is_asked_for(words: list[str]) -> bool:
    """Whether a command line has `--format json`: it may be one that cannot be parsed."""
    return "--format=json" in words or ("--format", "json") in pairwise(words)
