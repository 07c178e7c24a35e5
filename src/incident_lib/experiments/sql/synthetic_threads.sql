-- Question: how many threads were created in an empty table? Four in each family, one of them active, all of them runs.
--           It writes: only for scratch databases. The caller suspends foreign keys.
-- Parameters: threads (int, a multiple of 4).
-- Columns: threads.
-- Order: one row.
WITH prompts AS (
    INSERT INTO public.q_prompts (row_id)
    SELECT md5('root' || f)::uuid FROM generate_series(0, %(threads)s::int / 4 - 1) AS f
), threads AS (
    INSERT INTO public.q_threads (root_prompt_row_id, owner_id, openai_conversation_id, purpose, is_active, created_at)
    SELECT md5('root' || n / 4)::uuid, md5('owner' || n / 4 %% 50000)::uuid, 'conv_' || md5(n::text), 'run', n %% 4 = 0,
           timestamptz '2025-09-01 UTC' + n * interval '1 s'
    FROM generate_series(0, %(threads)s::int - 1) AS n
    RETURNING 1
)
SELECT count(*) AS threads FROM threads;
