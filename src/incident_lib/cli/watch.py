"""The command `watch`: do users recover?"""

from __future__ import annotations

from pathlib import Path

import click

from incident_lib.cli.options import ENVIRONMENT


@click.command()
@ENVIRONMENT
@click.option(
    "--log",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
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
def watch(name: str, log: Path | None, every: float, once: bool) -> int:
    """Which families have got a chat since the fix, and which inserts are still rejected; until Ctrl-C."""
    from contextlib import suppress
    from itertools import islice

    from incident_lib.database import demo
    from incident_lib.progress import bars
    from incident_lib.runs import watch_recovery

    was_running = demo.is_running()
    last = ""
    try:
        with suppress(KeyboardInterrupt), bars() as show:
            for progress in islice(watch_recovery(name, every, log), 1 if once else None):
                last = str(progress)
                show(name, progress.recovery.share, last)
    finally:
        if not was_running:
            demo.stop()
    click.echo(f"{name}: {last or 'nothing was read.'}")
    return 0
