-- Question: which replication slots keep WAL or old row versions?
-- Parameters: none.
-- Columns: name, active, wal_status, safe_wal_size (bytes of WAL until the slot may be lost; NULL: no limit), kept
--          (bytes of WAL that it keeps; NULL: none, or on a standby), xmin (whether it keeps old row versions).
-- Order: by name.
SELECT slot_name::text AS name, active, wal_status, safe_wal_size,
       CASE WHEN NOT pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint END AS kept,
       xmin IS NOT NULL OR catalog_xmin IS NOT NULL AS xmin
FROM pg_replication_slots
ORDER BY slot_name;
