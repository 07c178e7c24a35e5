"""The command that tests the fix plan's claims: claims."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--format", "shape", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The file to write. [default: data/runs/claims.json]",
)
def claims(shape: str, out: Path | None) -> int:
    """Test the fix plan's claims on scratch databases of the embedded server, while clients write.

    Only scratch databases are changed. The exit code is 0 whatever the verdicts are.
    """
    from incident_lib.cli import terminal
    from incident_lib.experiments import run_claims
    from incident_lib.model import claims_table, summarize_verdicts
    from incident_lib.progress import bars
    from incident_lib.records import claims_file, to_json, write_claims

    file = out or claims_file()
    with bars() as show:
        report = run_claims(listener=lambda name, share: show("claims", share, name))
    write_claims(report, file)
    if shape == "json":
        click.echo(to_json(report), nl=False)
    else:
        terminal.print_table(claims_table(report.claims), columns=("claim", "verdict", "result"))
        terminal.print_line(summarize_verdicts(claim.verdict for claim in report.claims))
        terminal.print_line(f"Tested in {report.seconds} s. Written: {file}")
    return 0
