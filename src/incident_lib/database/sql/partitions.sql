-- Question: which partitions does q_threads have?
-- Parameters: schema, table.
-- Columns: schema, name, parent (path of the table that it is a partition of; NULL: it is q_threads itself), leaf (it
--          has no partitions itself). No row where q_threads is not partitioned.
-- Order: each after its parent; by name.
WITH RECURSIVE tree (oid, parent, level) AS (
    SELECT c.oid, NULL::oid, 0 FROM pg_class c
    WHERE c.oid = to_regclass(format('%%I.%%I', %(schema)s::text, %(table)s::text)) AND c.relkind = 'p'
    UNION ALL SELECT h.inhrelid, h.inhparent, tree.level + 1
              FROM pg_inherits h JOIN tree ON tree.oid = h.inhparent
)
SELECT n.nspname AS schema, c.relname AS name, c.relkind <> 'p' AS leaf,
       (SELECT concat(pn.nspname, '.', p.relname) FROM pg_class p JOIN pg_namespace pn ON pn.oid = p.relnamespace
        WHERE p.oid = tree.parent) AS parent
FROM tree JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace
ORDER BY tree.level, n.nspname, c.relname;
