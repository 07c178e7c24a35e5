-- Question: which keys of an index do several rows share?
-- Parameters: none; the change's table, rows and key are put into the braces.
-- Columns: the parts of the key as texts, rows.
-- Order: by key.
SELECT {texts}, count(*) AS rows FROM {table}{where} GROUP BY {key} HAVING count(*) > 1 ORDER BY {key};
