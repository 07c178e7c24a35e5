-- Question: does an index with this predicate cover, of the rows with a complete key, the active ones and no others?
-- Parameters: none; the predicate as pg_get_expr prints it is put into the braces, once `is_decidable` has read it.
-- Columns: covers. The rows are all combinations of what such a predicate can tell apart.
-- Order: one row.
SELECT bool_and(({}) IS TRUE = (is_active IS TRUE)) AS covers
FROM (SELECT active.is_active, root.root_prompt_row_id, owner.owner_id
      FROM (VALUES (true), (false), (NULL::boolean)) AS active (is_active),
           (VALUES ('00000000-0000-0000-0000-000000000001'::uuid), (NULL)) AS root (root_prompt_row_id),
           (VALUES ('00000000-0000-0000-0000-000000000001'::uuid), ('00000000-0000-0000-0000-000000000002'), (NULL))
               AS owner (owner_id)) AS q_threads
-- NULL is equal to nothing in a unique index: rows without a complete key never conflict, covered or not.
WHERE root_prompt_row_id IS NOT NULL AND owner_id IS NOT NULL;
