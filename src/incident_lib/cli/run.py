"""Commands over whole runs: run, report."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import click

from incident_lib.cli.options import SINCE, TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor

    from incident_lib.runs import FleetProgress


@click.command()
@click.option("--env", "names", multiple=True, metavar="NAME", help="An environment; may repeat. [default: demo]")
@click.option(
    "--confirm",
    multiple=True,
    metavar="NAME",
    help="An environment that may be changed; may repeat. Others are a dry run. [demo confirms itself]",
)
@click.option("--out", metavar="DIR", type=click.Path(file_okay=False), help="The folder of runs. [default: data/runs]")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="How many at a time.")
@click.option("--resume", is_flag=True, help="Only what is not done: leave alone what succeeded before.")
@click.option(
    "--env-timeout",
    type=click.FloatRange(min=1),
    default=3600.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the run of one environment may take.",
)
@click.option("--dask", metavar="ADDRESS", help="Run on a distributed cluster instead (the extra `fleet`).")
@click.option(
    "--log", default="", metavar="FILE", help="Server logs of the one environment, apart by spaces: who tried."
)
@SINCE
@TIMEOUT
def run(
    *,
    names: tuple[str, ...],
    confirm: tuple[str, ...],
    out: str | None,
    jobs: int,
    resume: bool,
    env_timeout: float,
    dask: str | None,
    log: str,
    purpose_since: str,
    timeout: float,
) -> int:
    """The main job: the notebooks for each environment, then the postmortem over all of them."""
    from incident_lib import paths
    from incident_lib.cli import terminal
    from incident_lib.database import demo
    from incident_lib.runs import LocalProcesses, run_fleet

    if out:
        os.environ["INCIDENT_RUNS"] = os.path.abspath(out)  # noqa: PTH100 - the kernels read it
    os.environ["INCIDENT_TIMEOUT"] = f"{timeout:f}"  # so do they this
    was_running = demo.is_running()
    chosen = names or ("demo",)
    confirmed = tuple(dict.fromkeys((*confirm, *(("demo",) if "demo" in chosen else ()))))
    with _lines() as listener:
        ended = run_fleet(
            chosen,
            confirm=confirmed,
            purpose_since=purpose_since,
            log=log,
            resume=resume,
            timeout=env_timeout,
            executor=_cluster(dask) if dask else LocalProcesses(jobs),
            listener=listener,
        )
    if not was_running:
        demo.stop()
    terminal.runs(ended)
    for one in ended:
        if one.error:
            click.echo(f"incident: {one.error}", err=True)
    click.echo(f"Report: {os.path.relpath(paths.runs() / 'postmortem.html')}")
    return max({"failed": 3, "refused": 1}.get(one.status, 0) for one in ended)


def _cluster(address: str) -> Executor:
    """The executor of a distributed cluster."""
    from incident_lib.model import Failed, UsageError

    try:
        from distributed import Client
    except ImportError:
        raise UsageError(
            "--dask needs the extra `fleet`.", "The package distributed is not installed.", "pip install -e '.[fleet]'"
        ) from None
    try:
        return cast("Executor", Client(address, timeout=10).get_executor(pure=False))
    except (OSError, TimeoutError, ValueError):
        raise Failed("The cluster cannot be reached.", f"No scheduler answers at {address}.", "Is it up?") from None


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN…", type=click.Path())
@click.option(
    "--out",
    type=click.Path(dir_okay=False),
    default="postmortem.html",
    show_default=True,
    metavar="FILE",
    help="The HTML file; Markdown and its charts go beside it.",
)
@click.option(
    "--notes",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="What people wrote; made from a template where it is missing, never changed. [default: data/postmortem.md]",
)
@click.option("--pdf", is_flag=True, help="As a PDF, too (the extra `pdf`).")
def report(runs: tuple[str, ...], out: str, notes: str | None, pdf: bool) -> int:
    """The postmortem from the folders of runs alone; no database needed."""
    from pathlib import Path

    from incident_lib.progress import waiting
    from incident_lib.report import read_runs

    with waiting("writing the report …"):
        post = read_runs([Path(folder) for folder in runs], Path(notes) if notes else None)
        files = post.write(Path(out), pdf=pdf)
    for file in files:
        click.echo(file)
    for line in post.unfinished:
        click.echo(line, err=True)
    return 0


@contextmanager
def _lines() -> Iterator[Callable[[FleetProgress], None]]:
    """A progress line for each environment, on a terminal only."""
    from incident_lib.progress import bars

    with bars() as show:
        yield lambda seen: show(seen.environment, seen.share, seen.notebook)
