"""The command `verify`: has the fix been applied?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from incident_lib.cli.answer import Answer
from incident_lib.cli.command import AnsweringCommand
from incident_lib.cli.investigate import standby_age
from incident_lib.cli.options import CHANGE, CONFIRM, ENVIRONMENT
from incident_lib.cli.preflight import not_enforced

if TYPE_CHECKING:
    from incident_lib.analysis import Standby
    from incident_lib.database import Environment
    from incident_lib.model import Check, IndexChange


PROBE_BUDGET = click.option(
    "--budget",
    type=click.FloatRange(min=0.1),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="How long all of it may take. It ends within five seconds more.",
)


@click.command(cls=AnsweringCommand)
@ENVIRONMENT
@CHANGE
@click.option("--probe", "probed", is_flag=True, help="Also send what a client sends, rolled back. Needs --confirm.")
@CONFIRM
@PROBE_BUDGET
@click.option("--allow-standby", is_flag=True, help="Verify a standby, too: it answers for the past.")
def verify(name: str, change: IndexChange, probed: bool, confirm: str, budget: float, allow_standby: bool) -> Answer:
    """Is only the fixed index enforced? Exit code 0 only then."""
    from incident_lib.analysis import read_standby
    from incident_lib.database import bounded, read_catalog, read_table, reading, resolve_environment
    from incident_lib.migration import enforced_alone, require_confirm, verify_catalog
    from incident_lib.model import ChangeDefinition, IndexKind, VerifyResult, change_command, checks_table
    from incident_lib.progress import waiting

    if probed:
        _require_clients(change)
        require_confirm(name, confirm, "A probe writes, and", change=change.name)
    environment = resolve_environment(name)
    with waiting(f"reading {name} …"), bounded(budget):
        with reading(environment) as connection:
            standby = read_standby(connection)
            read_table(connection, change)
            catalog = read_catalog(connection, change)
        _require_primary(standby, probed=probed, allowed=allow_standby)
        probes = _probe(environment, change) if probed else ()
    checks = (*verify_catalog(catalog, IndexKind.FIXED), *probes)
    error = not_enforced(name, checks, change, IndexKind.FIXED)
    text = error.what if error else f"{name}: {enforced_alone(catalog, IndexKind.FIXED)}."
    return Answer(
        f"{text}\n{standby}" if standby else text,
        VerifyResult(
            change=ChangeDefinition.of(change),
            enforced=error is None,
            standby=standby_age(standby),
            verification=list(checks),
        ),
        environment=name,
        next=change_command("plan", name, change.name) if error else "",
        body=(checks_table(checks),),
        error=error,
    )


def _require_clients(change: IndexChange) -> None:
    """Refuse to probe where it is not known what the clients send.

    Raises:
        UsageError: it is no change of the incident.
    """
    from incident_lib.model import CHANGES, UsageError

    if change.name not in CHANGES:
        raise UsageError(
            f"There is no probe for {change.path}.",
            "A probe sends what clients send: it knows those of the incident's table, and none of this one.",
            "Leave out --probe: the index is judged by its definition. To try it, send two INSERTs of rows that differ "
            f"in {' and '.join(change.added)} alone with psql, between BEGIN and ROLLBACK: the second one is accepted, "
            "too, once the change has been applied.",
        )


def _require_primary(standby: Standby | None, *, probed: bool, allowed: bool) -> None:
    """Refuse to verify a standby, unless that is allowed; a probe, which writes, is never possible there.

    Raises:
        Refused: it is a standby.
    """
    from incident_lib.model import Refused

    if standby and probed:
        raise Refused(
            "This server is a standby: it cannot be probed.",
            "A probe writes and rolls back, and a standby rejects writes.",
            "Use the primary's address, or leave out --probe and add --allow-standby.",
        )
    if standby and not allowed:
        raise Refused(
            "This server is a standby: it answers for the past.",
            str(standby).removeprefix("This server is a standby. "),
            "Use the primary's address, or add --allow-standby.",
        )


def _probe(environment: Environment, change: IndexChange) -> tuple[Check, ...]:
    from incident_lib.analysis import families_to_probe, probe_semantics, verify_semantics
    from incident_lib.database import reading, sending

    with reading(environment) as connection:
        families = families_to_probe(connection)
    with sending(environment, "probe") as connection:
        return verify_semantics(probe_semantics(connection, families, change))
