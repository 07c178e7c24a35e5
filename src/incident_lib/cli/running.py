"""Commands over whole runs: run, report."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from incident_lib.cli.options import SINCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from incident_lib.runner import Step


@click.command()
@click.option("--env", "names", multiple=True, metavar="NAME", help="An environment; may repeat. [default: demo]")
@click.option(
    "--confirm",
    multiple=True,
    metavar="NAME",
    help="An environment that may be changed; may repeat. Others are a dry run. [demo confirms itself]",
)
@click.option("--out", metavar="DIR", type=click.Path(file_okay=False), help="The folder of runs. [default: data/runs]")
@SINCE
def run(names: tuple[str, ...], confirm: tuple[str, ...], out: str | None, purpose_since: str) -> int:
    """The main job: the notebooks for each environment, then the postmortem over all of them."""
    from incident_lib import demo, paths, runner

    if out:
        os.environ["INCIDENT_RUNS"] = os.path.abspath(out)  # noqa: PTH100 - the kernels read it
    was_running = demo.is_running()
    chosen = names or ("demo",)
    confirmed = tuple(dict.fromkeys((*confirm, *(("demo",) if "demo" in chosen else ()))))
    with _cells() as listener:
        ended = runner.run(chosen, confirm=confirmed, purpose_since=purpose_since, listener=listener)
    if not was_running:
        demo.stop()
    for one in ended:
        click.echo(f"{one.environment}: {one.status} in {one.seconds:.1f} s, {os.path.relpath(one.folder)}")
        if one.error:
            click.echo(f"incident: {one.error}", err=True)
    _print_verdicts()
    click.echo(f"Report: {os.path.relpath(paths.runs() / 'postmortem.html')}")
    codes = [one.error.exit_code if one.error else 0 for one in ended]
    return max(codes)


def _print_verdicts() -> None:
    from incident_lib import record, report

    for line in report.read(record.latest()).verdicts():
        click.echo(line)


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
def report(runs: tuple[str, ...], out: str) -> int:
    """The postmortem from the folders of runs alone; no database needed."""
    from pathlib import Path

    from incident_lib.report import read

    for file in read([Path(folder) for folder in runs]).write(Path(out)):
        click.echo(file)
    return 0


@contextmanager
def _cells() -> Iterator[Callable[[Step], None]]:
    """A bar of the cells of each notebook, on a terminal only."""
    from incident_lib.terminal import bars

    with bars() as show:
        yield lambda step: show(f"{step.environment}/{step.notebook}", step.done / step.total, "")
