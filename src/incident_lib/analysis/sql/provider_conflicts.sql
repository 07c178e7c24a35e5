-- Question: which providers' active threads block another provider, also after the fix?
-- Parameters: usual (a provider, best that of most threads: families that have only threads of it are not grouped).
-- Columns: provider (NULL: none, so that no client's lookup finds the thread), active_threads, families.
-- Order: the most threads first, then by provider. Two million threads: 0.4 s, grouping every family 1.1 s.
WITH family AS (
    SELECT root_prompt_row_id, owner_id FROM public.q_threads
    WHERE root_prompt_row_id IS NOT NULL AND owner_id IS NOT NULL AND provider::text IS DISTINCT FROM %(usual)s::text
    GROUP BY 1, 2
), held AS (
    SELECT provider, count(*) FILTER (WHERE is_active) AS active,
           count(*) OVER (PARTITION BY root_prompt_row_id, owner_id) AS providers
    FROM family JOIN public.q_threads USING (root_prompt_row_id, owner_id)
    GROUP BY root_prompt_row_id, owner_id, provider
)
SELECT provider::text, sum(active)::bigint AS active_threads, count(*) AS families
FROM held WHERE providers > 1 AND active > 0
GROUP BY provider
ORDER BY active_threads DESC, provider::text NULLS LAST;
