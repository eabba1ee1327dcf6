-- Who may use the API: programs of the staff and of the CRM, each with a token of its own.

CREATE TABLE router.staff_token (
    hash bytea PRIMARY KEY CHECK (length(hash) = 32),
    name text NOT NULL CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    scopes text[] NOT NULL CHECK (cardinality(scopes) > 0),
    made_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    last_used_at timestamptz,
    ended_at timestamptz
);
CREATE UNIQUE INDEX staff_token_name ON router.staff_token (name) WHERE ended_at IS NULL;
COMMENT ON TABLE router.staff_token IS
    'Tokens of the API. A token itself is not here, only its hash: it has 256 random bits, so nobody finds it by trying.';
COMMENT ON COLUMN router.staff_token.hash IS 'SHA-256 of the token.';
COMMENT ON COLUMN router.staff_token.name IS 'Who does what is done with it; one token of a name at a time. No address.';
COMMENT ON COLUMN router.staff_token.scopes IS 'What it allows, such as unresolved:read.';
COMMENT ON COLUMN router.staff_token.last_used_at IS 'To the hour: it is not written with every request.';
COMMENT ON COLUMN router.staff_token.ended_at IS 'When it was ended, or when another of its name took its place after it had expired.';

CREATE TABLE router.posted_email (
    key bytea PRIMARY KEY CHECK (length(key) = 32),
    body bytea NOT NULL,
    email_id uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX posted_email_at ON router.posted_email (at);
COMMENT ON TABLE router.posted_email IS
    'Emails that came by the API with an Idempotency-Key, for seven days: the same request again makes no other. The email may be gone.';
COMMENT ON COLUMN router.posted_email.key IS 'SHA-256 of the name of the token and of the key.';
COMMENT ON COLUMN router.posted_email.body IS 'SHA-256 of what was to be sent.';
