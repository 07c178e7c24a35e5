-- Question: which scratch databases did killed processes leave behind?
-- Parameters: prefix (text: how their names begin).
-- Columns: name. A process that uses one keeps a session open whose application_name ends with the database's name.
-- Order: by name.
SELECT d.datname::text AS name FROM pg_database d
WHERE starts_with(d.datname::text, %(prefix)s)
  AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.application_name = 'incident_lib ' || d.datname)
ORDER BY 1;
