-- Question: which of these columns may hold NULL, and about how many rows does an index cover?
-- Parameters: schema, table, columns (text[]), index (its name in that schema).
-- Columns: nullable (text[]), rows (as the statistics have it: 0 where nothing is known).
-- Order: one row.
SELECT ARRAY(SELECT a.attname::text FROM pg_attribute a
             WHERE a.attrelid = t.oid AND a.attname = ANY (%(columns)s) AND a.attnum > 0 AND NOT a.attnotnull
             ORDER BY a.attnum) AS nullable,
       greatest(coalesce((SELECT c.reltuples FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid
                          JOIN pg_namespace n ON n.oid = c.relnamespace
                          WHERE i.indrelid = t.oid AND n.nspname = %(schema)s AND c.relname = %(index)s),
                         (SELECT reltuples FROM pg_class WHERE oid = t.oid)), 0)::bigint AS rows
FROM (SELECT to_regclass(format('%%I.%%I', %(schema)s::text, %(table)s::text))::oid AS oid) AS t;
