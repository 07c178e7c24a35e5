-- Question: are these the same threads as before? They are if count and checksum are equal.
-- Parameters: none. Reads all once.
-- Columns: threads, checksum (64 bits over all row versions, whatever their order: PostgreSQL never changes a version,
--          every UPDATE makes a new one. Of one table only: a copy or VACUUM FULL makes new versions of all rows).
-- Order: one row.
SELECT count(*) AS threads, bit_xor(hash_record_extended(ROW(ctid, xmin), 0)) AS checksum FROM public.q_threads;
