-- Question: which session holds the advisory lock of migrations, and how far is it?
-- Parameters: key (bigint).
-- Columns: pid, application_name, state, seconds (age of its statement), phase, done, total (NULL: no build).
-- Order: one row, none where no session holds it.
SELECT a.pid, a.application_name, a.state,
       extract(epoch FROM clock_timestamp() - a.query_start)::float AS seconds,
       p.phase, p.blocks_done AS done, p.blocks_total AS total
FROM pg_locks l
JOIN pg_stat_activity a ON a.pid = l.pid
LEFT JOIN pg_stat_progress_create_index p ON p.pid = l.pid
WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.classid = (%(key)s::bigint >> 32)::oid AND l.objid = (%(key)s::bigint & 4294967295)::oid;
