-- Question: what of q_threads do the unique indexes, the clients and our own questions need? No text of the threads is kept:
--           `name` is empty but for the rehearsal's own clients.
-- Parameters: none.
-- Columns: none; it makes the table.
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
) WITH (autovacuum_enabled = off); -- it comes after such a load, and a build would wait for it
