-- Question: which indexes can enforce something on the table or a partition of it, or hold one of our names?
-- Parameters: schema, table, names (text[]).
-- Columns: on_table, those of model.UniqueIndex. A key column that is an expression is NULL; `expressions` has its text.
-- Order: by name.
WITH RECURSIVE tree (oid) AS ( -- the table and its partitions, without a lock on them
    SELECT to_regclass(format('%%I.%%I', %(schema)s::text, %(table)s::text))::oid
    UNION ALL SELECT h.inhrelid FROM pg_inherits h JOIN tree ON tree.oid = h.inhparent
              JOIN pg_class p ON p.oid = h.inhrelid AND p.relispartition
)
SELECT i.indrelid IS NOT DISTINCT FROM t.oid AS on_table, c.relname AS name, c.relkind::text AS relkind,
       n.nspname AS schema,
       (SELECT concat(pn.nspname, '.', p.relname) FROM tree JOIN pg_class p ON p.oid = tree.oid
        JOIN pg_namespace pn ON pn.oid = p.relnamespace WHERE p.oid = i.indrelid AND p.oid <> t.oid) AS partition,
       (SELECT concat(pn.nspname, '.', p.relname) FROM pg_inherits h JOIN pg_class p ON p.oid = h.inhparent
        JOIN pg_namespace pn ON pn.oid = p.relnamespace WHERE h.inhrelid = c.oid) AS parent,
       pg_get_indexdef(i.indexrelid) AS definition,
       ARRAY(SELECT a.attname::text
             FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
             LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.attnum > 0
             WHERE k.place <= i.indnkeyatts ORDER BY k.place) AS columns,
       ARRAY(SELECT pg_get_indexdef(i.indexrelid, k.place::int, false)
             FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
             WHERE k.place <= i.indnkeyatts AND k.attnum = 0 ORDER BY k.place) AS expressions,
       o.conname::text AS constraint, obj_description(o.oid, 'pg_constraint') AS constraint_comment,
       ARRAY(SELECT format('the foreign key %%s of %%s references it', f.conname, f.conrelid::regclass)
             FROM pg_depend d JOIN pg_constraint f ON f.oid = d.objid AND f.contype = 'f'
             WHERE d.classid = 'pg_constraint'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
             ORDER BY f.conname)
           || ARRAY(SELECT DISTINCT format('%%s names its constraint', pg_describe_object(d.classid, d.objid, 0))
                    FROM pg_depend d WHERE d.refclassid = 'pg_constraint'::regclass AND d.refobjid = o.oid
                      AND d.deptype = 'n' AND d.classid <> 'pg_constraint'::regclass ORDER BY 1)
           || ARRAY(SELECT format('it is a part of %%s, the index of the table of which this one is a partition',
                                  h.inhparent::regclass)
                    FROM pg_inherits h WHERE h.inhrelid = c.oid AND i.indrelid = t.oid)
           || CASE WHEN i.indisprimary THEN ARRAY['it is the primary key'] ELSE '{}' END
           || CASE WHEN i.indisreplident THEN ARRAY['it is the replica identity'] ELSE '{}' END
           || CASE WHEN NOT i.indimmediate THEN ARRAY['its constraint is deferrable'] ELSE '{}' END AS bound,
       ARRAY(SELECT a.attname::text
             FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
             WHERE k.place > i.indnkeyatts ORDER BY k.place) AS include,
       ARRAY(SELECT DISTINCT a.attname::text -- those of its expressions and its predicate, too
             FROM pg_attribute a LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
                  AND d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
             WHERE a.attrelid = i.indrelid AND a.attnum > 0
               AND (d.objid IS NOT NULL OR a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]))) AS used,
       coalesce(c.reloptions, '{}') AS storage,
       (SELECT spcname::text FROM pg_tablespace WHERE oid = c.reltablespace) AS tablespace,
       -- Bit 1 of an option is DESC, bit 2 NULLS FIRST.
       ARRAY(SELECT concat_ws(' ', coalesce(a.attname, '(expression)'),
                              CASE WHEN k.coll NOT IN (0, a.attcollation) THEN 'COLLATE ' || co.collname END,
                              CASE WHEN NOT oc.opcdefault THEN oc.opcname END,
                              CASE WHEN k.option & 1 = 1 THEN 'DESC' END,
                              CASE k.option & 3 WHEN 2 THEN 'NULLS FIRST' WHEN 1 THEN 'NULLS LAST' END)
             FROM unnest(i.indkey::int2[], i.indoption::int2[], i.indclass::oid[], i.indcollation::oid[])
                  WITH ORDINALITY AS k (attnum, option, opclass, coll, place)
             JOIN pg_opclass oc ON oc.oid = k.opclass
             LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.attnum > 0
             LEFT JOIN pg_collation co ON co.oid = k.coll
             WHERE k.place <= i.indnkeyatts
               AND (k.option <> 0 OR NOT oc.opcdefault OR k.coll NOT IN (0, a.attcollation))
             ORDER BY k.place) || CASE WHEN i.indisclustered THEN ARRAY['CLUSTER ON'] ELSE '{}' END AS special,
       -- Which values are equal: by a collation that is not deterministic, or an operator class with another operator.
       ARRAY(SELECT concat_ws(' ', coalesce(a.attname, '(expression)'), 'by',
                              CASE WHEN c.by_collation THEN 'the collation ' || co.collname
                                   ELSE 'the operator class ' || oc.opcname END)
             FROM unnest(i.indkey::int2[], i.indclass::oid[], i.indcollation::oid[])
                  WITH ORDINALITY AS k (attnum, opclass, coll, place)
             JOIN pg_opclass oc ON oc.oid = k.opclass
             LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.attnum > 0
             LEFT JOIN pg_collation co ON co.oid = k.coll
             LEFT JOIN pg_collation ac ON ac.oid = a.attcollation,
             LATERAL (SELECT k.coll <> coalesce(a.attcollation, 0)
                             AND NOT (co.collisdeterministic AND coalesce(ac.collisdeterministic, true)) IS TRUE
                             AND k.coll <> 0,
                             NOT oc.opcdefault AND NOT EXISTS (
                                 SELECT FROM pg_opclass d
                                 JOIN pg_amop n ON n.amopfamily = d.opcfamily AND n.amoplefttype = d.opcintype
                                 JOIN pg_amop o ON o.amopfamily = oc.opcfamily AND o.amopopr = n.amopopr
                                 WHERE d.opcmethod = oc.opcmethod AND d.opcintype = oc.opcintype AND d.opcdefault
                                   AND n.amopstrategy = 3 AND o.amopstrategy = 3))
                     AS c (by_collation, by_class)
             WHERE k.place <= i.indnkeyatts AND (c.by_collation OR c.by_class) AND NOT i.indisexclusion
             ORDER BY k.place) AS equality,
       pg_get_expr(i.indpred, i.indrelid) AS predicate,
       i.indisunique AS "unique", i.indisexclusion AS exclusion,
       -- PostgreSQL 15 brought NULLS NOT DISTINCT; before, the column is not there.
       coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false) AS nulls_not_distinct,
       i.indisvalid AS valid, i.indisready AS ready, i.indislive AS live,
       obj_description(c.oid, 'pg_class') AS comment,
       CASE c.relkind WHEN 'I' THEN (SELECT coalesce(sum(pg_relation_size(relid)), 0)::bigint
                                     FROM pg_partition_tree(c.oid))
                      ELSE pg_relation_size(c.oid) END AS size,
       (SELECT p.pid FROM pg_stat_progress_create_index p
        WHERE p.index_relid = c.oid AND p.datid = (SELECT oid FROM pg_database WHERE datname = current_database())
        LIMIT 1) AS builder
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_index i ON i.indexrelid = c.oid
LEFT JOIN pg_constraint o ON o.conindid = c.oid AND o.conrelid = i.indrelid AND o.contype IN ('p', 'u', 'x')
LEFT JOIN LATERAL (SELECT to_regclass(format('%%I.%%I', %(schema)s::text, %(table)s::text)) AS oid) AS t ON true
WHERE (i.indrelid IN (SELECT oid FROM tree) AND (i.indisunique OR i.indisexclusion))
   OR (n.nspname = %(schema)s AND c.relname = ANY (%(names)s))
ORDER BY c.relname;
