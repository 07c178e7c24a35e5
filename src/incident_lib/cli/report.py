"""The command `report`: the postmortem from run folders."""

from __future__ import annotations

import click


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
@click.option("--pdf", is_flag=True, help="Also as PDF (needs the extra `pdf`).")
def report(runs: tuple[str, ...], out: str, notes: str | None, pdf: bool) -> int:
    """Write the postmortem from the folders of runs alone; no database is needed."""
    from pathlib import Path

    from incident_lib.progress import waiting
    from incident_lib.report import read_runs, write_report

    with waiting("writing the report …"):
        post = read_runs([Path(folder) for folder in runs], Path(notes) if notes else None)
        files = write_report(post, Path(out), pdf=pdf)
    for file in files:
        click.echo(file)
    for line in post.unfinished:
        click.echo(line, err=True)
    return 0
