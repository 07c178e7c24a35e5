-- Question: which event triggers fire for the statements of a migration?
-- Parameters: tags (text[]: of the statements).
-- Columns: name, event, owner, function, drops (it fires for DROP INDEX), writes and raises (the words of its source
--          suggest so; NULL: the source is not in the database).
-- Order: by name.
SELECT e.evtname::text AS name, e.evtevent::text AS event, pg_get_userbyid(e.evtowner)::text AS owner,
       e.evtfoid::regprocedure::text AS function,
       e.evttags IS NULL OR 'DROP INDEX' = ANY (e.evttags) AS drops,
       -- These give the transaction an id; FOR UPDATE does, too.
       CASE WHEN s.source IS NOT NULL THEN s.source ~* ('\m(insert|update|delete|merge|truncate|copy|nextval|setval'
           || '|txid_current|pg_current_xact_id|pg_logical_emit_message)\M') END AS writes,
       s.source ~* '\mraise\s+(exception|using|sqlstate)|\mraise\s*;' AS raises
FROM pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid JOIN pg_language l ON l.oid = p.prolang,
LATERAL (SELECT CASE WHEN l.lanname NOT IN ('c', 'internal') THEN
             regexp_replace(regexp_replace(p.prosrc, '/\*.*?\*/', '', 'g'), '--[^\n]*', '', 'g') END AS source) AS s
WHERE e.evtenabled IN ('O', 'A') AND e.evtevent IN ('ddl_command_start', 'ddl_command_end', 'sql_drop')
  AND (e.evttags IS NULL OR e.evttags && %(tags)s::text[])
ORDER BY e.evtname;
