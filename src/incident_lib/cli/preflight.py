"""What the commands about the migration share: the preflight in one snapshot, checks, duplicates, the final check."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from incident_lib.cli.terminal import Verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from incident_lib.database import Connection, Environment
    from incident_lib.migration import Preflight
    from incident_lib.model import Check, IndexChange, IndexKind, Refused, Table


@contextmanager
def preflight(
    name: str, change: IndexChange, target: IndexKind, seconds: float, *, plain: bool = False
) -> Iterator[tuple[Environment, Connection, Preflight]]:
    """An environment, a connection in one snapshot of it, and the preflight of that snapshot."""
    from incident_lib.analysis import read_subject
    from incident_lib.database import reading, resolve_environment
    from incident_lib.migration import run_preflight
    from incident_lib.progress import waiting

    with ExitStack() as snapshot:
        with waiting(f"reading {name} …"):
            environment = resolve_environment(name)
            connection = snapshot.enter_context(reading(environment, seconds=seconds))
            found = read_subject(connection, change, name)
            checks = run_preflight(connection, environment, found, target, plain=plain)
        yield environment, connection, checks


def split_checks(checks: Sequence[Check], *, everything: bool = False) -> tuple[Table | str, ...]:
    """The checks that did not pass, and how many did; or all of them."""
    from incident_lib.model import Status, checks_table, plural

    shown = [check for check in checks if everything or check.status is not Status.PASS]
    passed = len(checks) - len(shown)
    return (
        *([checks_table(shown).titled("Checks")] if shown else []),
        *([f"\n{plural(passed, 'check')} passed: --all lists them."] if passed else []),
    )


def duplicates(
    connection: Connection, name: str, change: IndexChange, target: IndexKind
) -> tuple[str, tuple[Table | Verbatim | str, ...]]:
    """What prevents an index: a file with all of the keys; the first keys, and SQL that would resolve them."""
    from incident_lib import paths
    from incident_lib.analysis import list_shared_keys, settling_sql, write_shared_keys
    from incident_lib.model import make_table
    from incident_lib.progress import waiting

    of_incident = change.of_incident
    file = paths.environment_file(name, f"duplicates-{change.label(target)}.csv")
    what = "Families, raw ids" if of_incident else "Keys, raw values"
    settling = "This SQL lists them, for you to resolve"
    if of_incident:
        settling = "This SQL would resolve them. It ends threads that users see"
    with waiting(f"writing {file.name} …"):
        write_shared_keys(connection, change, target, file)
        rows = list_shared_keys(connection, change, target, limit=5)
    values = [["NULL" if value is None else value for value in row.values()] for row in rows]
    return str(file), (
        make_table(
            list(rows[0]),
            values,
            f"{what}: do not share",
        ),
        f"\nAll of them, with {what.split(', ')[1]} (do not share):",
        Verbatim(f"  {file}"),
        f"\n{settling}: no command here runs it.",
        Verbatim(f"\n{settling_sql(target, change)}"),
    )


def not_enforced(name: str, checks: tuple[Check, ...], change: IndexChange, target: IndexKind) -> Refused | None:
    """The refusal where the target's unique index is not the only one enforced."""
    from incident_lib.migration import holds
    from incident_lib.model import Refused, Status, plan_command

    if holds(checks):
        return None
    is_there = next(check for check in checks if check.name == "definition").status is Status.PASS
    what = "not the only one enforced" if is_there else "not enforced"
    return Refused(
        f"The {change.label(target)} index is {what} in {name!r}.",
        "; ".join(f"{check.name}: {check.finding}" for check in checks if check.status is Status.FAIL) + ".",
        f"Run `{plan_command(target, name, change.name)}`: it shows what is left to do.",
    )
