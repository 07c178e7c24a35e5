"""One migration at a time in a database: an advisory lock that dies with its session."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from incident_lib.database import fetch_all
from incident_lib.migration.monitor import Progress
from incident_lib.model import Failed, Refused, describe_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from incident_lib.database import Connection

LOCK_KEY = 0x71_7468_7265_6164_73  # "qthreads"


@contextmanager
def migration_lock(
    connection: Connection, deadline: float, listener: Callable[[Progress], None], *, wait: bool
) -> Iterator[None]:
    """Hold the advisory lock of migrations. It is polled: a session that waits for it would deadlock with a build."""
    while not _try_lock(connection):
        row = next(iter(fetch_all(connection, "migration/lock_holder", {"key": LOCK_KEY})), None)
        who = describe_session(row | {"prepared": False}) if row else "another session"
        if not wait:
            raise another_migration(f"{who} is migrating this database")
        if time.monotonic() > deadline:
            raise Failed(
                "The budget ended while waiting for another migration.",
                f"{who} is still migrating this database.",
                "Try again later: `incident plan` then shows what is left to do.",
            )
        phase = (row or {}).get("phase") or "working"
        share = row["done"] / row["total"] if row and row["total"] else None
        listener(Progress("wait", f"for {who}: {phase}", share))
        time.sleep(0.2)
    try:
        yield
    finally:
        if not connection.closed and not connection.broken:
            connection.execute("SELECT pg_advisory_unlock(%s)", [LOCK_KEY])


def _try_lock(connection: Connection) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", [LOCK_KEY]).fetchone()
    return bool(row and row[0])


def another_migration(who: str) -> Refused:
    """The refusal where another migration is running and --no-wait is set."""
    return Refused(
        "Another migration is running.",
        f"{who[0].upper()}{who[1:]}.",
        "Remove --no-wait to wait for it and then continue, or try again later.",
    )
