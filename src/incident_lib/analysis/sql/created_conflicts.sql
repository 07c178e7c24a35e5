-- Question: how many of the active threads that block another provider were created since a time?
-- Parameters: since (timestamptz).
-- Columns: threads. Reads the table once, and the families of the threads that were created since.
-- Order: one row.
SELECT count(*) AS threads FROM public.q_threads t
WHERE t.is_active = true AND t.created_at >= %(since)s::timestamptz
  AND EXISTS (SELECT FROM public.q_threads o WHERE o.root_prompt_row_id = t.root_prompt_row_id
              AND o.owner_id = t.owner_id AND o.provider IS DISTINCT FROM t.provider);
