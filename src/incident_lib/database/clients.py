"""What the product's clients send for a thread, statement by statement.

Nothing here commits: the clients themselves use autocommit, a probe uses a transaction of its own.
Comparisons are plain `=`, as the clients send them, so no lookup ever finds a NULL owner or a NULL provider.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import LiteralString
from uuid import UUID

import psycopg
from psycopg import Connection, sql

from incident_lib.model import Family

DEACTIVATE_CHATS: LiteralString = (
    "UPDATE public.q_threads SET is_active = false"
    " WHERE root_prompt_row_id = %s AND owner_id = %s AND purpose = 'chat' AND is_active = true"
)
FIND_ACTIVE: LiteralString = (
    "SELECT row_id FROM public.q_threads"
    " WHERE root_prompt_row_id = %s AND owner_id = %s AND provider = %s AND purpose = %s AND is_active = true"
    " ORDER BY created_at DESC LIMIT 1"
)
INSERT_THREAD: LiteralString = "INSERT INTO public.q_threads ({}) VALUES ({}) RETURNING row_id"
DELETE_THREAD: LiteralString = "UPDATE public.q_threads SET is_active = false WHERE row_id = %s"


@dataclass(frozen=True)
class NewThread:
    """The columns of a thread to insert; one that is None is not sent and takes the column's default."""

    root_prompt_row_id: UUID
    owner_id: UUID | None
    row_id: UUID | None = None
    assistant_row_id: UUID | None = None
    child_prompt_row_id: UUID | None = None
    openai_conversation_id: str | None = None
    external_session_id: str | None = None
    name: str | None = None
    provider: str | None = None
    purpose: str | None = None
    is_active: bool | None = True
    created_at: datetime | None = None

    @property
    def family(self) -> Family:
        """The family that the thread would belong to."""
        return Family(self.root_prompt_row_id, self.owner_id)


def deactivate_chats(connection: Connection, family: Family) -> None:
    """The chat client's first request: end the family's active chats, and leave its runs alone."""
    connection.execute(DEACTIVATE_CHATS, family)


def insert_thread(connection: Connection, thread: NewThread) -> UUID:
    """Insert one thread; `psycopg.errors.UniqueViolation` where another thread has its key in a unique index."""
    sent = {column: value for column, value in vars(thread).items() if value is not None}
    columns = sql.SQL(", ").join(map(sql.Identifier, sent))
    values = sql.SQL(", ").join(map(sql.Placeholder, sent))
    [(row_id,)] = connection.execute(sql.SQL(INSERT_THREAD).format(columns, values), sent).fetchall()
    return UUID(str(row_id))


def create_chat(connection: Connection, thread: NewThread) -> UUID:
    """The chat client: end the old chats, whether or not that works, then insert the new one.

    The conversation at the provider was made in between: `thread` brings its id, orphaned if this raises.
    """
    with suppress(psycopg.Error):
        deactivate_chats(connection, thread.family)
    return insert_thread(connection, replace(thread, provider=None, purpose="chat", is_active=True))


def find_active(connection: Connection, family: Family, provider: str, purpose: str) -> UUID | None:
    """The family's newest active thread of that provider and purpose."""
    row = connection.execute(FIND_ACTIVE, (*family, provider, purpose)).fetchone()
    return UUID(str(row[0])) if row else None


def get_or_create_run(connection: Connection, thread: NewThread) -> UUID:
    """The run client: the newest active thread of its provider and purpose, else a new one.

    It names both in every request: `openai` and `run` where its caller named none.
    """
    provider, purpose = thread.provider or "openai", thread.purpose or "run"
    wanted = replace(thread, provider=provider, purpose=purpose, is_active=True)
    return find_active(connection, thread.family, provider, purpose) or insert_thread(connection, wanted)


def delete_thread(connection: Connection, row_id: UUID) -> None:
    """Deleting a thread ends it; its row stays."""
    connection.execute(DELETE_THREAD, (row_id,))
