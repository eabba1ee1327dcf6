-- Who may use the console: people, what each is granted, how they sign in, and the log of what they did.

CREATE TABLE router.person (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9._@+-]{0,63}$'),
    password text,
    made_at timestamptz NOT NULL DEFAULT now(),
    disabled_at timestamptz
);
COMMENT ON TABLE router.person IS 'People who may use the console, each with an account. None is ever deleted: what they did keeps their name.';
COMMENT ON COLUMN router.person.name IS 'By which the person signs in; lower case, and never that of another.';
COMMENT ON COLUMN router.person.password IS 'Argon2id, in PHC form. Null: none was chosen yet.';
COMMENT ON COLUMN router.person.disabled_at IS 'Since when the person may not sign in.';

CREATE TABLE router.person_grant (
    person_id bigint NOT NULL REFERENCES router.person,
    owner_id uuid,
    role text NOT NULL CHECK (role IN ('view', 'decide', 'administer')),
    CHECK (role <> 'administer' OR owner_id IS NULL),
    UNIQUE NULLS NOT DISTINCT (person_id, owner_id)
);
COMMENT ON TABLE router.person_grant IS 'What people may do, and with whose mail. A role includes those before it: view, decide, administer.';
COMMENT ON COLUMN router.person_grant.owner_id IS
    'The user or queue (crm.owner.record_id) with whose mail it is allowed. Null: with all mail, also what has no owner.';
COMMENT ON COLUMN router.person_grant.role IS 'administer is granted for all or not at all.';

CREATE TABLE router.person_link (
    hash bytea PRIMARY KEY CHECK (length(hash) = 32),
    person_id bigint REFERENCES router.person,
    made_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX person_link_person ON router.person_link (person_id);
COMMENT ON TABLE router.person_link IS 'One-time links by which a password is chosen. Used, they are deleted.';
COMMENT ON COLUMN router.person_link.hash IS 'SHA-256 of the secret in the link, which has 256 random bits.';
COMMENT ON COLUMN router.person_link.person_id IS 'Whose password. Null: for the first administrator, and of no use once there is a person.';

CREATE TABLE router.person_session (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash bytea NOT NULL UNIQUE CHECK (length(hash) = 32),
    person_id bigint NOT NULL REFERENCES router.person,
    made_at timestamptz NOT NULL DEFAULT now(),
    used_at timestamptz NOT NULL DEFAULT now(),
    by_proxy boolean NOT NULL,
    address inet,
    browser text NOT NULL CHECK (length(browser) <= 100)
);
CREATE INDEX person_session_person ON router.person_session (person_id);
CREATE INDEX person_session_used_at ON router.person_session (used_at);
COMMENT ON TABLE router.person_session IS 'Sessions of people who are signed in. Ended, they are deleted.';
COMMENT ON COLUMN router.person_session.hash IS 'SHA-256 of the secret in the cookie, which has 256 random bits.';
COMMENT ON COLUMN router.person_session.used_at IS 'To the minute: it is not written with every request.';
COMMENT ON COLUMN router.person_session.by_proxy IS 'It lasts while a trusted proxy names the same person.';
COMMENT ON COLUMN router.person_session.browser IS 'What the browser calls itself, in a few words.';

CREATE TABLE router.person_device (
    hash bytea PRIMARY KEY CHECK (length(hash) = 32),
    person_id bigint NOT NULL REFERENCES router.person,
    used_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX person_device_person ON router.person_device (person_id);
CREATE INDEX person_device_used_at ON router.person_device (used_at);
COMMENT ON TABLE router.person_device IS
    'Browsers in which a person has signed in before: wrong passwords from elsewhere never bar the person there.';
COMMENT ON COLUMN router.person_device.hash IS 'SHA-256 of the secret in the browser''s other cookie.';

CREATE TABLE router.sign_in_attempt (
    key bytea PRIMARY KEY CHECK (length(key) = 32),
    wrong integer NOT NULL,
    at timestamptz NOT NULL,
    barred_until timestamptz NOT NULL
);
CREATE INDEX sign_in_attempt_at ON router.sign_in_attempt (at);
COMMENT ON TABLE router.sign_in_attempt IS
    'Wrong passwords of the last hour, by account, by network address and by browser; each bars only attempts of its own kind.';
COMMENT ON COLUMN router.sign_in_attempt.key IS 'SHA-256 of what it counts.';

CREATE TABLE router.audit_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    by text NOT NULL,
    action text NOT NULL CHECK (action ~ '^[a-z]+(-[a-z]+)*$'),
    subject text NOT NULL DEFAULT '',
    email_id uuid,
    address inet,
    details jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_log_at ON router.audit_log (at);
CREATE INDEX audit_log_by ON router.audit_log (by, id);
CREATE INDEX audit_log_email ON router.audit_log (email_id) WHERE email_id IS NOT NULL;
COMMENT ON TABLE router.audit_log IS
    'What people did by console and commands: who signed in, was added or changed, and who looked at the raw content of which email.';
COMMENT ON COLUMN router.audit_log.by IS 'Name of the person, as it was; or "command line".';
COMMENT ON COLUMN router.audit_log.action IS 'Such as signed-in, person-added.';
COMMENT ON COLUMN router.audit_log.subject IS 'Whom or what it was done to.';
COMMENT ON COLUMN router.audit_log.email_id IS 'Which email it is about; the email may be gone.';
COMMENT ON COLUMN router.audit_log.address IS 'From which network address.';

CREATE FUNCTION router.role_rank(role text) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT array_position(ARRAY['view', 'decide', 'administer'], role)
$$;
COMMENT ON FUNCTION router.role_rank(text) IS 'Orders roles: each includes those of lower rank.';

CREATE FUNCTION router.may_see(person bigint, owner uuid, minimum text DEFAULT 'view') RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT EXISTS (
        SELECT FROM router.person_grant AS g JOIN router.person AS p ON p.id = g.person_id
        WHERE g.person_id = person AND (g.owner_id IS NULL OR g.owner_id = owner) AND p.disabled_at IS NULL
            AND router.role_rank(g.role) >= router.role_rank(minimum)
    )
$$;
COMMENT ON FUNCTION router.may_see(bigint, uuid, text) IS
    'Whether a person may see the mail of an owner, or has at least that role there; of a null owner: of all.';

CREATE FUNCTION router.seen_owners(person bigint, minimum text DEFAULT 'view') RETURNS SETOF uuid
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT o.record_id FROM crm.owner AS o WHERE router.may_see(person, NULL, minimum)
    UNION
    SELECT g.owner_id FROM router.person_grant AS g
    WHERE g.person_id = person AND g.owner_id IS NOT NULL AND router.may_see(person, g.owner_id, minimum)
$$;
COMMENT ON FUNCTION router.seen_owners(bigint, text) IS
    'The owners whose mail a person may see, or where the person has at least that role. Limits lists, in SQL.';

INSERT INTO router.pruning (what) VALUES ('audit_log');
