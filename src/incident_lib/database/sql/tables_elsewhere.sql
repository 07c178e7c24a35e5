-- Question: which relations have the table's name in another schema, or in other letters; and how many tables are there?
-- Parameters: table (its name).
-- Columns: tables (of users, in the whole database), named (texts: schema and name, quoted where SQL wants that).
-- Order: one row; the names in alphabetical order, at most five.
SELECT count(*) FILTER (WHERE c.relkind IN ('r', 'p')) AS tables,
       (array_agg(format('%%I.%%I', n.nspname, c.relname) ORDER BY n.nspname, c.relname)
          FILTER (WHERE lower(c.relname) = lower(%(table)s)))[:5] AS named
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema';
