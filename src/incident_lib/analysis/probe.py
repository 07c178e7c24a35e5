"""Send what the product's clients send, for a few families, in transactions that are rolled back; judge the answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, LiteralString

import psycopg
from psycopg import sql

from incident_lib.database import fetch_all, send_transaction
from incident_lib.model import PROVIDER, PURPOSE, Check, Family, IndexChange, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from incident_lib.database import Connection

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
TRY_AGAIN = "Try again when the table is less busy."


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


def families_to_probe(connection: Connection) -> list[Family]:
    """A few families with an active run and no chat."""
    return [Family(**row) for row in fetch_all(connection, "analysis/families_without_chat", {"most": FAMILIES})]


def probe_semantics(
    connection: Connection, families: Sequence[Family], change: IndexChange = PURPOSE
) -> tuple[Probe, ...]:
    """Check what a change allows and rejects, in families with an active run and no chat; rolled back.

    Returns:
        What it allows (admitted if it works), then what it must reject. Of `purpose`: a chat beside the run, a second
        chat, a second run. Of `provider`: a run of another provider, a second one of that provider.
    """
    statements, names = _SEMANTICS[change.name]
    tried = [_attempt(connection, family, statements) for family in families[:FAMILIES]]
    # A second thread is one only beside the first.
    tried = [[first, NOT_PROBED if first == NOT_PROBED else second, *more] for first, second, *more in tried]
    return tuple(_tally(name, [answers[place] for answers in tried]) for place, name in enumerate(names))


_SEMANTICS = {
    PURPOSE.name: (("chat", "chat", "run"), ("chat beside a run", "second chat", "second run")),
    PROVIDER.name: (("other", "other"), ("another provider beside a run", "second run of that provider")),
}


def verify_probes(before: Probe | None, after: Probe) -> Check:
    """Check that what was rejected before is admitted now."""
    more = f"; before: {before}" if before else ""
    return _probed(after, wrong=after.rejected, more=more, name="probe")


def verify_semantics(probes: tuple[Probe, ...]) -> tuple[Check, ...]:
    """Check that what a change allows was admitted, and that what it must reject was rejected."""
    beside, *seconds = probes
    if not beside.attempts:
        return (Check("probe", Status.INFO, "no family has a run and no chat: nothing could be probed"),)
    return (_probed(beside, wrong=beside.rejected), *(_probed(probe, wrong=probe.admitted) for probe in seconds))


def _probed(probe: Probe, *, wrong: int, more: str = "", name: str = "") -> Check:
    """One probe's check: FAIL where an answer was wrong, INFO where there was no answer."""
    said = str(probe) if name else str(probe).removeprefix(f"{probe.purpose}: ")  # the check has that name already
    finding, name = f"{said}{more}", name or probe.purpose
    if probe.not_probed == probe.attempts:
        return Check(name, Status.INFO, f"{finding}: nothing could be probed", TRY_AGAIN)
    if not wrong:
        return Check(name, Status.PASS, finding)
    return Check(name, Status.FAIL, finding, "Run `incident plan`: it shows what is left to do.")


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
    "other": (
        "INSERT INTO public.q_threads (root_prompt_row_id, owner_id, name, purpose, provider, is_active)"
        " VALUES ({root}, {owner}, {name}, 'run', {name}, true)"
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
