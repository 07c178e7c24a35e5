-- The table of the incident as its application's migrations left it, in the order in which it grew.
-- Row level security is enabled, not forced: the table's owner sees every row.

CREATE TABLE public.q_prompts (
    row_id uuid PRIMARY KEY DEFAULT gen_random_uuid()
);

CREATE TABLE public.q_threads (
    row_id                 uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    assistant_row_id       uuid,
    child_prompt_row_id    uuid,
    root_prompt_row_id     uuid REFERENCES public.q_prompts (row_id),
    owner_id               uuid,
    openai_conversation_id text,
    external_session_id    text,
    last_response_id       text,
    name                   text,
    provider               text DEFAULT 'openai',
    purpose                text NOT NULL DEFAULT 'run',
    is_active              boolean,
    message_count          integer,
    last_message_at        timestamptz,
    created_at             timestamptz
);

ALTER TABLE public.q_threads ENABLE ROW LEVEL SECURITY;

-- The guard of the incident: made before threads had a purpose.
CREATE UNIQUE INDEX idx_q_threads_family_unique
    ON public.q_threads (root_prompt_row_id, owner_id)
    WHERE is_active = true AND root_prompt_row_id IS NOT NULL;

COMMENT ON INDEX public.idx_q_threads_family_unique IS 'one active thread per prompt family and user';

CREATE INDEX idx_q_threads_root_prompt
    ON public.q_threads (root_prompt_row_id)
    WHERE root_prompt_row_id IS NOT NULL;

CREATE INDEX idx_threads_provider
    ON public.q_threads (root_prompt_row_id, owner_id, provider, is_active);

CREATE INDEX idx_threads_family_purpose
    ON public.q_threads (root_prompt_row_id, owner_id, provider, purpose, is_active)
    WHERE is_active = true;
