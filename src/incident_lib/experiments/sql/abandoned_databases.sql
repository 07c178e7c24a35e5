-- Question: which scratch databases were left behind, by processes that were killed?
-- Parameters: prefix (text: how their names begin).
-- Columns: name. Whoever uses one keeps a session open that is called by it.
-- Order: by name.
SELECT d.datname::text AS name FROM pg_database d
WHERE starts_with(d.datname::text, %(prefix)s)
  AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.application_name = 'incident_lib ' || d.datname)
ORDER BY 1;
