"""The command `report`: the postmortem from run folders."""

from __future__ import annotations

import click

from incident_lib.cli.answer import Answer
from incident_lib.cli.command import AnsweringCommand
from incident_lib.cli.options import NAME
from incident_lib.cli.terminal import Verbatim


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
@click.option("--pdf", is_flag=True, help="Also as PDF (needs the extra `pdf`).")
@click.option("--appendix", is_flag=True, help="Print the appendix and the folded parts, too.")
def report(
    runs: tuple[str, ...],
    names: tuple[str, ...],
    everything: bool,
    out: str,
    notes: str | None,
    pdf: bool,
    appendix: bool,
) -> Answer:
    """Write the postmortem from the runs alone. No database is needed.

    It is over the runs, or over the environments, that are named. INCIDENT_RUNS is the folder of all runs. The demo's
    invented families are in no report with those of others.
    """
    import os
    import shlex
    from pathlib import Path

    from incident_lib.model import ReportResult, join_names
    from incident_lib.progress import waiting
    from incident_lib.report import choose_runs, read_runs, write_report

    with waiting("writing the report …"):
        if not (runs or names or everything):
            names = tuple(os.environ.get("INCIDENT_ENV", "").split())
        chosen = choose_runs([Path(folder) for folder in runs], names, everything=everything)
        post = read_runs(chosen, Path(notes) if notes else None)
        files = write_report(post, Path(out), pdf=pdf, appendix=appendix)
    return Answer(
        f"The report is over {join_names([chapter.environment for chapter in post.chapters])}.",
        ReportResult(files=[str(file) for file in files], unfinished=list(post.unfinished)),
        next=f"incident open {shlex.quote(out)}",
        body=(Verbatim("\n".join(map(str, files))), *post.unfinished),
    )
