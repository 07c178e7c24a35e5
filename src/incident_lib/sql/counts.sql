-- Question: all the counts of an investigation, as if the original guard were in force.
-- Parameters: none. Reads active threads once, and every thread's provider once.
-- Columns: those of model.Counts, blocked_* and *_owners apart per purpose.
-- Order: one row.
WITH held AS MATERIALIZED (
    SELECT root_prompt_row_id AS root, owner_id AS owner, purpose, count(*) AS threads
    FROM public.q_threads WHERE is_active = true AND root_prompt_row_id IS NOT NULL
    GROUP BY root_prompt_row_id, owner_id, purpose
), family AS MATERIALIZED (
    SELECT root, owner, sum(threads) AS threads, bool_or(purpose IS DISTINCT FROM 'chat' AND owner IS NOT NULL)
               AS no_chat, bool_or(purpose IS DISTINCT FROM 'run' AND owner IS NOT NULL) AS no_run
    FROM held GROUP BY root, owner
), owners AS (
    SELECT bool_or(no_chat) AS no_chat, bool_or(no_run) AS no_run FROM family GROUP BY owner
), mixed AS (
    SELECT root_prompt_row_id AS root, owner_id AS owner FROM public.q_threads
    WHERE root_prompt_row_id IS NOT NULL AND owner_id IS NOT NULL GROUP BY root_prompt_row_id, owner_id
    HAVING min(provider) <> max(provider) OR count(provider) BETWEEN 1 AND count(*) - 1)
SELECT count(*) AS families, coalesce(sum(threads), 0)::bigint AS active_threads,
       (SELECT coalesce(jsonb_object_agg(coalesce(purpose, '(null)'), n), '{}') FROM
           (SELECT purpose, sum(threads) AS n FROM held GROUP BY purpose) AS p) AS active_by_purpose,
       count(*) FILTER (WHERE no_chat OR no_run) AS blocked_families,
       count(*) FILTER (WHERE no_chat) AS blocked_chat, count(*) FILTER (WHERE no_run) AS blocked_run,
       (SELECT ARRAY[count(*) FILTER (WHERE no_chat OR no_run), count(*) FILTER (WHERE no_chat),
                     count(*) FILTER (WHERE no_run)] FROM owners) AS owners,
       count(*) FILTER (WHERE owner IS NOT NULL AND threads > 1) AS coexisting_families,
       (SELECT coalesce(sum(threads), 0)::bigint FROM family JOIN mixed USING (root, owner)) AS residual_conflicts,
       coalesce(sum(threads) FILTER (WHERE owner IS NULL), 0)::bigint AS unguarded_threads,
       (SELECT count(*) FROM held WHERE owner IS NOT NULL AND threads > 1) AS duplicates_fixed
FROM family;
