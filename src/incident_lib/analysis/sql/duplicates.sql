-- Question: in which families do several active threads share a key of an index?
-- Parameters: by_purpose (true: the fixed index's key, else the original's), most (int, NULL: all).
-- Columns: root_prompt_row_id, owner_id, active_threads, purposes. A row for each key.
-- Order: by family, then by purpose.
SELECT root_prompt_row_id, owner_id, count(*) AS active_threads,
       -- A spreadsheet takes these for formulas: the column has no CHECK, so it may hold anything.
       string_agg(regexp_replace(purpose::text, '^[=+@[:cntrl:]-]', '''\&'), ', ' ORDER BY purpose::text) AS purposes
FROM public.q_threads
WHERE is_active = true AND root_prompt_row_id IS NOT NULL AND owner_id IS NOT NULL
  AND (purpose IS NOT NULL OR NOT %(by_purpose)s)
GROUP BY root_prompt_row_id, owner_id, CASE WHEN %(by_purpose)s THEN purpose::text END
HAVING count(*) > 1
ORDER BY root_prompt_row_id, owner_id, min(purpose::text)
LIMIT %(most)s;
