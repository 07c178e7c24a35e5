"""Apply a plan: one step, then read the catalog anew; what is done and what is left is never kept elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from psycopg import sql

from incident_lib.database import connecting, is_transaction_pooled, read_catalog
from incident_lib.migration.executor import Executor, MigrationResult
from incident_lib.migration.lock import migration_lock
from incident_lib.model import IndexKind, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from incident_lib.database import Connection, Environment
    from incident_lib.migration.monitor import Progress


BUDGET = 3600.0  # seconds that a whole migration may take, waiting included


def require_confirm(environment: str, confirm: str, act: str) -> None:
    """Refuse to change an environment whose very name was not given as `confirm`."""
    if confirm != environment:
        raise Refused(
            f"Nothing was changed in {environment!r}.",
            f"To {act} takes its name, and confirm is {confirm!r}.",
            f"Look at `incident plan --env {environment}`, then add --confirm {environment}.",
        )


def apply(
    environment: Environment,
    *,
    confirm: str,
    target: IndexKind = IndexKind.FIXED,
    budget: float = BUDGET,
    wait: bool = True,
    listener: Callable[[Progress], None] = lambda _: None,
    done: Callable[[MigrationResult], None] = lambda _: None,
) -> MigrationResult:
    """Walk from what the catalog holds to the target's unique index, one step at a time.

    Args:
        environment: which database.
        confirm: its name once more.
        target: FIXED for the migration, ORIGINAL for the rollback, whose data somebody has looked at.
        budget: seconds for all of it, waiting for others included.
        wait: whether to wait for another session that is at it, or to refuse.
        listener: is told how far it is, several times a second, from another thread.
        done: is told after each step.

    Returns:
        What was done; no steps where nothing was left to do.

    Raises:
        Refused: confirm is not the name, a transaction pooler, a catalog that we cannot plan from, or
            somebody is at it and `wait` is off.
        Failed: a step failed or took too long; what it left is cleaned up, or named.
    """
    require_confirm(environment.name, confirm, "change it")
    if is_transaction_pooled(environment):
        raise Refused(
            "A pooler in transaction mode stands between us and the server.",
            "Settings would leak to other clients through it, and our lock be stranded.",
            "Use its session port, or the server's own address.",
        )
    deadline = time.monotonic() + budget
    with connecting(environment, "migrate") as connection, migration_lock(connection, deadline, listener, wait=wait):
        _unlimited(connection)
        catalog = read_catalog(connection)
        migration = MigrationResult(target, catalog, catalog)
        walk = Executor(environment, connection, migration, deadline, listener, done, wait=wait)
        walk.go()
        return migration


def _unlimited(connection: Connection) -> None:
    """No timeout may hit a build or a drop: each would leave an index behind that may still enforce."""
    version = connection.info.server_version
    for setting in (
        "statement_timeout",
        "lock_timeout",
        "idle_session_timeout",
        *(("transaction_timeout",) if version >= 170000 else ()),
    ):
        connection.execute(sql.SQL("SET {} = 0").format(sql.Identifier(setting)))
