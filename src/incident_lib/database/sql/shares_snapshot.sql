-- Question: is q_threads so large that a second connection pays, and may this role export a snapshot?
-- Parameters: large (int: threads, by the statistics).
-- Columns: is_large, may_export, is_here (no part of it is a foreign table: another server would take its own snapshots).
-- Order: one row.
SELECT coalesce(sum(reltuples) FILTER (WHERE relkind = 'r'), 0) >= %(large)s AS is_large,
       has_function_privilege('pg_export_snapshot()', 'EXECUTE') AS may_export,
       coalesce(bool_and(relkind <> 'f'), false) AS is_here
FROM pg_class WHERE oid = to_regclass('public.q_threads')
    OR oid IN (SELECT relid FROM pg_partition_tree(to_regclass('public.q_threads')));
