-- Question: of these families, which is blocked for chat by the original index, and when did each get a chat
--           after its first rejected insert (whether that chat is still active, or has been ended)?
-- Parameters: roots (uuid[]), owners (uuid[]), firsts (timestamptz[], NULL: unknown); one place in each for a family.
-- Columns: threads (0: the table has none of that family), blocked, ended (it has had chats, and none is active),
--          chat_at (NULL: it got none).
-- Order: that of the arrays.
SELECT t.threads, t.blocked, t.ended, t.chat_at
FROM unnest(%(roots)s::uuid[], %(owners)s::uuid[], %(firsts)s::timestamptz[])
     WITH ORDINALITY AS h (root, owner, first, place)
CROSS JOIN LATERAL (
    SELECT count(*) AS threads,
           coalesce(bool_or(is_active = true AND purpose IS DISTINCT FROM 'chat'), false) AS blocked,
           coalesce(bool_or(purpose = 'chat') AND NOT bool_or(purpose = 'chat' AND is_active = true), false) AS ended,
           min(created_at) FILTER (WHERE purpose = 'chat' AND created_at > h.first AND created_at < '9999-12-31')
               AS chat_at
    FROM public.q_threads WHERE root_prompt_row_id = h.root AND owner_id = h.owner
) AS t
ORDER BY h.place;
