-- Question: which family shows a provider conflict: a thread of one provider has the key, another provider needs it?
-- Parameters: none. Reads every thread's provider once.
-- Columns: root, owner, held_by (provider, may be NULL), asked_for (provider), purpose.
-- Order: one row, none where there is no conflict: a run of a named provider, in the family with the fewest threads.
WITH mixed AS (
    SELECT root_prompt_row_id, owner_id, count(*) AS threads FROM public.q_threads
    WHERE root_prompt_row_id IS NOT NULL AND owner_id IS NOT NULL GROUP BY root_prompt_row_id, owner_id
    HAVING min(provider) <> max(provider) OR count(provider) BETWEEN 1 AND count(*) - 1)
SELECT root_prompt_row_id AS root, owner_id AS owner, a.provider::text AS held_by, o.provider::text AS asked_for, a.purpose::text
FROM mixed m
JOIN public.q_threads a USING (root_prompt_row_id, owner_id)
JOIN public.q_threads o USING (root_prompt_row_id, owner_id)
WHERE a.is_active = true AND o.provider IS NOT NULL AND o.provider IS DISTINCT FROM a.provider
ORDER BY a.purpose::text IS DISTINCT FROM 'run', a.provider IS NULL, m.threads, root, owner, a.provider::text, o.provider::text
LIMIT 1;
