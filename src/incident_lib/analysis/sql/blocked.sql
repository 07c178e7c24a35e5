-- Question: in which families does the original index reject a new thread of which purpose,
--           and which thread blocks it (of several, the oldest)?
-- Parameters: purpose_since (timestamptz, NULL: unknown), most (int, NULL: all). Reads the table once.
-- Columns: those of model.BlockedFamily; `since` as ISO 8601 in UTC, NULL where it is unknown, or not a year of Python's.
-- Order: chat first, then those blocked longest (unknown last), then by family.
WITH blocking AS (
    SELECT DISTINCT ON (t.root_prompt_row_id, t.owner_id, blocked_for) t.root_prompt_row_id, t.owner_id,
           wanted.purpose AS blocked_for, t.row_id, t.purpose::text, t.provider::text,
           CASE WHEN t.created_at BETWEEN '0001-01-02' AND '9999-12-30' AND %(purpose_since)s::timestamptz IS NOT NULL
                THEN greatest(t.created_at, %(purpose_since)s::timestamptz) AT TIME ZONE 'UTC' END AS since
    FROM public.q_threads t
    JOIN (VALUES ('chat'), ('run')) AS wanted (purpose) ON t.purpose::text IS DISTINCT FROM wanted.purpose
    WHERE t.is_active = true AND t.root_prompt_row_id IS NOT NULL AND t.owner_id IS NOT NULL
    ORDER BY t.root_prompt_row_id, t.owner_id, blocked_for, t.created_at NULLS FIRST, t.row_id
)
SELECT b.root_prompt_row_id, b.owner_id, b.blocked_for, b.since || '+00:00' AS since, b.row_id AS blocking_thread,
       -- A spreadsheet takes these for formulas: the column has no CHECK, so it may hold anything.
       regexp_replace(b.purpose, '^[=+@[:cntrl:]-]', '''\&') AS blocking_purpose,
       regexp_replace(b.provider, '^[=+@[:cntrl:]-]', '''\&') AS blocking_provider
FROM blocking b
ORDER BY b.blocked_for, b.since NULLS LAST, b.root_prompt_row_id, b.owner_id
LIMIT %(most)s;
