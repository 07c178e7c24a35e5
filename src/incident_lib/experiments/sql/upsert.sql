-- Question: is an upsert on the original index's key admitted? It writes: only for scratch databases.
-- Parameters: root (uuid), owner (uuid).
-- Columns: row_id. SQLSTATE 42P10 where no unique index has that key.
-- Order: one row, or none where the family has an active thread.
INSERT INTO public.q_threads (root_prompt_row_id, owner_id, is_active) VALUES (%(root)s, %(owner)s, true)
ON CONFLICT (root_prompt_row_id, owner_id) WHERE is_active = true AND root_prompt_row_id IS NOT NULL DO NOTHING
RETURNING row_id;
