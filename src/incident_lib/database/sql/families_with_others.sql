-- Question: in how many of these families is there an active thread that is no chat?
-- Parameters: roots (uuid[]), owners (uuid[]); one place in each for a family.
-- Columns: families.
-- Order: one row.
SELECT count(*) AS families FROM unnest(%(roots)s::uuid[], %(owners)s::uuid[]) AS f (root, owner)
WHERE EXISTS (SELECT FROM public.q_threads t WHERE t.root_prompt_row_id = f.root AND t.owner_id = f.owner
              AND t.is_active = true AND t.purpose::text IS DISTINCT FROM 'chat');
