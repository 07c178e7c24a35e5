-- Question: what else matters for a build or a drop of an index of the table?
-- Parameters: schema, table, columns (text[], sorted: those of the key that the plan takes away), is_exact (whether
--             they are all of that key; else any list of ON CONFLICT that has an expression may mean it).
-- Columns: sees_sessions (whether this role sees what other roles' sessions do), reads_checkpoint (whether it may read
--          when the last checkpoint was), triggers, functions (whose SQL infers
--          that key, in any order), replicas, lag_bytes (the largest; NULL: none, or not visible to this role),
--          closed_tablespaces (of the table's indexes, in which this role may create nothing), table_bytes.
-- Order: one row.
SELECT pg_has_role('pg_read_all_stats', 'USAGE') AS sees_sessions,
       has_function_privilege('pg_control_checkpoint()', 'EXECUTE') AS reads_checkpoint,
       ARRAY(SELECT tgname::text FROM pg_trigger WHERE tgrelid = t.oid AND NOT tgisinternal
             AND tgenabled <> 'D' ORDER BY 1) AS triggers,
       ARRAY(SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang,
             -- A function with BEGIN ATOMIC has no source text, but a body that is already parsed.
             LATERAL (SELECT regexp_replace(regexp_replace(
                          CASE WHEN p.prosqlbody IS NULL THEN p.prosrc ELSE pg_get_function_sqlbody(p.oid) END,
                          '/\*.*?\*/', ' ', 'g'), '--[^\n]*', ' ', 'g')) AS b (body)
             WHERE l.lanname IN ('sql', 'plpgsql') AND (p.prosqlbody IS NOT NULL OR p.prosrc ~* 'conflict')
               AND lower(b.body) ~ t.named
               AND EXISTS (SELECT FROM regexp_matches(b.body, 'on\s+conflict\s*\(([^()]*)(.)', 'gi') AS k (list)
                           WHERE CASE WHEN NOT %(is_exact)s THEN k.list[2] = '('
                               ELSE ARRAY(SELECT lower(btrim(regexp_replace(part,
                                   '\s+(collate\s.*|\w+_ops)\s*$', '', 'i'), E' "\n\r\t')) COLLATE "C"
                               FROM regexp_split_to_table(k.list[1], ',') AS part ORDER BY 1)
                             = ARRAY(SELECT lower(c) COLLATE "C" FROM unnest(%(columns)s::text[]) AS c ORDER BY 1) END)
             ORDER BY 1) AS functions,
       (SELECT count(*) FROM pg_stat_replication) AS replicas,
       (SELECT max(pg_wal_lsn_diff(sent_lsn, replay_lsn))::bigint FROM pg_stat_replication) AS lag_bytes,
       ARRAY(SELECT DISTINCT s.spcname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
             JOIN pg_tablespace s ON s.oid = c.reltablespace
             WHERE i.indrelid = t.oid AND NOT has_tablespace_privilege(s.oid, 'CREATE') ORDER BY 1) AS closed_tablespaces,
       -- A partitioned table has nothing itself; no other table has a tree.
       pg_relation_size(t.oid) + coalesce((SELECT sum(pg_relation_size(relid)) FROM pg_partition_tree(t.oid)
                                           WHERE relid <> t.oid), 0)::bigint AS table_bytes
FROM (SELECT o.oid,
             -- A row goes into the table by its name, by that of a partition, or of a view.
             (SELECT '(^|[^[:alnum:]_$])(' || string_agg(DISTINCT regexp_replace(lower(replace(c.relname, '"', '""')),
                                                               '([^[:alnum:]_])', '\\\1', 'g'), '|')
                     || ')($|[^[:alnum:]_$])'
              FROM pg_class c
              WHERE c.oid = o.oid OR c.oid IN (SELECT relid FROM pg_partition_tree(o.oid))
                 OR c.oid IN (SELECT w.ev_class FROM pg_depend d JOIN pg_rewrite w ON w.oid = d.objid
                              WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = o.oid
                                AND d.refclassid = 'pg_class'::regclass)) AS named
      FROM (SELECT to_regclass(format('%%I.%%I', %(schema)s::text, %(table)s::text)) AS oid) AS o) AS t;
