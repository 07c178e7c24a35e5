-- Question: which role is this, and what may it see?
-- Parameters: none.
-- Columns: role, read_only (this transaction), sees_sessions (whether it sees what other sessions do).
-- Order: one row.
SELECT current_user::text AS role, current_setting('transaction_read_only')::boolean AS read_only,
       pg_has_role('pg_read_all_stats', 'USAGE') AS sees_sessions;
