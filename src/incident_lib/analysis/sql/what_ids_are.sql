-- Question: what are two ids that no family has: swapped, those of threads, or only one of them unknown?
-- Parameters: root_from, root_to, owner_from, owner_to (uuid; the first and the last id that begin so). Reads every
--             thread once.
-- Columns: how many threads have such a root, such an owner; the two swapped; such a row_id as the first, as the second.
-- Order: one row.
SELECT count(*) FILTER (WHERE root_prompt_row_id BETWEEN %(root_from)s AND %(root_to)s) AS roots,
       count(*) FILTER (WHERE owner_id BETWEEN %(owner_from)s AND %(owner_to)s) AS owners,
       count(*) FILTER (WHERE root_prompt_row_id BETWEEN %(owner_from)s AND %(owner_to)s
                          AND owner_id BETWEEN %(root_from)s AND %(root_to)s) AS swapped,
       count(*) FILTER (WHERE row_id BETWEEN %(root_from)s AND %(root_to)s) AS first_is_thread,
       count(*) FILTER (WHERE row_id BETWEEN %(owner_from)s AND %(owner_to)s) AS second_is_thread
FROM public.q_threads;
