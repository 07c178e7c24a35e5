-- Question: all the counts of an investigation but the provider conflicts, as if the original index were enforced.
-- Parameters: none. Reads every active thread once, from an index in its order.
-- Columns: those of model.Counts, blocked_* and owners per purpose. NULL: there is no row to sum.
-- Order: one row.
WITH family AS (
    SELECT owner_id AS owner, count(*) AS n, count(*) FILTER (WHERE purpose::text = 'chat') AS chats,
           count(*) FILTER (WHERE purpose::text = 'run') AS runs,
           array_agg(purpose::text) FILTER (WHERE (purpose::text IN ('chat', 'run')) IS NOT TRUE) AS others
    FROM public.q_threads WHERE is_active AND root_prompt_row_id IS NOT NULL GROUP BY root_prompt_row_id, owner_id
), kind AS MATERIALIZED ( -- a row for all families of an owner that hold the like
    SELECT owner, n, chats, runs, others, count(*) AS families FROM family GROUP BY 1, 2, 3, 4, 5
), held AS (
    SELECT owner, purpose, count(*) AS n, families FROM kind, unnest(others || array_fill('run'::text, ARRAY[runs::int])
        || array_fill('chat'::text, ARRAY[chats::int])) AS purpose GROUP BY owner, n, chats, runs, others, families, 2
)
SELECT sum(families) AS families, sum(n * families) AS active_threads, (SELECT jsonb_object_agg(purpose, n) FROM
           (SELECT coalesce(purpose, '(null)') AS purpose, sum(n * families) AS n FROM held GROUP BY 1) AS p)
           AS active_by_purpose, sum(families) FILTER (WHERE owner IS NOT NULL) AS blocked_families,
       sum(families) FILTER (WHERE n > chats AND owner IS NOT NULL) AS blocked_chat,
       sum(families) FILTER (WHERE n > runs AND owner IS NOT NULL) AS blocked_run, ARRAY[count(DISTINCT owner),
           count(DISTINCT owner) FILTER (WHERE n > chats), count(DISTINCT owner) FILTER (WHERE n > runs)] AS owners,
       sum(families) FILTER (WHERE n > 1 AND owner IS NOT NULL) AS coexisting_families,
       sum(n * families) FILTER (WHERE owner IS NULL) AS unguarded_threads,
       (SELECT sum(families) FROM held WHERE n > 1 AND owner IS NOT NULL AND purpose IS NOT NULL) AS duplicates_fixed
FROM kind;
