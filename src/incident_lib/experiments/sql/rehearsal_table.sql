-- Question: none. It creates q_threads with the columns that the unique indexes, the clients and the counts need.
--           No text of the threads is copied: only the rehearsal's own clients set `name`.
-- Parameters: none.
-- Columns: none.
-- Order: none.
CREATE TABLE public.q_threads (
    row_id             uuid DEFAULT gen_random_uuid(),
    root_prompt_row_id uuid,
    owner_id           uuid,
    name               text,
    provider           text DEFAULT 'openai',
    purpose            text DEFAULT 'run',
    is_active          boolean,
    created_at         timestamptz
) WITH (autovacuum_enabled = off); -- autovacuum would start after the copy, and a build would wait for it
