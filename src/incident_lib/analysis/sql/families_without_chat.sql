-- Question: in which families would a chat be the first beside a run?
-- Parameters: most (int).
-- Columns: root, owner. Families with an active run and no active chat.
-- Order: the latest run first.
SELECT r.root_prompt_row_id AS root, r.owner_id AS owner FROM public.q_threads r
WHERE r.is_active = true AND r.root_prompt_row_id IS NOT NULL AND r.owner_id IS NOT NULL AND r.purpose::text = 'run'
  AND NOT EXISTS (SELECT FROM public.q_threads c
                  WHERE c.root_prompt_row_id = r.root_prompt_row_id AND c.owner_id = r.owner_id
                    AND c.is_active = true AND c.purpose::text = 'chat')
ORDER BY r.created_at DESC NULLS LAST, r.row_id
LIMIT %(most)s;
