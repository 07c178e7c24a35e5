"""The command that tests the fix plan's claims."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@click.command()
@click.option("--format", "shape", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where to write what came out. [default: data/runs/claims.json]",
)
def claims(shape: str, out: Path | None) -> int:
    """Test the fix plan's claims, with writers, on scratch databases of the embedded server.

    No environment is touched. Whatever the verdicts are, the exit code is 0: they are what was found.
    """
    from incident_lib.cli import terminal
    from incident_lib.experiments import claims_contents, claims_file, claims_json, run_claims, write_claims

    file = out or claims_file()
    with _progress() as listener:
        found = claims_contents(run_claims(listener=listener))
    write_claims(found, file)
    if shape == "json":
        click.echo(claims_json(found), nl=False)
    else:
        terminal.claims(found["claims"])
        click.echo(f"Tested in {found['seconds']} s: {file}")
    return 0


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """One bar over all of it, on a terminal only."""
    from incident_lib.progress import bars

    with bars() as show:
        yield lambda what, share: show("claims", share, what)
