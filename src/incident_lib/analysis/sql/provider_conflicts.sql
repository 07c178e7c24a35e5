-- Question: which providers' active threads block another provider, also after the fix?
-- Parameters: usual (a provider, best that of most threads: families that have only threads of it are not grouped).
-- Columns: provider (NULL: none, so that no client's lookup finds the thread), active_threads, families.
-- Order: the most threads first, then by provider. Two million threads: 0.3 s, grouping every family 0.8 s.
WITH family AS (
    SELECT root_prompt_row_id, owner_id FROM public.q_threads
    WHERE root_prompt_row_id IS NOT NULL AND owner_id IS NOT NULL AND provider::text IS DISTINCT FROM %(usual)s::text
    GROUP BY 1, 2
)
SELECT provider::text, sum(active)::bigint AS active_threads, count(*) AS families
FROM family AS f, LATERAL (
    SELECT t.provider, count(*) FILTER (WHERE t.is_active) AS active, count(*) OVER () AS providers
    FROM public.q_threads t WHERE t.root_prompt_row_id = f.root_prompt_row_id AND t.owner_id = f.owner_id
    GROUP BY t.provider
) AS held
WHERE providers > 1 AND active > 0
GROUP BY provider
ORDER BY active_threads DESC, provider::text NULLS LAST;
