-- Question: which open transactions would make the build or the drop wait?
-- Parameters: schema, table.
-- Columns: pid, application_name, state, seconds (age of the transaction), prepared, writes (it wrote the
--          table), touches (it read or wrote it), snapshot (it holds one). NULL: this role may not see it.
-- Order: the oldest first. No query text is read.
WITH held AS (
    SELECT l.pid, bool_or(l.mode IN ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock',
               'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')) AS writes
    FROM pg_locks l
    WHERE l.locktype = 'relation' AND l.relation = to_regclass(format('%%I.%%I', %(schema)s::text, %(table)s::text))
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    GROUP BY l.pid
)
SELECT a.pid, a.application_name, a.state,
       extract(epoch FROM clock_timestamp() - a.xact_start)::float AS seconds, false AS prepared,
       coalesce(h.writes, false) AS writes, h.pid IS NOT NULL AS touches, a.backend_xmin IS NOT NULL AS snapshot
FROM pg_stat_activity a LEFT JOIN held h ON h.pid = a.pid
WHERE a.pid <> pg_backend_pid() AND a.datname = current_database() AND a.backend_type = 'client backend'
  AND (h.pid IS NOT NULL OR (a.backend_xmin IS NOT NULL AND a.xact_start < clock_timestamp() - interval '1 s'))
UNION ALL
SELECT NULL, gid, 'prepared', extract(epoch FROM clock_timestamp() - prepared)::float, true, true, true, false
FROM pg_prepared_xacts p WHERE p.database = current_database()
  -- Its locks have no pid; those of one transaction share what the lock on its own id shows.
  AND EXISTS (SELECT FROM pg_locks own JOIN pg_locks l USING (virtualtransaction)
              WHERE own.transactionid = p.transaction AND own.pid IS NULL AND l.pid IS NULL
                AND l.relation = to_regclass(format('%%I.%%I', %(schema)s::text, %(table)s::text)))
ORDER BY seconds DESC NULLS LAST;
