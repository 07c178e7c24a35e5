"""The command `verify`: has the fix been applied?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from incident_lib.cli.options import CONFIRM, ENVIRONMENT
from incident_lib.cli.preflight import print_verification

if TYPE_CHECKING:
    from incident_lib.database import Environment
    from incident_lib.model import Check


@click.command()
@ENVIRONMENT
@click.option("--probe", "probed", is_flag=True, help="Also send what a client sends, rolled back. Needs --confirm.")
@CONFIRM
def verify(name: str, probed: bool, confirm: str) -> int:
    """Is only the fixed index enforced, by definition and flags? Exit code 0 only then."""
    from incident_lib.database import read_access, read_catalog, reading, resolve_environment
    from incident_lib.migration import require_confirm
    from incident_lib.progress import waiting

    if probed:
        require_confirm(name, confirm, "A probe writes, and")
    with waiting(f"reading {name} …"):
        environment = resolve_environment(name)
        with reading(environment) as connection:
            read_access(connection)
            catalog = read_catalog(connection)
        probes = _probe(environment) if probed else ()
    return print_verification(name, catalog, probes)


def _probe(environment: Environment) -> tuple[Check, ...]:
    from incident_lib.database import connecting, fetch_all
    from incident_lib.migration import FAMILIES, probe_semantics, verify_semantics
    from incident_lib.model import Family

    with connecting(environment, "probe") as connection:
        rows = fetch_all(connection, "migration/families_without_chat", {"most": FAMILIES})
        return verify_semantics(probe_semantics(connection, [Family(**row) for row in rows]))
