-- Question: which threads do the unique indexes cover, and which other threads give their families several providers?
--           Without ids and texts, but so that a copy has the same counts and the same provider conflicts.
-- Parameters: none. The two padded keys of HMAC-SHA256 are settings of the transaction, incident_lib.inner and .outer
--             (hex): COPY binds no values, and a key in its text could be read in pg_stat_activity.
-- Columns: root_prompt_row_id, owner_id (replaced by their HMAC: equal ids stay equal), purpose, provider (values of
--          the product's clients as they are, other values by their HMAC), is_active. A thread that is not active is
--          only read where its provider is not that of an active thread of its family: only such threads matter for
--          provider conflicts.
-- Order: none. It reads active threads once or twice, and the others once.
WITH secret AS MATERIALIZED (
    SELECT decode(current_setting('incident_lib.inner'), 'hex') AS inner_key,
           decode(current_setting('incident_lib.outer'), 'hex') AS outer_key
), copied AS (
    SELECT root_prompt_row_id AS root, owner_id AS owner, purpose, provider, is_active
    FROM public.q_threads WHERE is_active = true AND root_prompt_row_id IS NOT NULL
    UNION ALL
    SELECT t.root_prompt_row_id, t.owner_id, t.purpose, t.provider, t.is_active FROM public.q_threads t
    WHERE t.is_active IS DISTINCT FROM true
      AND EXISTS (SELECT FROM public.q_threads a
                  WHERE a.root_prompt_row_id = t.root_prompt_row_id AND a.owner_id = t.owner_id
                    AND a.is_active = true AND a.provider IS DISTINCT FROM t.provider)
)
SELECT encode(substr(sha256(outer_key || sha256(inner_key || uuid_send(root))), 1, 16), 'hex')::uuid,
       encode(substr(sha256(outer_key || sha256(inner_key || uuid_send(owner))), 1, 16), 'hex')::uuid,
       CASE WHEN purpose IN ('chat', 'run') THEN purpose::text ELSE 'purpose-' || left(encode(sha256(outer_key ||
           sha256(inner_key || convert_to(purpose::text, getdatabaseencoding()))), 'hex'), 10) END,
       CASE WHEN provider = 'openai' THEN provider::text ELSE 'provider-' || left(encode(sha256(outer_key ||
           sha256(inner_key || convert_to(provider::text, getdatabaseencoding()))), 'hex'), 10) END,
       is_active
FROM copied, secret;
