-- Question: which root prompts, or which users, do the threads have?
-- Parameters: of_roots (boolean; false: users).
-- Columns: id (uuid), each once.
-- Order: none: it is read as a stream.
SELECT DISTINCT CASE WHEN %(of_roots)s THEN t.root_prompt_row_id ELSE t.owner_id END AS id
FROM public.q_threads t
WHERE t.root_prompt_row_id IS NOT NULL AND t.owner_id IS NOT NULL;
