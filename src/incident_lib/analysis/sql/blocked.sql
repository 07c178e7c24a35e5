-- Question: in which families does the original index reject a new thread of which purpose,
--           and which thread blocks it (of several, the oldest)?
-- Parameters: purpose_since (timestamptz, NULL: unknown), root, owner (uuid, NULL: any), blocked_for (text, NULL: any),
--             provider (text, NULL: any; of the blocking thread), most (int, NULL: all). Reads the table once.
-- Columns: those of model.BlockedFamily; `since` as ISO 8601 in UTC, always with microseconds, so that a reader of CSV
--          finds one format; NULL where it is unknown, or not a year of Python's.
-- Order: chat first, then those blocked longest (unknown last), then by family.
WITH blocking AS (
    SELECT DISTINCT ON (t.root_prompt_row_id, t.owner_id, blocked_for) t.root_prompt_row_id, t.owner_id,
           wanted.purpose AS blocked_for, t.row_id, t.purpose::text, t.provider::text,
           CASE WHEN t.created_at BETWEEN '0001-01-02' AND '9999-12-30' AND %(purpose_since)s::timestamptz IS NOT NULL
                THEN greatest(t.created_at, %(purpose_since)s::timestamptz) AT TIME ZONE 'UTC' END AS since
    FROM public.q_threads t
    JOIN (VALUES ('chat'), ('run')) AS wanted (purpose) ON t.purpose::text IS DISTINCT FROM wanted.purpose
    WHERE t.is_active = true AND t.root_prompt_row_id IS NOT NULL AND t.owner_id IS NOT NULL
      AND (%(root)s::uuid IS NULL OR t.root_prompt_row_id = %(root)s::uuid)
      AND (%(owner)s::uuid IS NULL OR t.owner_id = %(owner)s::uuid)
      AND (%(blocked_for)s::text IS NULL OR wanted.purpose = %(blocked_for)s::text)
    ORDER BY t.root_prompt_row_id, t.owner_id, blocked_for, t.created_at NULLS FIRST, t.row_id
)
SELECT b.root_prompt_row_id, b.owner_id, b.blocked_for,
       to_char(b.since, 'YYYY-MM-DD HH24:MI:SS.US') || '+00:00' AS since, b.row_id AS blocking_thread,
       -- A spreadsheet takes these for formulas: the column has no CHECK, so it may hold anything.
       regexp_replace(b.purpose, '^[=+@[:cntrl:]-]', '''\&') AS blocking_purpose,
       regexp_replace(b.provider, '^[=+@[:cntrl:]-]', '''\&') AS blocking_provider
FROM blocking b
WHERE %(provider)s::text IS NULL OR b.provider = %(provider)s::text
ORDER BY b.blocked_for, b.since NULLS LAST, b.root_prompt_row_id, b.owner_id
LIMIT %(most)s;
