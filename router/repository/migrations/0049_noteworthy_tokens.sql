-- What status and metrics ask of tokens, often: those with a fault, and logins that end.

CREATE INDEX token_fault ON router.token (id) WHERE fault IS NOT NULL;
CREATE INDEX token_ends ON router.token (refresh_expires_at) WHERE refresh_expires_at IS NOT NULL;
