"""Commands that gather evidence: failures, watch."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from incident_lib.cli.options import ENVIRONMENT, TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from incident_lib.runs import RecoveryProgress


@click.command()
@click.argument(
    "logs",
    nargs=-1,
    required=True,
    metavar="LOG…",
    type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True),
)
@click.option("--format", "shape", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@click.option(
    "--log-format",
    "form",
    type=click.Choice(["stderr", "csvlog", "jsonlog", "export"]),
    help="What the logs are; export: Supabase's CSV or JSON. [default: recognised]",
)
@click.option(
    "--log-line-prefix",
    "prefix",
    metavar="TEXT",
    help="The server's log_line_prefix, for stderr. [default: whichever of the usual ones]",
)
@click.option("--time-zone", "zone", metavar="ZONE", help="The server's log_timezone, where `IST` may be several.")
@click.option("--env", "name", metavar="NAME", help="Also look at these families' threads there.")
@TIMEOUT
@click.option(
    "--out", type=click.Path(dir_okay=False), metavar="FILE", help="Write there instead, for its owner alone to read."
)
def failures(
    logs: tuple[str, ...],
    shape: str,
    form: str | None,
    prefix: str | None,
    zone: str | None,
    name: str | None,
    timeout: float,
    out: str | None,
) -> int:
    """Rejected inserts, from server logs: how many, of whom, when (csv and json with raw ids: not to be shared).

    LOG is PostgreSQL's stderr, csvlog or jsonlog, or an export of Supabase's log explorer; compressed by gzip or
    not; `-` is standard input. What several logs have is counted once.
    """
    from incident_lib.cli import rejections
    from incident_lib.database import reading, resolve_environment
    from incident_lib.logs import join_threads, read_rejections
    from incident_lib.progress import waiting

    with waiting(f"looking at {name} …"):
        environment = resolve_environment(name) if name else None
    with rejections.output(out):
        with _progress() as listener:
            found = read_rejections(logs, prefix=prefix, form=form, zone=zone, listener=listener)
        joined = None
        if environment:
            with (
                waiting(f"looking at {name} …"),
                reading(environment, seconds=timeout) as connection,
            ):
                joined = join_threads(connection, found)
        {"table": rejections.table, "csv": rejections.csv, "json": rejections.json}[shape](found, joined)
    if shape != "table" or out:
        click.echo(rejections.sentence(found), err=True)
    return 0


@contextmanager
def _progress() -> Iterator[Callable[[int, int | None], None]]:
    """A bar of the bytes that were read, on a terminal only."""
    from incident_lib.model import format_bytes
    from incident_lib.progress import bars

    def told(done: int, total: int | None) -> str:
        return f"{format_bytes(done)} of {format_bytes(total)}" if total else format_bytes(done)

    with bars() as show:
        yield lambda done, total: show("reading", done / total if total else None, told(done, total))


@click.command()
@ENVIRONMENT
@click.option(
    "--log",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Its server's log, to be followed.",
)
@click.option(
    "--every",
    type=click.FloatRange(min=0.1),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two looks.",
)
@click.option("--once", is_flag=True, help="One look, and no more.")
def watch(name: str, log: Path | None, every: float, once: bool) -> int:
    """Do users recover? Who has got a chat since the fix, and which attempts still fail; until Ctrl-C."""
    from contextlib import suppress
    from itertools import islice

    from incident_lib.database import demo
    from incident_lib.progress import bars
    from incident_lib.runs import watch_recovery

    was_running = demo.is_running()
    last = ""
    try:
        with suppress(KeyboardInterrupt), bars() as show:
            for seen in islice(watch_recovery(name, every, log), 1 if once else None):
                last = _told(seen)
                show(name, seen.recovery.share, last)
    finally:
        if not was_running:
            demo.stop()
    click.echo(f"{name}: {last}" if last else f"{name}: nothing was seen.")
    return 0


def _told(seen: RecoveryProgress) -> str:
    if seen.rejected is None:
        return str(seen.recovery)
    return f"{seen.recovery} Rejected since the fix: {seen.rejected:,}."
