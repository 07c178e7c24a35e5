-- Question: how many versions of thread rows were written or ended by the migration's own transactions?
-- Parameters: xids (text[], the 32 bits that a row carries).
-- Columns: versions. Reads the whole table once.
-- Order: one row.
SELECT count(*) AS versions FROM public.q_threads
WHERE xmin = ANY (%(xids)s::text[]::xid[]) OR xmax = ANY (%(xids)s::text[]::xid[]);
