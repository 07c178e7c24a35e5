"""Send what a chat client sends, for a few blocked families, in transactions that are rolled back."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from incident_lib.database import NewThread, deactivate_chats, insert_thread, set_local
from incident_lib.model import Family

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from incident_lib.database import Connection

FAMILIES = 5  # a probe writes: a client's first statement waits while one is open
LOCK_TIMEOUT, STATEMENT_TIMEOUT = "50ms", "200ms"
PROBE_NAME = "probe, rolled back"
NOT_PROBED = "not probed"


@dataclass(frozen=True)
class Probe:
    """What PostgreSQL answered to a few attempts to create a thread, all rolled back."""

    purpose: str
    admitted: int = 0
    rejected: int = 0  # by a unique index, SQLSTATE 23505
    not_probed: int = 0  # a lock was not available, or the answer took too long

    @property
    def attempts(self) -> int:
        """How many families were tried."""
        return self.admitted + self.rejected + self.not_probed

    def __str__(self) -> str:
        skipped = f", {self.not_probed} not probed" if self.not_probed else ""
        return f"{self.purpose}: {self.admitted} of {self.attempts} admitted, {self.rejected} rejected{skipped}"


def probe_families(connection: Connection, families: Sequence[Family], purpose: str = "chat") -> Probe:
    """Try to create a thread of a purpose in each of a few families, one transaction each, rolled back.

    A chat is created as the chat client does it: the family's active chats are ended first. Limits: `FAMILIES`
    families, lock_timeout 50 ms, statement_timeout 200 ms; the table's triggers fire.

    Args:
        connection: autocommit, of a role that may write.
        families: only the first `FAMILIES` are tried.
        purpose: of the thread to create.

    Raises:
        psycopg.Error: any other error than 23505 or a timeout.
    """
    return _tally(purpose, [_attempt(connection, family, purpose) for family in families[:FAMILIES]])


def _attempt(connection: Connection, family: Family, purpose: str) -> str:
    with _limited(connection) as answer:
        if purpose == "chat":
            deactivate_chats(connection, family)
        insert_thread(connection, NewThread(*family, name=PROBE_NAME, purpose=purpose))
    return answer[-1]


def probe_semantics(connection: Connection, families: Sequence[Family]) -> tuple[Probe, Probe, Probe]:
    """Check what the fixed index allows and rejects, in families with an active run and no chat; rolled back.

    Returns:
        A chat beside the run (admitted if the fix works), a second chat, and a second run (both rejected then).
    """
    tried = [_beside(connection, family) for family in families[:FAMILIES]]
    purposes = ("chat beside a run", "second chat", "second run")
    return tuple(_tally(purpose, [answers[place] for answers in tried]) for place, purpose in enumerate(purposes))  # type: ignore[return-value]


def _beside(connection: Connection, family: Family) -> list[str]:
    """The three answers for one family, of one transaction that is rolled back."""
    answers: list[str] = []
    with _limited(connection) as whole:
        for purpose in ("chat", "chat", "run"):
            if purpose == "chat" and answers == [NOT_PROBED]:
                answers.append(NOT_PROBED)  # a second chat needs a first one
                continue
            with _limited(connection, keep=True) as answer:
                insert_thread(connection, NewThread(*family, name=PROBE_NAME, purpose=purpose))
            answers.append(answer[-1])
    return answers if len(answers) == 3 else [whole[-1]] * 3


@contextmanager
def _limited(connection: Connection, *, keep: bool = False) -> Iterator[list[str]]:
    """A transaction, or savepoint, within the probe's limits; the list that it yields ends with its answer."""
    answer = ["admitted"]
    try:
        with connection.transaction(force_rollback=not keep):
            set_local(connection, "lock_timeout", LOCK_TIMEOUT)
            set_local(connection, "statement_timeout", STATEMENT_TIMEOUT)
            yield answer
    except psycopg.errors.UniqueViolation:
        answer.append("rejected")
    except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled):
        answer.append(NOT_PROBED)


def _tally(purpose: str, answers: Sequence[str]) -> Probe:
    return Probe(purpose, *(answers.count(answer) for answer in ("admitted", "rejected", NOT_PROBED)))
