"""The command that tests the fix plan's claims: claims."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from incident_lib.cli.answer import Answer
from incident_lib.cli.command import AnsweringCommand
from incident_lib.cli.terminal import Verbatim

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from incident_lib.model import ClaimsReport


@click.command(cls=AnsweringCommand)
@click.option(
    "--out",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="The file to write. [default: data/runs/claims.json]",
)
def claims(out: str | None) -> Answer:
    """Test the fix plan's claims, while clients write.

    Only scratch databases of the embedded server are changed. The exit code is 0 whatever the verdicts are.
    """
    from pathlib import Path

    from incident_lib.model import claims_table
    from incident_lib.progress import bars
    from incident_lib.records import claims_file

    file = Path(out) if out else claims_file()
    with bars() as show:
        report = test_claims(file, show)
    return Answer(
        summarize(report),
        report,
        body=(
            claims_table(report.claims).only("claim", "verdict", "result"),
            "\nWritten:",
            Verbatim(f"  {file}"),
        ),
    )


def test_claims(file: Path, show: Callable[[str, float | None, str], None]) -> ClaimsReport:
    """Test the claims, show the progress, and write the file.

    Raises:
        Failed: the embedded server cannot be started or reached, or the file cannot be written.
    """
    from incident_lib.experiments import run_claims
    from incident_lib.records import write_claims

    report = run_claims(listener=lambda name, share: show("claims", share, name))
    write_claims(report, file)
    return report


def summarize(report: ClaimsReport) -> str:
    """How many claims have each verdict, and how long the test took: two sentences."""
    from incident_lib.model import summarize_verdicts

    return f"{summarize_verdicts(claim.verdict for claim in report.claims)} Tested in {report.seconds:.0f} s."
