-- Question: is the table there, with the columns that we read, and what may this role do with it?
-- Parameters: schema, table.
-- Columns: found, relkind, columns, readable, writable, owned, hides_rows, rls_forced, server_version,
--          standby. All but the last two are NULL where there is no table.
-- Order: one row.
SELECT c.oid IS NOT NULL AS found, c.relkind::text AS relkind,
       ARRAY(SELECT a.attname::text FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
       has_table_privilege(c.oid, 'SELECT') AS readable,
       has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE') AS writable,
       pg_has_role(c.relowner, 'USAGE') AS owned, has_schema_privilege(c.relnamespace, 'CREATE') AS may_create,
       row_security_active(c.oid) AS hides_rows,
       current_setting('server_version_num')::int AS server_version, pg_is_in_recovery() AS standby
FROM (SELECT to_regclass(format('%%I.%%I', %(schema)s::text, %(table)s::text)) AS oid) AS t
LEFT JOIN pg_class c ON c.oid = t.oid;
