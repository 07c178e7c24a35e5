-- Question: is an upsert on the original index's key taken? It writes: for scratch databases alone.
-- Parameters: root (uuid), owner (uuid).
-- Columns: row_id. SQLSTATE 42P10 where no unique index has that key.
-- Order: one row, none where the family has an active thread.
INSERT INTO public.q_threads (root_prompt_row_id, owner_id, is_active) VALUES (%(root)s, %(owner)s, true)
ON CONFLICT (root_prompt_row_id, owner_id) WHERE is_active = true AND root_prompt_row_id IS NOT NULL DO NOTHING
RETURNING row_id;
