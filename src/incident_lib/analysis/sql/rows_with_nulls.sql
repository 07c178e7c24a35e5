-- Question: how many of the rows that an index covers hold NULL in a column?
-- Parameters: none; the change's table, rows and columns are put into the braces.
-- Columns: a number for each column, by its name.
-- Order: one row.
SELECT {counts} FROM {table}{where};
