-- Question: which families have ids that begin so?
-- Parameters: root_from, root_to, owner_from, owner_to (uuid; the first and the last id that begin so).
-- Columns: root, owner.
-- Order: at most three, by root and owner.
SELECT DISTINCT root_prompt_row_id AS root, owner_id AS owner
FROM public.q_threads
WHERE root_prompt_row_id BETWEEN %(root_from)s AND %(root_to)s AND owner_id BETWEEN %(owner_from)s AND %(owner_to)s
ORDER BY root, owner LIMIT 3;
