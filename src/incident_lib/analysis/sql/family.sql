-- Question: which threads has one family, in the order in which they came?
-- Parameters: root (uuid), owner (uuid).
-- Columns: row_id, created_at (NULL: unknown, or no year of Python's), purpose, provider, is_active. Not the name:
--          users wrote it.
-- Order: the oldest first.
SELECT row_id, CASE WHEN created_at BETWEEN '0001-01-02' AND '9999-12-30' THEN created_at END AS created_at,
       purpose, provider, is_active
FROM public.q_threads
WHERE root_prompt_row_id = %(root)s AND owner_id = %(owner)s
ORDER BY created_at NULLS FIRST, row_id;
