-- Question: what does the catalog say of the columns of some tables, and what do their statistics say?
-- Parameters: tables (oid[]).
-- Columns: table_oid, number, name; type: its name; category: PostgreSQL's, of the type; not_null; "default": the
--          expression, NULL where there is none; generated: computed, or an identity; age: transactions since its entry
--          was written; alone: whether a unique index of the whole table has it as its only column; distinct_values,
--          rows: estimates, NULL where not known; readable: whether this role may see the statistics.
-- Order: by table and number.
SELECT a.attrelid AS table_oid, a.attnum AS number, a.attname AS name, base.typname AS type,
       base.typcategory::text AS category, a.attnotnull AS not_null, pg_get_expr(d.adbin, d.adrelid) AS "default",
       a.attgenerated <> '' OR a.attidentity <> '' AS generated, age(a.xmin) AS age,
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisunique AND i.indpred IS NULL
                                        AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum) AS alone,
       CASE WHEN s.n_distinct < 0 THEN -s.n_distinct * t.reltuples ELSE s.n_distinct END::float8 AS distinct_values,
       nullif(t.reltuples, -1)::float8 AS rows,
       has_column_privilege(t.oid, a.attnum, 'SELECT') AND NOT row_security_active(t.oid) AS readable
FROM pg_attribute a
JOIN pg_class t ON t.oid = a.attrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
JOIN pg_type own ON own.oid = a.atttypid
JOIN pg_type base ON base.oid = coalesce(nullif(own.typbasetype, 0), own.oid)
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
-- Of a partitioned table the statistics of all partitions together; they are marked as inherited.
LEFT JOIN pg_stats s ON s.schemaname = n.nspname AND s.tablename = t.relname AND s.attname = a.attname
                    AND s.inherited = (t.relkind = 'p')
WHERE a.attrelid = ANY (%(tables)s) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum;
