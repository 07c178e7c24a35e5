"""The command that rehearses the fix on a copy of an environment's threads: rehearse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from incident_lib.cli.answer import Answer
from incident_lib.cli.command import AnsweringCommand
from incident_lib.cli.options import BUDGET, CHANGE, ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from incident_lib.model import IndexChange, RehearsalReport, Table


@click.command(cls=AnsweringCommand)
@ENVIRONMENT
@CHANGE
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=1800.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the copy may take; 0: no limit.",
)
@BUDGET
def rehearse(name: str, change: IndexChange, timeout: float, budget: float) -> Answer:
    """Try the fix on a copy of the active threads. Ids are not copied; the environment is only read."""
    from incident_lib import experiments
    from incident_lib.database import resolve_environment
    from incident_lib.model import Refused
    from incident_lib.progress import bars
    from incident_lib.records import write_rehearsal

    with bars() as show:
        report = experiments.rehearse(
            resolve_environment(name),
            change,
            seconds=timeout,
            budget=budget,
            listener=lambda p: show("rehearsing", None, f"{p.step}: {p.phase}"),
        )
    write_rehearsal(report)
    is_command = report.next.startswith("incident ")
    act = change.wording.act
    started = f"{act[0].upper()}{act[1:]}"
    will = "will work" if report.works else "will not work"
    return Answer(
        f"{name}: {act} {will}. {report.why}{'' if is_command else f' {report.next}'}",
        report,
        environment=name,
        next=report.next if is_command else "",
        body=tuple(_body(report, change)),
        error=None if report.works else Refused(f"{started} will not work in {name!r}.", report.why, report.next),
    )


def _body(report: RehearsalReport, change: IndexChange) -> Iterator[Table | str]:
    """The results, the steps, and what would delay the change in the environment itself."""
    from incident_lib.model import (
        checks_table,
        format_bytes,
        format_duration,
        format_server,
        plural,
        rehearsal_table,
    )

    servers = " to ".join(map(format_server, (report.server_version, report.rehearsal_version)))
    act, row = change.wording.act, change.wording.row
    size = f"{plural(report.threads, row.removeprefix('active '))}, {format_bytes(report.bytes)}"
    build, clients = report.build_seconds_per_million, report.clients
    rollback = {True: "possible", False: "not possible", None: "not known"}[report.rollback.possible]
    yield f"\nCopied: {size}, from {servers}. Ids and texts of users were not copied."
    yield f"Build: {'unknown' if build is None else f'{build:.2f} s'} for a million {row}s."
    yield (
        f"Clients: {plural(clients.writes, 'call')} admitted; rejected before the end of the migration: "
        f"{_count(clients.rejected)}; after it: {_count(clients.rejected_after)}. "
        f"The longest call took {format_duration(clients.longest_stall)}."
    )
    yield f"Rollback: {rollback}. {report.rollback.why}"
    for phrase in report.not_reproduced:
        yield f"Not reproduced: {phrase}"
    if report.waits:
        yield checks_table(report.waits).titled(f"What would delay or prevent {act} in {report.environment} now")
    else:
        yield f"Nothing would delay {act} in {report.environment} now."
    yield rehearsal_table(report.steps).titled("Steps on the copy")


def _count(by_purpose: dict[str, int]) -> str:
    """`3 chats, 1 run`, or `none`."""
    from incident_lib.model import plural

    return ", ".join(plural(number, purpose) for purpose, number in sorted(by_purpose.items())) or "none"
