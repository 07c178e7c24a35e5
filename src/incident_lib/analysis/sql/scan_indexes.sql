-- Question: which indexes do some tables have, and how old is each?
-- Parameters: tables (oid[]).
-- Columns: table_oid, oid, name; columns: those of its key, then those that it includes; an expression as it is written;
--          key_size: how many of these are its key; predicate: NULL where there is none; used: the columns in its
--          predicate and its expressions; age: transactions since it was made.
-- Order: by table and name.
SELECT i.indrelid AS table_oid, i.indexrelid AS oid, c.relname AS name,
       ARRAY(SELECT coalesce(a.attname::text, pg_get_indexdef(i.indexrelid, k.place::int, false))
             FROM unnest(i.indkey) WITH ORDINALITY AS k (number, place)
             LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number AND k.number > 0
             ORDER BY k.place) AS columns,
       i.indnkeyatts::int AS key_size, pg_get_expr(i.indpred, i.indrelid) AS predicate,
       ARRAY(SELECT a.attname::text FROM pg_depend d
             JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
             WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
               AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid
               AND a.attnum <> ALL (i.indkey)) AS used,
       -- Renaming the index changes pg_class; its entries of pg_attribute stay as they were made.
       (SELECT max(age(a.xmin)) FROM pg_attribute a WHERE a.attrelid = i.indexrelid) AS age
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = ANY (%(tables)s) AND i.indisready AND i.indislive
ORDER BY i.indrelid, c.relname;
