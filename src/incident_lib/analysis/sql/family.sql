-- Question: which threads do these families have?
-- Parameters: roots (uuid[]), owners (uuid[]); one place in each for a family.
-- Columns: root, owner, row_id, created_at (NULL: unknown, or not a year of Python's), purpose, provider, is_active. Not
--          the name: users wrote it.
-- Order: that of the arrays; the threads of a family by age, the oldest first.
SELECT f.root, f.owner, t.row_id,
       CASE WHEN t.created_at BETWEEN '0001-01-02' AND '9999-12-30' THEN t.created_at END AS created_at,
       t.purpose::text, t.provider::text, t.is_active
FROM unnest(%(roots)s::uuid[], %(owners)s::uuid[]) WITH ORDINALITY AS f (root, owner, place)
JOIN public.q_threads t ON t.root_prompt_row_id = f.root AND t.owner_id = f.owner
ORDER BY f.place, t.created_at NULLS FIRST, t.row_id;
