-- Question: for which families can a thread of which purpose not be created under the original guard,
--           and which thread stands in the way (of several, the one that has stood there longest)?
-- Parameters: purpose_since (timestamptz, NULL: unknown), most (int, NULL: all).
-- Columns: those of model.BlockedFamily; `since` is NULL where it is unknown.
-- Order: chat first, then the longest known to be blocked (unknown last), then by family.
SELECT b.root_prompt_row_id, b.owner_id, wanted.purpose AS blocked_for,
       CASE WHEN b.created_at IS NOT NULL AND %(purpose_since)s::timestamptz IS NOT NULL
            THEN greatest(b.created_at, %(purpose_since)s::timestamptz) END AS since,
       b.row_id AS blocking_thread,
       -- A spreadsheet takes these for formulas: the column has no CHECK, so it may hold anything.
       regexp_replace(b.purpose, '^[=+@[:cntrl:]-]', '''\&') AS blocking_purpose,
       regexp_replace(b.provider, '^[=+@[:cntrl:]-]', '''\&') AS blocking_provider
FROM (VALUES ('chat'), ('run')) AS wanted (purpose)
CROSS JOIN LATERAL (
    SELECT DISTINCT ON (t.root_prompt_row_id, t.owner_id) t.*
    FROM public.q_threads t
    WHERE t.is_active = true AND t.root_prompt_row_id IS NOT NULL AND t.owner_id IS NOT NULL
      AND t.purpose IS DISTINCT FROM wanted.purpose
    ORDER BY t.root_prompt_row_id, t.owner_id, t.created_at NULLS FIRST, t.row_id
) AS b
ORDER BY blocked_for, since NULLS LAST, root_prompt_row_id, owner_id
LIMIT %(most)s;
