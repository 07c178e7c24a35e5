-- Question: which of these families have got a chat since a time, and when did each get its first?
-- Parameters: roots (uuid[]), owners (uuid[]; of the same length), since (timestamptz).
-- Columns: root, owner, at.
-- Order: none.
SELECT f.root, f.owner, min(t.created_at) AS at
FROM unnest(%(roots)s::uuid[], %(owners)s::uuid[]) AS f (root, owner)
JOIN public.q_threads t ON t.root_prompt_row_id = f.root AND t.owner_id = f.owner
WHERE t.purpose::text = 'chat' AND t.created_at BETWEEN %(since)s::timestamptz AND '9999-12-30'
GROUP BY f.root, f.owner;
