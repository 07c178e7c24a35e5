-- Question: is the table there, with the columns that we read, and what may this role do with it?
-- Parameters: schema, table.
-- Columns: found, relkind, columns, virtual (those that are computed when they are read: no index has them), odd_types (columns of a type that would be read wrongly, with it), readable,
--          writable, owned, may_create, hides_rows, server_version, standby. All but the last two are NULL where
--          there is no table.
-- Order: one row.
SELECT c.oid IS NOT NULL AS found, c.relkind::text AS relkind,
       ARRAY(SELECT a.attname::text FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
       ARRAY(SELECT a.attname::text FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attgenerated = 'v' AND NOT a.attisdropped) AS virtual,
       ARRAY(WITH RECURSIVE base AS ( -- a domain is judged by the type below it
                 SELECT a.attname, a.attnum, a.atttypid AS type, a.atttypid, a.atttypmod FROM pg_attribute a
                 WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                 UNION ALL SELECT b.attname, b.attnum, d.typbasetype, b.atttypid, b.atttypmod
                 FROM base b JOIN pg_type d ON d.oid = b.type AND d.typtype = 'd')
             SELECT format('%%s is %%s and not %%s', b.attname, format_type(b.atttypid, b.atttypmod), w.wanted)
             FROM base b JOIN pg_type y ON y.oid = b.type AND y.typtype <> 'd'
             JOIN (VALUES ('row_id', 'uuid'), ('root_prompt_row_id', 'uuid'), ('owner_id', 'uuid'),
                          ('is_active', 'boolean'), ('created_at', 'timestamp with time zone'),
                          ('purpose', 'text'), ('provider', 'text')) AS w (column_name, wanted)
               ON w.column_name = b.attname AND format_type(y.oid, NULL) <> w.wanted
             WHERE w.wanted <> 'text' OR NOT (y.typtype = 'e' OR y.oid IN ('varchar'::regtype, 'bpchar'::regtype))
             ORDER BY b.attnum) AS odd_types,
       has_table_privilege(c.oid, 'SELECT') AS readable,
       has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE') AS writable,
       pg_has_role(c.relowner, 'USAGE') AS owned, has_schema_privilege(c.relnamespace, 'CREATE') AS may_create,
       row_security_active(c.oid) AS hides_rows,
       current_setting('server_version_num')::int AS server_version, pg_is_in_recovery() AS standby
FROM (SELECT to_regclass(format('%%I.%%I', %(schema)s::text, %(table)s::text)) AS oid) AS t
LEFT JOIN pg_class c ON c.oid = t.oid;
