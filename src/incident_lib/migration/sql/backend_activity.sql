-- Question: how far is a backend's build, which sessions block it, and which sessions does it block?
-- Parameters: pid.
-- Columns: phase, done, total (blocks, else tuples, else lockers; NULL: no build), xid (its transaction),
--          blockers and waiters (pid, kind, application_name, state, seconds of each; never their query; waits: for how
--          many seconds a waiter has waited). What this role may not see of another session is NULL; pids all roles see.
-- Order: one row, none once the backend is gone.
WITH session AS (
    SELECT b.pid, jsonb_build_object(
               'pid', b.pid, 'application_name', b.application_name, 'state', b.state, 'prepared', false,
               'seconds', extract(epoch FROM clock_timestamp() - b.xact_start)::float,
               'kind', CASE WHEN b.query LIKE 'autovacuum:%%(to prevent wraparound)' AND b.backend_type LIKE 'autovacuum%%'
                            THEN 'autovacuum to prevent wraparound'
                            WHEN b.backend_type <> 'client backend' THEN b.backend_type
                            ELSE coalesce(i.command, CASE WHEN v.phase IS NOT NULL THEN 'VACUUM' END, c.command,
                                          CASE WHEN n.phase IS NOT NULL THEN 'ANALYZE' END, b.backend_type) END) AS shown
    FROM pg_stat_activity b
    LEFT JOIN pg_stat_progress_create_index i ON i.pid = b.pid
    LEFT JOIN pg_stat_progress_vacuum v ON v.pid = b.pid
    LEFT JOIN pg_stat_progress_analyze n ON n.pid = b.pid
    LEFT JOIN pg_stat_progress_cluster c ON c.pid = b.pid
)
SELECT p.phase,
       CASE WHEN p.blocks_total > 0 THEN p.blocks_done WHEN p.tuples_total > 0 THEN p.tuples_done
            ELSE p.lockers_done END AS done,
       CASE WHEN p.blocks_total > 0 THEN p.blocks_total WHEN p.tuples_total > 0 THEN p.tuples_total
            ELSE p.lockers_total END AS total,
       a.backend_xid::text AS xid, a.application_name, a.state,
       extract(epoch FROM clock_timestamp() - a.query_start)::float AS seconds,
       (SELECT coalesce(jsonb_agg(coalesce(s.shown, '{"pid": null, "application_name": null, "state": "prepared",
                   "prepared": true, "seconds": null, "kind": "prepared transaction"}')), '[]')
        -- pg_blocking_pids takes the lock manager's locks for a moment: called only for a backend that waits for a lock.
        FROM unnest(CASE WHEN a.wait_event_type = 'Lock' THEN pg_blocking_pids(a.pid) END) AS k (pid)
        LEFT JOIN session s ON s.pid = k.pid) AS blockers,
       (SELECT coalesce(jsonb_agg(s.shown || jsonb_build_object('waits', w.waits)), '[]')
        FROM (SELECT l.pid, max(extract(epoch FROM clock_timestamp() - l.waitstart)::float) AS waits
              FROM pg_locks l
              -- Only those that ask for what the backend has or asks for: pg_blocking_pids is not free.
              WHERE NOT l.granted AND l.pid <> a.pid
                AND EXISTS (SELECT FROM pg_locks h WHERE h.pid = a.pid AND h.locktype = l.locktype
                              AND (h.database, h.relation, h.virtualxid, h.transactionid)
                                  IS NOT DISTINCT FROM (l.database, l.relation, l.virtualxid, l.transactionid))
                AND a.pid = ANY (pg_blocking_pids(l.pid))
              GROUP BY l.pid) AS w
        JOIN session s ON s.pid = w.pid) AS waiters
FROM pg_stat_activity a LEFT JOIN pg_stat_progress_create_index p ON p.pid = a.pid
WHERE a.pid = %(pid)s;
