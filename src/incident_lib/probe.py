"""Try what a chat client would do, for a few blocked families, in transactions that are rolled back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from incident_lib.clients import Family, NewThread, deactivate_chats, insert_thread
from incident_lib.environments import set_local

if TYPE_CHECKING:
    from collections.abc import Sequence

    from incident_lib.environments import Connection

FAMILIES = 5  # a probe is a writer too: a client's first step waits behind an open one
LOCK_TIMEOUT, STATEMENT_TIMEOUT = "50ms", "200ms"


@dataclass(frozen=True)
class Probe:
    """What PostgreSQL answered to a few attempts to create a thread, all rolled back."""

    purpose: str
    admitted: int = 0
    rejected: int = 0  # by a guard, SQLSTATE 23505
    not_probed: int = 0  # a lock was not to be had, or the answer took too long

    @property
    def attempts(self) -> int:
        """How many families were tried."""
        return self.admitted + self.rejected + self.not_probed

    def __str__(self) -> str:
        skipped = f", {self.not_probed} not probed" if self.not_probed else ""
        return f"{self.purpose}: {self.admitted} of {self.attempts} admitted, {self.rejected} rejected{skipped}"


def probe(connection: Connection, families: Sequence[Family], purpose: str = "chat") -> Probe:
    """Try to create a thread of a purpose in each of a few families, one transaction each, rolled back.

    A chat is tried as the chat client does it: its active chats are ended first. Limits: `FAMILIES`
    families, lock_timeout 50 ms, statement_timeout 200 ms; the table's triggers fire.

    Args:
        connection: autocommit, of a role that may write.
        families: only the first `FAMILIES` are tried.
        purpose: of the thread to create.

    Raises:
        psycopg.Error: any answer but an insert, a 23505, or a timeout.
    """
    answers = [_attempt(connection, family, purpose) for family in families[:FAMILIES]]
    return Probe(purpose, *(answers.count(answer) for answer in ("admitted", "rejected", "not probed")))


def _attempt(connection: Connection, family: Family, purpose: str) -> str:
    try:
        with connection.transaction(force_rollback=True):
            set_local(connection, "lock_timeout", LOCK_TIMEOUT)
            set_local(connection, "statement_timeout", STATEMENT_TIMEOUT)
            if purpose == "chat":
                deactivate_chats(connection, family)
            insert_thread(connection, NewThread(*family, name="probe, rolled back", purpose=purpose))
    except psycopg.errors.UniqueViolation:
        return "rejected"
    except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled):
        return "not probed"
    return "admitted"
