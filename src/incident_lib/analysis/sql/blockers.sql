-- Question: what blocks the families under the original index, and since when, as sums?
-- Parameters: purpose_since (timestamptz, NULL: unknown). Reads the table once.
-- Columns: blocked_for; purpose and provider of the blocking threads, and how many families they block; or, where
--          of_time is true, the last time within an hour at which families became blocked, and how many did.
-- Order: the rows of what blocks first; most families first, then by name; the earliest hour first.
WITH blocked AS (
    SELECT DISTINCT ON (t.root_prompt_row_id, t.owner_id, blocked_for)
           wanted.purpose AS blocked_for, t.purpose::text, t.provider::text,
           CASE WHEN t.created_at BETWEEN '0001-01-02' AND '9999-12-30' AND %(purpose_since)s::timestamptz IS NOT NULL
                THEN greatest(t.created_at, %(purpose_since)s::timestamptz) END AS since
    FROM public.q_threads t
    JOIN (VALUES ('chat'), ('run')) AS wanted (purpose) ON t.purpose::text IS DISTINCT FROM wanted.purpose
    WHERE t.is_active = true AND t.root_prompt_row_id IS NOT NULL AND t.owner_id IS NOT NULL
    ORDER BY t.root_prompt_row_id, t.owner_id, blocked_for, t.created_at NULLS FIRST, t.row_id
)
SELECT blocked_for, purpose, provider, max(since) AS since, count(*) AS families, GROUPING(purpose) = 1 AS of_time
FROM blocked
GROUP BY GROUPING SETS ((blocked_for, purpose, provider), (blocked_for, date_trunc('hour', since)))
HAVING GROUPING(purpose) = 0 OR max(since) IS NOT NULL
ORDER BY of_time, blocked_for, CASE WHEN GROUPING(purpose) = 0 THEN -count(*) END, purpose, provider, since;
