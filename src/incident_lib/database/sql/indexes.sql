-- Question: which indexes can enforce something on q_threads, or hold one of our names?
-- Parameters: schema, table, names (text[]).
-- Columns: on_table, those of model.Index. A key column that is an expression is NULL.
-- Order: by name.
SELECT i.indrelid IS NOT DISTINCT FROM t.oid AS on_table, c.relname AS name, c.relkind::text AS relkind,
       pg_get_indexdef(i.indexrelid) AS definition,
       ARRAY(SELECT a.attname::text
             FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
             LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.attnum > 0
             WHERE k.place <= i.indnkeyatts ORDER BY k.place) AS columns,
       pg_get_expr(i.indpred, i.indrelid) AS predicate,
       i.indisunique AS "unique", i.indisexclusion AS exclusion,
       -- PostgreSQL 15 brought NULLS NOT DISTINCT; before, the column is not there.
       coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false) AS nulls_not_distinct,
       i.indisvalid AS valid, i.indisready AS ready, i.indislive AS live,
       obj_description(c.oid, 'pg_class') AS comment, pg_relation_size(c.oid) AS size,
       (SELECT p.pid FROM pg_stat_progress_create_index p
        WHERE p.index_relid = c.oid AND p.datid = (SELECT oid FROM pg_database WHERE datname = current_database())
        LIMIT 1) AS builder
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_index i ON i.indexrelid = c.oid
LEFT JOIN LATERAL (SELECT to_regclass(format('%%I.%%I', %(schema)s::text, %(table)s::text)) AS oid) AS t ON true
WHERE (i.indrelid = t.oid AND (i.indisunique OR i.indisexclusion))
   OR (n.nspname = %(schema)s AND c.relname = ANY (%(names)s))
ORDER BY c.relname;
