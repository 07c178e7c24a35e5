-- Question: how many clients wait for a lock that a session which is no client holds, or has queued for before them?
-- Parameters: client (the application_name of each client).
-- Columns: waiting.
-- Order: one row.
SELECT count(*) AS waiting FROM pg_stat_activity w
WHERE w.datname = current_database() AND w.wait_event_type = 'Lock' AND w.application_name = %(client)s
  AND EXISTS (SELECT FROM unnest(pg_blocking_pids(w.pid)) AS b (pid) JOIN pg_stat_activity a ON a.pid = b.pid
              WHERE a.backend_type = 'client backend' AND a.application_name <> %(client)s);
