-- Question: by which name can another connection import this transaction's snapshot, and what does it hold?
-- Parameters: none.
-- Columns: snapshot (for SET TRANSACTION SNAPSHOT), current (the ids of transactions that it sees and does not see).
-- Order: one row.
SELECT pg_export_snapshot() AS snapshot, pg_current_snapshot()::text AS current;
