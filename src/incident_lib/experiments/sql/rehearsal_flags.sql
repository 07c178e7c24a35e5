-- Question: how is an index put into the state in which an unfinished build or drop left its like?
-- Parameters: name, valid (indisvalid), ready (indisready), live (indislive). Takes a superuser.
-- Columns: none; it sets the three flags.
-- Order: none.
UPDATE pg_index SET indisvalid = %(valid)s, indisready = %(ready)s, indislive = %(live)s
WHERE indexrelid = format('public.%%I', %(name)s::text)::regclass;
