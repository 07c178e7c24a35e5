"""The command that rehearses the fix on a copy of an environment's threads: rehearse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from incident_lib.cli.options import BUDGET, ENVIRONMENT
from incident_lib.model import Refused

if TYPE_CHECKING:
    from incident_lib.model import RehearsalReport


@click.command()
@ENVIRONMENT
@click.option("--format", "shape", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=1800.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the copy may take; 0: no limit.",
)
@BUDGET
def rehearse(name: str, shape: str, timeout: float, budget: float) -> int:
    """Try the fix on a copy of the threads in the unique indexes, without ids. The environment is only read."""
    from incident_lib import experiments
    from incident_lib.database import resolve_environment
    from incident_lib.progress import bars
    from incident_lib.records import to_json, write_rehearsal

    with bars() as show:
        report = experiments.rehearse(
            resolve_environment(name),
            seconds=timeout,
            budget=budget,
            listener=lambda p: show(p.step, p.share, p.phase),
        )
    if shape == "json":
        click.echo(to_json(report), nl=False)
    else:
        _print(report)
    write_rehearsal(report)
    if not report.works:
        raise Refused(f"The fix will not work in {name!r}.", report.why, report.next)
    click.echo(f"{name}: the fix will work. {report.why} Next: {report.next}", err=shape == "json")
    return 0


def _print(report: RehearsalReport) -> None:
    """Print the steps, the results, and what would delay the fix in the environment itself."""
    from incident_lib.cli.terminal import print_line, print_table
    from incident_lib.model import checks_table, format_bytes, format_duration, format_server, plural, rehearsal_table

    print_table(rehearsal_table(report.steps))
    servers = " to ".join(map(format_server, (report.server_version, report.rehearsal_version)))
    size = f"{plural(report.threads, 'thread')}, {format_bytes(report.bytes)}"
    build, clients = report.build_seconds_per_million, report.clients
    rollback = {True: "possible", False: "not possible", None: "not known"}[report.rollback.possible]
    print_line(f"Copied: {size}, from {servers}. Ids and texts of users were not copied.")
    print_line(f"Build: {'unknown' if build is None else f'{build:.2f} s'} for a million active threads.")
    print_line(
        f"Clients: {plural(clients.writes, 'call')} admitted; rejected before the end of the migration: "
        f"{_count(clients.rejected)}; after it: {_count(clients.rejected_after)}. "
        f"The longest call took {format_duration(clients.longest_stall)}."
    )
    print_line(f"Rollback: {rollback}. {report.rollback.why}")
    for phrase in report.not_reproduced:
        print_line(f"Not reproduced: {phrase}")
    if report.waits:
        print_line(f"What would delay or prevent the fix in {report.environment} now:")
        print_table(checks_table(report.waits))
    else:
        print_line(f"Nothing would delay the fix in {report.environment} now.")


def _count(by_purpose: dict[str, int]) -> str:
    """`3 chats, 1 run`, or `none`."""
    from incident_lib.model import plural

    return ", ".join(plural(number, purpose) for purpose, number in sorted(by_purpose.items())) or "none"
