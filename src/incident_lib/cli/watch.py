"""The command `watch`: do users recover?"""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

import click

from incident_lib.cli.answer import Answer
from incident_lib.cli.command import AnsweringCommand, chosen_format
from incident_lib.cli.options import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from incident_lib.runs import RecoveryProgress


@click.command(cls=AnsweringCommand)
@ENVIRONMENT
@click.option(
    "--log",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="The log of its server; what is added to it is read, too.",
)
@click.option(
    "--every",
    type=click.FloatRange(min=0.1),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="The time between two readings.",
)
@click.option("--once", is_flag=True, help="Read once, then end.")
def watch(name: str, log: str | None, every: float, once: bool) -> Iterator[Answer]:
    """How many families have got a chat since the fix. Until Ctrl-C.

    As JSON, each reading is a line.
    """
    from pathlib import Path

    from incident_lib.database import demo
    from incident_lib.progress import bars
    from incident_lib.runs import watch_recovery

    was_running = demo.is_running()
    readings = islice(watch_recovery(name, every, Path(log) if log else None), 1 if once else None)
    last = None
    try:
        with suppress(KeyboardInterrupt):
            if once or chosen_format() == "json":
                for reading in readings:
                    yield _answer(name, reading)
                return
            with bars() as show:
                for last in readings:
                    show(name, last.recovery.share, str(last))
    finally:
        if not was_running:
            demo.stop()
    if last:
        yield _answer(name, last)


def _answer(name: str, reading: RecoveryProgress) -> Answer:
    from incident_lib.model import WatchResult

    recovery = reading.recovery
    return Answer(
        f"{name}: {reading}",
        WatchResult(
            blocked=recovery.blocked, recovered=recovery.recovered, since=recovery.since, rejected=reading.rejected
        ),
        environment=name,
    )
