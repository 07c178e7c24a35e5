"""The command that rehearses the fix on a copy, and changes no environment: rehearse."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from incident_lib.cli.options import ENVIRONMENT
from incident_lib.model import Refused

if TYPE_CHECKING:
    from incident_lib.experiments import Rehearsal


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
def rehearse(name: str, shape: str, timeout: float) -> int:
    """Try the fix on a copy of what the unique indexes see, without ids; reads the environment, and changes nothing there."""
    from incident_lib.database import resolve_environment
    from incident_lib.experiments import rehearse as try_it
    from incident_lib.progress import bars

    with bars() as show:
        done = try_it(resolve_environment(name), seconds=timeout, listener=lambda p: show(p.step, p.share, p.phase))
    if shape == "json":
        click.echo(json.dumps(done.as_record(), indent=1, ensure_ascii=False))
    else:
        _show(done)
    done.keep()
    if not done.verdict.works:
        raise Refused(f"The fix will not work in {name!r}.", done.verdict.why, done.verdict.next)
    click.echo(f"{name}: it will work. {done.verdict.why} Next: {done.verdict.next}", err=shape == "json")
    return 0


def _show(done: Rehearsal) -> None:
    """Print each step, what it showed, and what the environment itself has in store."""
    from incident_lib.cli import terminal
    from incident_lib.model import format_bytes, plural

    for step in done.steps:
        click.echo(f"{step.name}: {step.outcome}, {step.seconds:.3f} s")
    servers = " to ".join(f"{v // 10000}.{v % 10000}" for v in (done.server_version, done.rehearsal_version))
    copied = f"{plural(done.threads, 'thread')}, {format_bytes(done.bytes)}"
    build, clients = done.build_seconds_per_million, done.clients
    click.echo(f"\nCopied: {copied}, from PostgreSQL {servers}; ids and what users wrote stayed there.")
    click.echo(f"Build: {f'{build:.2f} s' if build else 'not known'} for a million active threads.")
    click.echo(
        f"Clients: {clients.writes:,} calls admitted, {_count(clients.rejected)} rejected until it had ended, "
        f"{_count(clients.rejected_after)} afterwards; the longest took {clients.longest_stall * 1000:.0f} ms."
    )
    word = {True: "possible", False: "not possible", None: "not known"}[done.rollback.possible]
    click.echo(f"Rollback: {word}. {done.rollback.why}")
    for lacking in done.not_reproduced:
        click.echo(f"Not reproduced: {lacking}")
    click.echo(f"In {done.environment} now: {'' if done.waits else 'nobody would make it wait.'}")
    if done.waits:
        terminal.checks(done.waits)


def _count(by_purpose: dict[str, int]) -> str:
    """`3 chats, 1 run`, or `none`."""
    from incident_lib.model import plural

    return ", ".join(plural(number, purpose) for purpose, number in sorted(by_purpose.items())) or "none"
