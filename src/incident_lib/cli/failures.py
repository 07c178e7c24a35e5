"""The command `failures`: the rejected inserts in server logs."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from incident_lib.cli.answer import Answer
from incident_lib.cli.command import ListingCommand, chosen_format
from incident_lib.cli.options import NAME, SINCE, TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@click.command(cls=ListingCommand)
@click.argument(
    "logs",
    nargs=-1,
    required=True,
    metavar="LOG…",
    type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True),
)
@click.option(
    "--log-format",
    "form",
    type=click.Choice(["stderr", "csvlog", "jsonlog", "lines", "json", "csv", "yaml"]),
    help="PostgreSQL's own format, or what carries its lines. [default: recognised, wherever it changes]",
)
@click.option(
    "--log-line-prefix",
    "prefix",
    metavar="TEXT",
    help="The server's log_line_prefix. [default: whatever stands before most lines]",
)
@click.option("--time-zone", "zone", metavar="ZONE", help="The server's log_timezone, where `IST` may be several.")
@click.option("-e", "--env", "name", type=NAME, metavar="NAME", help="Also read the threads of these families there.")
@SINCE
@TIMEOUT
@click.option("--explain", is_flag=True, help="Say what each log is and what was not understood, without any id.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write to this file instead; only its owner can read it.",
)
def failures(
    *,
    logs: tuple[str, ...],
    form: str | None,
    prefix: str | None,
    zone: str | None,
    name: str | None,
    purpose_since: str,
    timeout: float,
    explain: bool,
    out: str | None,
) -> Answer | int:
    """Rejected inserts from server logs. As csv and json with raw ids: do not share.

    LOG is PostgreSQL's stderr, csvlog or jsonlog, as it is or as kubectl, Docker, syslog, a cloud or a log service has
    it, in text, JSON, CSV or YAML, compressed or archived or not; `-` is standard input. An entry that several logs
    have is counted once. Inserts that were rejected before the column purpose came, or because of the provider (known
    with --env), are not the incident's, and not counted.
    """
    from incident_lib.cli import recognition, rejections
    from incident_lib.database import purpose_since as known_purpose_since
    from incident_lib.database import reading, resolve_environment
    from incident_lib.logs import join_threads, read_rejections
    from incident_lib.model import UsageError, parse_timestamp
    from incident_lib.progress import waiting

    if explain and (chosen_format() != "table" or out):
        raise UsageError("--explain prints text only.", "It has no result.", "Leave out --format and --out.")
    environment, since = None, parse_timestamp(purpose_since)
    if name:
        with waiting(f"reading {name} …"):
            environment = resolve_environment(name)
            since = known_purpose_since(environment, purpose_since)
    with rejections.output(out) as file:
        with _progress() as listener:
            found = read_rejections(logs, prefix=prefix, form=form, zone=zone, listener=listener)
        if explain:
            recognition.print_explained(found.coverages)
        recognition.check_read(found)
        if explain:
            return 0
        found, joined = found.since(since), None
        if environment:
            with waiting(f"reading {name} …"), reading(environment, seconds=timeout) as connection:
                joined = join_threads(connection, found)
            found = joined.rejections
        answer = rejections.answer(found, joined, shape=chosen_format())
        if file is None:
            return answer
        rejections.write(answer, file)
    if answer.error:
        raise answer.error
    return 0


@contextmanager
def _progress() -> Iterator[Callable[[int, int | None], None]]:
    """A bar of the bytes that were read, on a terminal only."""
    from incident_lib.model import format_bytes
    from incident_lib.progress import bars

    def note(done: int, total: int | None) -> str:
        return f"{format_bytes(done)} of {format_bytes(total)}" if total else format_bytes(done)

    with bars() as show:
        yield lambda done, total: show("reading", done / total if total else None, note(done, total))
