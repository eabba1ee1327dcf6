-- What became of an email is kept where no trigger of the CRM's refuses it, until crm.email takes it.

CREATE TABLE router.unrecorded (
    attempt_id uuid PRIMARY KEY REFERENCES router.attempt ON DELETE CASCADE,
    result text NOT NULL,
    reason text NOT NULL,
    since timestamptz NOT NULL DEFAULT now(),
    next_at timestamptz NOT NULL DEFAULT now() + interval '1 second'
);
COMMENT ON TABLE router.unrecorded IS
    'What attempts to send came to, while crm.email refuses to be told, by a trigger of the CRM''s say. It is tried again and again.';
COMMENT ON COLUMN router.unrecorded.result IS 'The outcome, as JSON; text, since jsonb cannot hold all that relays say.';
COMMENT ON COLUMN router.unrecorded.reason IS 'Why crm.email refuses, in PostgreSQL''s own words.';
