-- A copy of what was sent is put into its owner's Sent folder, after the relay has it, by a job of its own.

CREATE TABLE router.sent_folder (
    owner_id uuid PRIMARY KEY,
    profile text
);
COMMENT ON TABLE router.sent_folder IS
    'Which incoming profile puts copies into an owner''s Sent folder; null: none does. Written by the router processes.';

CREATE TABLE router.sent_copy (
    email_id uuid PRIMARY KEY REFERENCES crm.email ON DELETE CASCADE,
    owner_id uuid NOT NULL,
    profile text NOT NULL,
    since timestamptz NOT NULL DEFAULT now(),
    due_at timestamptz NOT NULL DEFAULT now() + interval '5 seconds',
    attempts int NOT NULL DEFAULT 0,
    fault text,
    appended_at timestamptz,
    given_up_at timestamptz,
    CHECK (appended_at IS NULL OR given_up_at IS NULL)
) WITH (fillfactor = 70);
CREATE INDEX sent_copy_due ON router.sent_copy (profile, due_at) WHERE appended_at IS NULL AND given_up_at IS NULL;
CREATE INDEX sent_copy_owner ON router.sent_copy (owner_id, due_at) WHERE appended_at IS NULL AND given_up_at IS NULL;
CREATE INDEX sent_copy_done ON router.sent_copy (since) WHERE appended_at IS NOT NULL OR given_up_at IS NOT NULL;
COMMENT ON TABLE router.sent_copy IS 'Copies that are put, or were, into the Sent folder of the owner of an email.';
COMMENT ON COLUMN router.sent_copy.profile IS 'Whose mail server takes it, as of when it was wanted.';
COMMENT ON COLUMN router.sent_copy.due_at IS
    'When it is tried next; at first in a moment, so that one login does for what is sent within that; while it is being tried, when another process may.';
COMMENT ON COLUMN router.sent_copy.attempts IS 'How often it was begun: from the second time on, it may lie there already.';
COMMENT ON COLUMN router.sent_copy.fault IS 'Why it does not lie there yet, or never will, in words for an admin.';

-- Once for each email, as soon as the relay has taken it for one recipient.
CREATE FUNCTION router.want_sent_copies() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog AS $$
BEGIN
    INSERT INTO router.sent_copy (email_id, owner_id, profile)
    -- Of an owner who is quite new, a process finds out.
    SELECT DISTINCT e.id, e.owner_id, coalesce(f.profile, '')
    FROM changed AS c JOIN crm.email AS e ON e.id = c.email_id
    LEFT JOIN router.sent_folder AS f ON f.owner_id = e.owner_id
    -- A report of what was sent long ago, perhaps by another program, asks for none.
    WHERE c.state = 'accepted' AND e.direction = 'out' AND e.owner_id IS NOT NULL
        AND (f.owner_id IS NULL OR f.profile IS NOT NULL) AND coalesce(e.sent_at, now()) > now() - interval '1 hour'
    ORDER BY e.id
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE TRIGGER want_sent_copies_new AFTER INSERT ON crm.delivery REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION router.want_sent_copies();
CREATE TRIGGER want_sent_copies_changed AFTER UPDATE ON crm.delivery REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION router.want_sent_copies();
