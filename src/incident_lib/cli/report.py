"""The command `report`: the postmortem from run folders, and the report of a change from its records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from incident_lib.cli.answer import Answer
from incident_lib.cli.command import AnsweringCommand
from incident_lib.cli.options import NAME, ChangeName
from incident_lib.cli.terminal import Verbatim

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from incident_lib.model import IndexChange


@click.command(cls=AnsweringCommand)
@click.argument("runs", nargs=-1, metavar="[RUN…]", type=click.Path())
@click.option(
    "-e",
    "--env",
    "names",
    multiple=True,
    type=NAME,
    metavar="NAME",
    help="The incident of an environment; may be repeated. [default: INCIDENT_ENV]",
)
@click.option("--all", "everything", is_flag=True, help="The incident of all environments that have runs.")
@click.option(
    "--change",
    type=ChangeName(),
    metavar="FILE.toml",
    help="The report of a change of another table, in the one environment: before, steps, after.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="The HTML file; Markdown and its charts go beside it.  [default: that of the runs, or change.html]",
)
@click.option(
    "--notes",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="What people wrote; made from a template where it is missing, never changed. [default: data/postmortem.md]",
)
@click.option("--pdf", is_flag=True, help="Also as PDF (needs the extra `pdf`).")
@click.option("--appendix", is_flag=True, help="Print the appendix and the folded parts, too.")
def report(
    runs: tuple[str, ...],
    names: tuple[str, ...],
    everything: bool,
    change: IndexChange | None,
    out: str | None,
    notes: str | None,
    pdf: bool,
    appendix: bool,
) -> Answer:
    """Write the postmortem from the runs alone, or the report of a change. No database is needed.

    It is over the runs, or over the environments, that are named. INCIDENT_RUNS is the folder of all runs. The demo's
    invented families are in no report with those of others.
    """
    import os
    from pathlib import Path

    from incident_lib import paths
    from incident_lib.model import join_names
    from incident_lib.progress import waiting
    from incident_lib.report import choose_runs, read_change_report, read_runs, write_report

    if not (runs or names or everything):
        names = tuple(os.environ.get("INCIDENT_ENV", "").split())
    if change:
        _require_one(change, runs, names, everything=everything)
        made, out = read_change_report(names[0], change), out or "change.html"
        return _answer(f"{made.title}.", write_report(made, Path(out), pdf=pdf, appendix=appendix), out)
    out = out or os.path.relpath(paths.runs() / "postmortem.html")
    with waiting("writing the report …"):
        chosen = choose_runs([Path(folder) for folder in runs], names, everything=everything)
        post = read_runs(chosen, Path(notes) if notes else None)
        files = write_report(post, Path(out), pdf=pdf, appendix=appendix)
    text = f"The report is over {join_names([chapter.environment for chapter in post.chapters])}."
    return _answer(text, files, out, post.unfinished)


def _require_one(change: IndexChange, runs: tuple[str, ...], names: tuple[str, ...], *, everything: bool) -> None:
    """Refuse the report of a change that is in the incident's, or in several environments.

    Raises:
        UsageError: it is.
    """
    from incident_lib.model import CHANGES, UsageError

    if change.name in CHANGES:
        raise UsageError(
            f"The change {change.name} has no report of its own.",
            "It is a chapter of the incident's report.",
            "Leave out --change, or name the file of a change of another table.",
        )
    if runs or everything or len(names) != 1:
        raise UsageError(
            "The report of a change is about one environment.",
            f"{len(names)} environments are named, and runs or --all have no place in it.",
            "Name one: --env NAME",
        )


def _answer(text: str, files: list[Path], out: str, unfinished: Sequence[str] = ()) -> Answer:
    """The files, the page first, and what is still to be written."""
    import shlex

    from incident_lib.model import ReportResult

    return Answer(
        text,
        ReportResult(files=[str(file) for file in files], unfinished=list(unfinished)),
        next=f"incident open {shlex.quote(out)}",
        body=(Verbatim("\n".join(map(str, files))), *unfinished),
    )
