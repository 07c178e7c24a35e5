"""Did the steps of the migration change a thread? By checksums where no client writes, else by transaction ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from incident_lib.database import fetch_one, reading

if TYPE_CHECKING:
    from collections.abc import Iterable

    from incident_lib.database import Environment


def checksum(environment: Environment) -> dict[str, Any]:
    """How many threads there are, and a checksum over all row versions: every write changes it."""
    with reading(environment) as connection:
        return fetch_one(connection, "analysis/checksum")


def compare_threads(environment: Environment, before: dict[str, Any] | None, xids: Iterable[str]) -> str:
    """Whether the steps of the migration changed a thread, in a sentence.

    Args:
        environment: where it was applied.
        before: the checksum of before; None where clients go on writing, which changes it.
        xids: the migration's own transactions: no row version may carry one of them.
    """
    if before:
        same = before == checksum(environment)
        checked = f"{before['threads']:,} threads, checksum {'equal' if same else 'CHANGED'}"
        return f"{checked} right before and right after the steps; what clients wrote later is not in it."
    with reading(environment) as connection:
        row = fetch_one(connection, "analysis/own_versions", {"xids": sorted(xids)})
    return f"{row['versions']:,} row versions carry a transaction of this migration."
