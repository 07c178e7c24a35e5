-- Question: which unique indexes do the tables of this database have, and what does each require?
-- Parameters: none.
-- Columns: oid, table_oid, schema, table, name; key: the columns' names, NULL for an expression; elements: the same as
--          numbers of columns, with their collations; expressions, predicate: as PostgreSQL stores them, without the
--          places in the statement, NULL where there is none; nulls_not_distinct; nullable: whether a column of the key
--          may be NULL, or an expression is in it; immediate: whether each row is checked at once;
--          "primary", "constraint"; referenced: whether a foreign key uses it; identity: whether it is the replica
--          identity. Indexes that are not enforced for all rows, constraints WITHOUT OVERLAPS, tables of extensions and
--          partitions are left out.
-- Order: by schema, table, name.
WITH referenced AS MATERIALIZED (SELECT DISTINCT conindid FROM pg_constraint WHERE contype = 'f'),
owners AS MATERIALIZED (SELECT conindid FROM pg_constraint WHERE contype IN ('p', 'u')),
extensions AS MATERIALIZED (
    SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass AND deptype = 'e'
)
SELECT i.indexrelid AS oid, t.oid AS table_oid, n.nspname AS schema, t.relname AS "table", c.relname AS name,
       k.key, k.elements,
       -- The same expression is stored with other places where it was written elsewhere in a statement.
       regexp_replace(i.indexprs::text, ':location -?\d+', '', 'g') AS expressions,
       regexp_replace(i.indpred::text, ':location -?\d+', '', 'g') AS predicate,
       coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false) AS nulls_not_distinct,
       k.nullable, i.indimmediate AS immediate, i.indisprimary AS "primary",
       EXISTS (SELECT FROM owners WHERE conindid = i.indexrelid) AS "constraint",
       EXISTS (SELECT FROM referenced WHERE conindid = i.indexrelid) AS referenced,
       i.indisreplident AS identity
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_class t ON t.oid = i.indrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
CROSS JOIN LATERAL (
    SELECT array_agg(a.attname::text ORDER BY u.place) AS key,
           array_agg(concat(u.number, ':', u.coll) ORDER BY u.place) AS elements,
           bool_or(a.attnotnull IS NOT TRUE) AS nullable
    FROM unnest(i.indkey::int2[], i.indcollation::oid[]) WITH ORDINALITY AS u (number, coll, place)
    LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.number AND u.number > 0
    WHERE u.place <= i.indnkeyatts
) AS k
WHERE i.indisunique AND NOT i.indisexclusion AND i.indisvalid AND i.indisready AND i.indislive
  AND t.relkind IN ('r', 'p') AND NOT t.relispartition
  AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
  AND NOT EXISTS (SELECT FROM extensions WHERE objid = t.oid)
ORDER BY n.nspname, t.relname, c.relname;
