-- Question: which other sessions hold a lock on the table or a partition under which an index may be being built or dropped?
-- Parameters: schema, table.
-- Columns: pid, autovacuum (it is a worker of it: of no user, which every role sees). One that ends itself for others is
--          left out, where this role sees that.
-- Order: by pid.
WITH RECURSIVE tree (oid) AS (
    SELECT to_regclass(format('%%I.%%I', %(schema)s::text, %(table)s::text))::oid
    UNION ALL SELECT h.inhrelid FROM pg_inherits h JOIN tree ON tree.oid = h.inhparent
              JOIN pg_class p ON p.oid = h.inhrelid AND p.relispartition
)
SELECT DISTINCT l.pid, a.pid IS NOT NULL AND a.usesysid IS NULL AS autovacuum
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.relation IN (SELECT oid FROM tree)
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.granted AND l.pid <> pg_backend_pid() AND a.leader_pid IS NULL
  AND l.mode IN ('ShareUpdateExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
  AND NOT coalesce(a.backend_type = 'autovacuum worker'
                   AND a.query NOT LIKE 'autovacuum:%%(to prevent wraparound)', false)
ORDER BY l.pid;
