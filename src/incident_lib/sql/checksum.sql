-- Question: are these the very same threads? Equal counts and checksums before and after say so.
-- Parameters: none.
-- Columns: threads, checksum (64 bits over all columns of all rows, whatever their order). Reads all once.
-- Order: one row.
SELECT count(*) AS threads, bit_xor(hash_record_extended(t, 0)) AS checksum FROM public.q_threads t;
