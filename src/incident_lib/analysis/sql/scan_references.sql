-- Question: to which tables do the foreign keys of some tables refer, and which columns do those have?
-- Parameters: tables (oid[]).
-- Columns: table_oid; columns: of the foreign key; target: schema and name; target_columns: all of them.
-- Order: by table and name of the constraint.
SELECT f.conrelid AS table_oid,
       ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = f.conrelid AND a.attnum = ANY (f.conkey)
             ORDER BY a.attnum) AS columns,
       concat(n.nspname, '.', t.relname) AS target,
       ARRAY(SELECT a.attname::text FROM pg_attribute a
             WHERE a.attrelid = f.confrelid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) AS target_columns
FROM pg_constraint f
JOIN pg_class t ON t.oid = f.confrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE f.contype = 'f' AND f.conrelid = ANY (%(tables)s) AND f.confrelid <> f.conrelid
ORDER BY f.conrelid, f.conname;
