-- Question: which columns does a table have?
-- Parameters: "table" (its schema and name, with one dot between them).
-- Columns: name.
-- Order: as in the table.
SELECT a.attname AS name
FROM pg_attribute a
JOIN pg_class t ON t.oid = a.attrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE concat(n.nspname, '.', t.relname) = %(table)s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum;
