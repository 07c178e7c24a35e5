-- Question: which settings and limits of the server, the database and this role would stop or slow a migration?
-- Parameters: none.
-- Columns: read_only, synchronous_commit and transaction_timeout (as a new session of this role gets them; the last is
--          NULL before 17), synchronous_standbys (the setting), synchronous (standbys that confirm commits now; NULL:
--          this role may not see it), free_slots, free_of_role, free_of_database (connections that are left, ours
--          counted as free; NULL: no limit).
-- Order: one row.
WITH me AS (
    SELECT r.oid, r.rolsuper, r.rolconnlimit, d.oid AS database, d.datconnlimit
    FROM pg_roles r, pg_database d WHERE r.rolname = session_user AND d.datname = current_database()
), setting AS ( -- what is stored for role and database comes before the server's; our own SET does not count
    SELECT s.name, coalesce(
        (SELECT split_part(stored, '=', 2) FROM me, pg_db_role_setting o, unnest(o.setconfig) AS stored
         WHERE split_part(stored, '=', 1) = s.name AND o.setrole IN (0, me.oid) AND o.setdatabase IN (0, me.database)
         ORDER BY o.setrole = 0, o.setdatabase = 0 LIMIT 1), s.reset_val) AS value
    FROM pg_settings s
    WHERE s.name IN ('default_transaction_read_only', 'synchronous_commit', 'transaction_timeout')
), used AS (
    SELECT (SELECT sum(numbackends) FROM pg_stat_database) AS of_server,
           (SELECT count(*) FROM pg_stat_activity, me WHERE usesysid = me.oid) AS of_role,
           (SELECT numbackends FROM pg_stat_database, me WHERE datid = me.database) AS of_database
)
SELECT (SELECT value::boolean FROM setting WHERE name = 'default_transaction_read_only') AS read_only,
       (SELECT value FROM setting WHERE name = 'synchronous_commit') AS synchronous_commit,
       (SELECT value FROM setting WHERE name = 'transaction_timeout') AS transaction_timeout,
       current_setting('synchronous_standby_names') AS synchronous_standbys,
       CASE WHEN pg_has_role('pg_read_all_stats', 'USAGE') THEN
           (SELECT count(*) FROM pg_stat_replication
            WHERE sync_state IN ('sync', 'quorum') AND state = 'streaming') END AS synchronous,
       (current_setting('max_connections')::int - used.of_server + 1 - CASE WHEN me.rolsuper THEN 0 ELSE
           current_setting('superuser_reserved_connections')::int
           + coalesce(current_setting('reserved_connections', true)::int, 0) END)::int AS free_slots,
       CASE WHEN me.rolconnlimit >= 0 AND NOT me.rolsuper THEN me.rolconnlimit - used.of_role + 1 END AS free_of_role,
       CASE WHEN me.datconnlimit >= 0 AND NOT me.rolsuper THEN me.datconnlimit - used.of_database + 1 END
           AS free_of_database
FROM me, used;
