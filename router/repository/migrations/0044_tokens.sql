-- Access tokens and refresh tokens of OAuth2, shared by all processes: one of them at a time asks the token server.

CREATE TABLE router.token (
    id bytea PRIMARY KEY CHECK (octet_length(id) = 32),
    issuer text NOT NULL,
    client text NOT NULL,
    scope text NOT NULL,
    grant_type text NOT NULL,
    subject text NOT NULL,
    sealed bytea,
    granted_at timestamptz,
    expires_at timestamptz,
    granted_scope text,
    refresh_expires_at timestamptz,
    fault text,
    fault_kind text CHECK (fault_kind IN ('temporary', 'refused', 'permanent')),
    fault_since timestamptz,
    failures integer NOT NULL DEFAULT 0,
    next_try_at timestamptz,
    invalidated_at timestamptz,
    refreshing_by uuid,
    refreshing_until timestamptz,
    fence bigint NOT NULL DEFAULT 0,
    CHECK ((fault IS NULL) = (fault_kind IS NULL))
);

COMMENT ON TABLE router.token IS 'Tokens of OAuth2: a row for each identity for which a token server gives them.';
COMMENT ON COLUMN router.token.id IS 'SHA-256 of issuer, client, scope, grant_type and subject.';
COMMENT ON COLUMN router.token.issuer IS 'Who gives the tokens: the provider with its tenant, an issuer, or a token server.';
COMMENT ON COLUMN router.token.client IS 'The application''s id, or where the key of a service account is.';
COMMENT ON COLUMN router.token.subject IS 'The mailbox whose tokens these are; empty: those of all mailboxes.';
COMMENT ON COLUMN router.token.sealed IS
    'The tokens, and what they were made of, encrypted by the first of the keys of EMAIL_ROUTER_TOKEN_KEYS.';
COMMENT ON COLUMN router.token.expires_at IS 'When the access token ends; null: there is none.';
COMMENT ON COLUMN router.token.refresh_expires_at IS 'When the grant ends, where the token server tells; null: unknown.';
COMMENT ON COLUMN router.token.fault IS 'Why the last request gave no token; null: it gave one.';
COMMENT ON COLUMN router.token.invalidated_at IS 'When an access token was last forgotten, since a mail server refused it.';
COMMENT ON COLUMN router.token.refreshing_by IS 'Who asks the token server, at most until refreshing_until.';
COMMENT ON COLUMN router.token.fence IS 'Counts who took the right to ask: what an earlier one learned is not written any more.';
