"""Send what a chat client sends, for a few blocked families, in transactions that are rolled back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, LiteralString

import psycopg
from psycopg import sql

from incident_lib.database import send_transaction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from incident_lib.database import Connection
    from incident_lib.model import Family

FAMILIES = 5  # a probe writes: a client's first statement waits while one is open
# Of each transaction. It is one message: on a slow or dead line it holds its locks no longer than on a fast one.
LIMITS = {
    "lock_timeout": "50ms",
    "statement_timeout": "200ms",
    "idle_in_transaction_session_timeout": "1s",
    "transaction_timeout": "2s",
    "incident_lib.answers": "",
}
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
        connection: as `database.sending` yields it, of a role that may write.
        families: only the first `FAMILIES` are tried.
        purpose: of the thread to create.

    Raises:
        psycopg.Error: any other error than 23505 or a timeout.
    """
    first = [_END_CHATS] if purpose == "chat" else []
    return _tally(purpose, [_attempt(connection, family, [*first, purpose])[-1] for family in families[:FAMILIES]])


def probe_semantics(connection: Connection, families: Sequence[Family]) -> tuple[Probe, Probe, Probe]:
    """Check what the fixed index allows and rejects, in families with an active run and no chat; rolled back.

    Returns:
        A chat beside the run (admitted if the fix works), a second chat, and a second run (both rejected then).
    """
    tried = [_attempt(connection, family, ["chat", "chat", "run"]) for family in families[:FAMILIES]]
    tried = [[first, NOT_PROBED if first == NOT_PROBED else second, run] for first, second, run in tried]
    purposes = ("chat beside a run", "second chat", "second run")
    return tuple(_tally(purpose, [answers[place] for answers in tried]) for place, purpose in enumerate(purposes))  # type: ignore[return-value]


_END_CHATS = "end chats"
_EACH: dict[str, LiteralString] = {
    _END_CHATS: (
        "UPDATE public.q_threads SET is_active = false WHERE root_prompt_row_id = {root}"
        " AND owner_id = {owner} AND purpose = 'chat' AND is_active = true"
    ),
    "chat": (
        "INSERT INTO public.q_threads (root_prompt_row_id, owner_id, name, purpose, is_active)"
        " VALUES ({root}, {owner}, {name}, 'chat', true)"
    ),
    "run": (
        "INSERT INTO public.q_threads (root_prompt_row_id, owner_id, name, purpose, is_active)"
        " VALUES ({root}, {owner}, {name}, 'run', true)"
    ),
}
_ANSWERS: LiteralString = "pg_catalog.current_setting('incident_lib.answers')"
# A statement that fails ends the others of a message; a savepoint of a DO block keeps its error from that.
_TRY: LiteralString = """\
DO $probe$ BEGIN
  {statement};
  PERFORM pg_catalog.set_config('incident_lib.answers', pg_catalog.concat(
    pg_catalog.current_setting('incident_lib.answers'), ',admitted'), true);
EXCEPTION
  WHEN unique_violation THEN PERFORM pg_catalog.set_config('incident_lib.answers', pg_catalog.concat(
    pg_catalog.current_setting('incident_lib.answers'), ',rejected'), true);
  WHEN lock_not_available OR query_canceled THEN PERFORM pg_catalog.set_config('incident_lib.answers',
    pg_catalog.concat(pg_catalog.current_setting('incident_lib.answers'), ',not probed'), true);
END $probe$"""


def _attempt(connection: Connection, family: Family, statements: Sequence[str]) -> list[str]:
    """The answer to each statement, of one transaction that is rolled back."""
    values = {"root": sql.Literal(family.root), "owner": sql.Literal(family.owner), "name": sql.Literal(PROBE_NAME)}
    tries = [sql.SQL(_TRY).format(statement=sql.SQL(_EACH[each]).format(**values)) for each in statements]
    try:
        answers = send_transaction(connection, LIMITS, *tries, answer=_ANSWERS, end="ROLLBACK")
    except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled):
        return [NOT_PROBED] * len(statements)
    return answers.strip(",").split(",")


def _tally(purpose: str, answers: Sequence[str]) -> Probe:
    return Probe(purpose, *(answers.count(answer) for answer in ("admitted", "rejected", NOT_PROBED)))
