-- Signing in to the console by a provider (OpenID Connect), and by passkeys (WebAuthn).

ALTER TABLE router.person ADD COLUMN follows_groups boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN router.person.follows_groups IS
    'The role is that of the person''s groups at the provider, at each sign-in; until somebody grants another.';

CREATE TABLE router.person_identity (
    issuer text NOT NULL CHECK (length(issuer) <= 1000),
    subject text NOT NULL CHECK (length(subject) BETWEEN 1 AND 255),
    person_id bigint NOT NULL REFERENCES router.person,
    made_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (issuer, subject),
    UNIQUE (person_id, issuer)
);
COMMENT ON TABLE router.person_identity IS
    'Whom a provider means by its own id of a person. Bound at the first sign-in: whoever gets the person''s name there later gets nothing here.';
COMMENT ON COLUMN router.person_identity.subject IS 'The claim sub, which a provider never gives to another person.';

CREATE TABLE router.person_passkey (
    id bytea PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 1023),
    number bigint NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE,
    person_id bigint NOT NULL REFERENCES router.person,
    public_key bytea NOT NULL CHECK (length(public_key) <= 4096),
    sign_count bigint NOT NULL,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 60),
    made_at timestamptz NOT NULL DEFAULT now(),
    used_at timestamptz
);
CREATE INDEX person_passkey_person ON router.person_passkey (person_id);
COMMENT ON TABLE router.person_passkey IS 'Passkeys of people (WebAuthn): the public half of each.';
COMMENT ON COLUMN router.person_passkey.id IS 'The credential id, by which the browser names it.';
COMMENT ON COLUMN router.person_passkey.public_key IS 'COSE_Key.';
COMMENT ON COLUMN router.person_passkey.sign_count IS 'How often the authenticator says that it was used; 0 where it does not count.';
COMMENT ON COLUMN router.person_passkey.name IS 'As the person calls it.';

CREATE TABLE router.passkey_challenge (
    challenge bytea PRIMARY KEY CHECK (length(challenge) = 32),
    person_id bigint REFERENCES router.person,
    made_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX passkey_challenge_made_at ON router.passkey_challenge (made_at);
COMMENT ON TABLE router.passkey_challenge IS 'What browsers were asked to sign with a passkey; each is taken once, within minutes.';
COMMENT ON COLUMN router.passkey_challenge.person_id IS 'Who adds a passkey. Null: somebody signs in.';

ALTER TABLE router.person_session ADD COLUMN way text NOT NULL DEFAULT 'password'
    CHECK (way IN ('password', 'link', 'proxy', 'provider', 'passkey'));
UPDATE router.person_session SET way = 'proxy' WHERE by_proxy;
COMMENT ON COLUMN router.person_session.way IS 'By what it began.';
COMMENT ON COLUMN router.person_session.by_proxy IS 'Whether that was a proxy; kept for processes of an earlier version.';
