-- Question: which families are blocked for a purpose since the column purpose came, as the first of `blocked` in its order?
--           Reads ten times as many families as are wanted, in the order of the unique index: 1 ms for 20; where too few of
--           them are that old, only `blocked` can tell, which takes 0.7 s for 500,000.
-- Parameters: purpose_since (timestamptz, NULL: unknown), blocked_for (text), most (int).
-- Columns: those of `blocked`.
-- Order: by family.
SELECT b.root_prompt_row_id, b.owner_id, %(blocked_for)s::text AS blocked_for,
       to_char(b.since, 'YYYY-MM-DD HH24:MI:SS.US') || '+00:00' AS since, b.row_id AS blocking_thread,
       -- A spreadsheet takes these for formulas: the column has no CHECK, so it may hold anything.
       regexp_replace(b.purpose, '^[=+@[:cntrl:]-]', '''\&') AS blocking_purpose,
       regexp_replace(b.provider, '^[=+@[:cntrl:]-]', '''\&') AS blocking_provider
FROM (
    SELECT DISTINCT ON (root_prompt_row_id, owner_id) root_prompt_row_id, owner_id, row_id, purpose::text, provider::text,
           CASE WHEN created_at BETWEEN '0001-01-02' AND '9999-12-30' AND %(purpose_since)s::timestamptz IS NOT NULL
                THEN greatest(created_at, %(purpose_since)s::timestamptz) AT TIME ZONE 'UTC' END AS since
    FROM public.q_threads
    WHERE is_active = true AND root_prompt_row_id IS NOT NULL AND owner_id IS NOT NULL
      AND purpose::text IS DISTINCT FROM %(blocked_for)s::text
    ORDER BY root_prompt_row_id, owner_id, created_at NULLS FIRST, row_id
    LIMIT 10 * %(most)s
) AS b
WHERE b.since IS NOT DISTINCT FROM %(purpose_since)s::timestamptz AT TIME ZONE 'UTC'
LIMIT %(most)s;
