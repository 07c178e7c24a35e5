-- Question: which indexes have these names, and to which index of the whole table is that of a partition attached?
-- Parameters: names (text[]).
-- Columns: name: as it was given; schema; oid: of the index of the whole table; "unique".
-- Order: by name and schema.
WITH RECURSIVE above (name, schema, oid) AS (
    SELECT c.relname::text, n.nspname::text, c.oid
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('i', 'I') AND c.relname = ANY (%(names)s)
    UNION ALL
    SELECT above.name, above.schema, h.inhparent FROM above JOIN pg_inherits h ON h.inhrelid = above.oid
)
SELECT above.name, above.schema, above.oid, i.indisunique AS "unique"
FROM above
JOIN pg_index i ON i.indexrelid = above.oid
WHERE NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = above.oid)
ORDER BY above.name, above.schema;
