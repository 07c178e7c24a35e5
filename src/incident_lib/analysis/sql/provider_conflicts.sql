-- Question: which providers' active threads block another provider, also after the fix?
-- Parameters: none. Reads every thread's provider once.
-- Columns: provider (NULL: none, so that no client's lookup finds the thread), active_threads, families.
-- Order: the most threads first, then by provider.
WITH mixed AS (
    SELECT root_prompt_row_id, owner_id FROM public.q_threads
    WHERE root_prompt_row_id IS NOT NULL AND owner_id IS NOT NULL GROUP BY root_prompt_row_id, owner_id
    HAVING min(provider) <> max(provider) OR count(provider) BETWEEN 1 AND count(*) - 1)
SELECT t.provider::text, count(*) AS active_threads, count(DISTINCT (root_prompt_row_id, owner_id)) AS families
FROM public.q_threads t JOIN mixed USING (root_prompt_row_id, owner_id)
WHERE t.is_active = true
GROUP BY t.provider
ORDER BY active_threads DESC, t.provider::text NULLS LAST;
