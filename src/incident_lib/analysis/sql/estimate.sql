-- Question: about how many families are blocked, by the planner's estimate, at once?
-- Parameters: blocked_for (text, NULL: any).
-- Columns: QUERY PLAN (json), whose rows are active threads that may block a family.
-- Order: none: one row.
EXPLAIN (FORMAT JSON)
SELECT FROM public.q_threads t
WHERE t.is_active = true AND t.root_prompt_row_id IS NOT NULL AND t.owner_id IS NOT NULL
  AND (%(blocked_for)s::text IS NULL OR t.purpose::text IS DISTINCT FROM %(blocked_for)s::text);
