-- Question: how many keys of an index do several rows share?
-- Parameters: none; the change's table, rows and key are put into the braces.
-- Columns: keys, null_keys (those of them that hold NULL), too_many (rows beyond one for each key).
-- Order: one row.
SELECT count(*) AS keys, count(*) FILTER (WHERE holds_null) AS null_keys, coalesce(sum(rows - 1), 0)::bigint AS too_many
FROM (SELECT count(*) AS rows, bool_or({nulls}) AS holds_null FROM {table}{where} GROUP BY {key} HAVING count(*) > 1) AS k;
