"""Threads by the million, made by the server itself: the incident's table, four threads to a family, one active."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from incident_lib.database import demo

if TYPE_CHECKING:
    from typing import Any

PER_FAMILY, PER_OWNER = 4, 100

# Widths as the demo's: names of 10 to 60 characters, conversation ids of 37.
_FILL = """
INSERT INTO public.q_threads (root_prompt_row_id, owner_id, openai_conversation_id, last_response_id, name, provider,
                              purpose, is_active, message_count, last_message_at, created_at)
SELECT md5('root' || n / {per})::uuid,
       CASE WHEN n / {per} %% 50 <> 49 THEN md5('owner' || n / {per} %% {owners})::uuid END, 'conv_' || md5(n::text),
       CASE WHEN n %% 3 = 0 THEN 'resp_' || md5((n + 1)::text) END, 'Thread ' || repeat(md5(n::text), 1 + n %% 2),
       CASE WHEN n / {per} %% 20 = 0 AND n %% {per} = 1 THEN 'manus' ELSE 'openai' END,
       CASE WHEN n / {per} %% 8 = 0 THEN 'chat' ELSE 'run' END, n %% {per} = 0, n %% 90,
       timestamptz '2025-09-01' + n * interval '1 s', timestamptz '2025-09-01' + n * interval '1 s'
FROM generate_series(0, %s - 1) AS n
"""

# Rows by the million are sorted into an index at once, instead of one by one.
_INDEXES = """
UPDATE pg_index SET indisready = %s WHERE indrelid = 'public.q_threads'::regclass AND NOT indisprimary
"""


def fill(connection: psycopg.Connection[Any], threads: int) -> None:
    """Make the table, fill it with so many threads, and leave it vacuumed and analyzed.

    Args:
        connection: autocommit, of a superuser: foreign keys are not looked at while it fills.
        threads: a multiple of `PER_FAMILY`.
    """
    demo.load(connection, threads=False)
    query = sql.SQL(_FILL).format(per=sql.Literal(PER_FAMILY), owners=sql.Literal(max(threads // PER_OWNER, 1)))
    connection.execute("SET session_replication_role = replica")
    connection.execute("SET maintenance_work_mem = '1GB'")
    connection.execute(_INDEXES, [False])
    connection.execute(query.as_string().encode(), [threads])
    connection.execute(_INDEXES, [True])
    connection.execute("REINDEX TABLE public.q_threads")
    connection.execute("RESET ALL")
    connection.execute("VACUUM (FREEZE, ANALYZE) public.q_threads")
    connection.execute("CHECKPOINT")
