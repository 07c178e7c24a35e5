-- Question: none. It sets the flags of an index to those that an unfinished build or drop left at the source.
-- Parameters: schema, name, valid (indisvalid), ready (indisready), live (indislive). The role must be a superuser.
-- Columns: none.
-- Order: none.
UPDATE pg_index SET indisvalid = %(valid)s, indisready = %(ready)s, indislive = %(live)s
WHERE indexrelid = format('%%I.%%I', %(schema)s::text, %(name)s::text)::regclass;
