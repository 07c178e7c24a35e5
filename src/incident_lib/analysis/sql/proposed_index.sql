-- Question: which active threads prevent a unique index on (root, owner, provider, purpose) with NULLS NOT DISTINCT,
--           and which are found by no client's lookup, or are in no unique index, today?
-- Parameters: none.
-- Columns: keys (that several threads share), ownerless_keys (of those), too_many (threads beyond one for each key),
--          without_provider, unguarded.
-- Order: one row.
WITH held AS (
    SELECT owner_id, provider, count(*) AS threads FROM public.q_threads
    WHERE is_active = true AND root_prompt_row_id IS NOT NULL
    GROUP BY root_prompt_row_id, owner_id, provider, purpose)
SELECT count(*) FILTER (WHERE threads > 1) AS keys,
       count(*) FILTER (WHERE threads > 1 AND owner_id IS NULL) AS ownerless_keys,
       coalesce(sum(threads - 1), 0)::bigint AS too_many,
       coalesce(sum(threads) FILTER (WHERE provider IS NULL), 0)::bigint AS without_provider,
       coalesce(sum(threads) FILTER (WHERE owner_id IS NULL), 0)::bigint AS unguarded
FROM held;
