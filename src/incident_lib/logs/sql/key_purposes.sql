-- Question: which purpose had the thread that had a family's key at a time, when an insert was rejected? It is the
--           newest that the family had then: with the original index each of its threads ended the one before it.
-- Parameters: roots (uuid[]), owners (uuid[]), times (timestamptz[]); one place in each for a rejected insert.
-- Columns: purpose (NULL: the table has no such thread).
-- Order: that of the arrays.
SELECT t.purpose
FROM unnest(%(roots)s::uuid[], %(owners)s::uuid[], %(times)s::timestamptz[])
     WITH ORDINALITY AS h (root, owner, at, place)
LEFT JOIN LATERAL (
    SELECT purpose FROM public.q_threads
    WHERE root_prompt_row_id = h.root AND owner_id = h.owner AND created_at <= h.at
    ORDER BY created_at DESC LIMIT 1
) AS t ON true
ORDER BY h.place;
