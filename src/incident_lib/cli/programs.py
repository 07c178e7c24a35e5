"""The commands that start other programs: open, lab, psql."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from incident_lib.cli.options import ENVIRONMENT

if TYPE_CHECKING:
    from pathlib import Path

LAUNCH_SECONDS = 3.0  # what has not failed by then has opened the page


@click.command("open")
@click.argument("file", default="", metavar="[REPORT]", type=click.Path(dir_okay=False))
def open_(file: str) -> int:
    """Open a report in the browser. By default that of the latest `incident run`."""
    from pathlib import Path

    from incident_lib import paths
    from incident_lib.model import Failed, UsageError

    page = Path(file) if file else paths.runs() / "postmortem.html"
    if not page.is_file():
        raise UsageError(
            f"There is no report {os.path.relpath(page)}.",
            "No run has written one there.",
            "Write one: incident run, or incident report --all",
        )
    if _launch(page) != 0:
        raise Failed(
            "No browser could be started.",
            "This machine has no program that opens a page, or it failed.",
            f"Open it yourself, or copy it to where there is one: {os.path.relpath(page)}",
        )
    return 0


def _launch(page: Path) -> int:
    """Open a page in the browser: the exit code of the program that does; 0 where it still runs after a while."""
    from threading import Thread

    codes: list[int] = []
    opening = Thread(target=lambda: codes.append(click.launch(str(page.resolve()), wait=True)), daemon=True)
    opening.start()
    opening.join(LAUNCH_SECONDS)
    return codes[0] if codes else 0


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, metavar="[JUPYTER OPTION…]", type=click.UNPROCESSED)
def lab(words: tuple[str, ...]) -> int:
    """Open the notebooks in JupyterLab. Further options are JupyterLab's."""
    from importlib.util import find_spec

    from incident_lib import paths
    from incident_lib.model import UsageError

    if not find_spec("jupyterlab"):
        raise UsageError("JupyterLab is not installed here.", "It is no part of the library.", "pip install jupyterlab")
    folder = f"--notebook-dir={paths.NOTEBOOKS}"
    os.execv(sys.executable, [sys.executable, "-m", "jupyter", "lab", folder, *words])  # noqa: S606 - no shell is meant


@click.command(context_settings={"ignore_unknown_options": True})
@ENVIRONMENT
@click.option("--write", is_flag=True, help="Let this session write.")
@click.argument("words", nargs=-1, metavar="[PSQL OPTION…]", type=click.UNPROCESSED)
def psql(name: str, write: bool, words: tuple[str, ...]) -> int:
    """Open psql in an environment. It only reads, unless --write; further options are psql's."""
    from shutil import which

    from incident_lib.database import libpq_variables, resolve_environment
    from incident_lib.model import UsageError

    program = which("psql")
    if not program:
        raise UsageError(
            "psql is not installed here.",
            "It is PostgreSQL's own client; this project does not bring it.",
            "Install it: apt-get install postgresql-client, or brew install libpq",
        )
    variables = libpq_variables(resolve_environment(name), read_only=not write)
    os.execve(program, [program, *words], variables)  # noqa: S606 - no shell is meant
