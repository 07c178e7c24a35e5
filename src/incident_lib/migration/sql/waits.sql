-- Question: which open transactions would make the build or the drop wait? Those of partitions count, too.
-- Parameters: schema, table.
-- Columns: pid, kind (what the session is; NULL: this role may not see it), application_name, state, seconds (age of
--          the transaction), prepared, gid and transaction (of a prepared one), mode (of the strongest lock on the
--          table, held or asked for), writes (it may write the table), touches (it read or wrote it), snapshot (it
--          holds one that a build waits for). NULL: this role may not see it; pids, locks and snapshots all roles see.
-- Order: the oldest first. No query text is returned.
WITH tree AS (
    SELECT to_regclass(format('%%I.%%I', %(schema)s::text, %(table)s::text))::oid AS oid
    UNION SELECT relid FROM pg_partition_tree(to_regclass(format('%%I.%%I', %(schema)s::text, %(table)s::text)))
), held AS (
    SELECT l.pid, bool_or(l.mode IN ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock',
               'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')) AS writes,
           (array_agg(s.mode ORDER BY s.place DESC))[1] AS mode
    FROM pg_locks l
    JOIN (VALUES ('AccessShareLock', 1, 'ACCESS SHARE'), ('RowShareLock', 2, 'ROW SHARE'),
                 ('RowExclusiveLock', 3, 'ROW EXCLUSIVE'), ('ShareUpdateExclusiveLock', 4, 'SHARE UPDATE EXCLUSIVE'),
                 ('ShareLock', 5, 'SHARE'), ('ShareRowExclusiveLock', 6, 'SHARE ROW EXCLUSIVE'),
                 ('ExclusiveLock', 7, 'EXCLUSIVE'), ('AccessExclusiveLock', 8, 'ACCESS EXCLUSIVE'))
         AS s (name, place, mode) ON s.name = l.mode
    WHERE l.locktype = 'relation' AND l.relation IN (SELECT oid FROM tree)
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    GROUP BY l.pid
)
SELECT a.pid, k.kind, a.application_name, a.state,
       extract(epoch FROM clock_timestamp() - a.xact_start)::float AS seconds, false AS prepared,
       NULL AS gid, NULL AS transaction, h.mode,
       coalesce(h.writes, false) AS writes, h.pid IS NOT NULL AS touches, s.waited_for AS snapshot
FROM pg_stat_activity a LEFT JOIN held h ON h.pid = a.pid
LEFT JOIN pg_stat_progress_create_index i ON i.pid = a.pid
LEFT JOIN pg_stat_progress_vacuum v ON v.pid = a.pid
LEFT JOIN pg_stat_progress_analyze n ON n.pid = a.pid
LEFT JOIN pg_stat_progress_cluster c ON c.pid = a.pid,
LATERAL (SELECT CASE WHEN a.backend_type = 'autovacuum worker'
                     THEN CASE WHEN a.query LIKE 'autovacuum:%%(to prevent wraparound)'
                               THEN 'autovacuum to prevent wraparound' ELSE 'autovacuum worker' END
                     WHEN a.backend_type <> 'client backend' THEN a.backend_type
                     ELSE coalesce(i.command, CASE WHEN v.phase IS NOT NULL THEN 'VACUUM' END, c.command,
                                   CASE WHEN n.phase IS NOT NULL THEN 'ANALYZE' END, a.backend_type) END) AS k (kind),
-- A build does not wait for the snapshots of VACUUM and of autovacuum; a snapshot of less than a second is left out.
LATERAL (SELECT a.backend_xmin IS NOT NULL AND k.kind IS DISTINCT FROM 'VACUUM' AND k.kind NOT LIKE 'autovacuum%%'
                IS NOT FALSE AND (a.xact_start < clock_timestamp() - interval '1 s') IS NOT FALSE) AS s (waited_for)
WHERE a.pid <> pg_backend_pid() AND a.datname = current_database() AND a.leader_pid IS NULL
  AND (h.pid IS NOT NULL OR s.waited_for)
UNION ALL
SELECT NULL, 'prepared transaction', NULL, 'prepared', extract(epoch FROM clock_timestamp() - prepared)::float, true,
       gid, transaction::text, NULL, true, true, false
FROM pg_prepared_xacts p WHERE p.database = current_database()
  -- Its locks have no pid; those of one transaction share what the lock on its own id shows.
  AND EXISTS (SELECT FROM pg_locks own JOIN pg_locks l USING (virtualtransaction)
              WHERE own.transactionid = p.transaction AND own.pid IS NULL AND l.pid IS NULL
                AND l.relation IN (SELECT oid FROM tree))
ORDER BY seconds DESC NULLS LAST;
