-- Question: does this transaction see what the one sees that exported its snapshot? Another server may know the name, too.
-- Parameters: current (text).
-- Columns: same.
-- Order: one row.
SELECT pg_current_snapshot()::text = %(current)s AS same;
