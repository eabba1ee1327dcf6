-- An owner takes a wrongly promoted email back, undoably for a while.

CREATE TABLE router.taken_back (
    email_id uuid NOT NULL,
    owner_id uuid NOT NULL,
    by_name text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    was_owner boolean NOT NULL,
    receipt jsonb,
    PRIMARY KEY (email_id, owner_id)
);
CREATE INDEX taken_back_undoable ON router.taken_back (at) WHERE receipt IS NOT NULL;
COMMENT ON TABLE router.taken_back IS
    'Emails that an owner took back: no copy of theirs becomes a receipt, and none of anybody''s once the email is gone. '
    'Kept as long as the key of the email.';
COMMENT ON COLUMN router.taken_back.by_name IS 'Who did it.';
COMMENT ON COLUMN router.taken_back.was_owner IS 'Whether it was the first email.owner_id, which another owner has now.';
COMMENT ON COLUMN router.taken_back.receipt IS 'The row of crm.receipt; null: it is too late to undo it.';

CREATE TABLE router.sealed (
    email_id uuid PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX sealed_at ON router.sealed (at);
COMMENT ON TABLE router.sealed IS
    'Emails that every owner took back, out of the reach of the CRM, until they can no longer be restored.';

CREATE TABLE router.sealed_rows (
    email_id uuid NOT NULL REFERENCES router.sealed ON DELETE CASCADE,
    relation text NOT NULL,
    rows jsonb NOT NULL,
    PRIMARY KEY (email_id, relation)
);
-- Compressed it would cost the processor, in a transaction.
ALTER TABLE router.sealed_rows ALTER COLUMN rows SET STORAGE EXTERNAL;
COMMENT ON TABLE router.sealed_rows IS 'The rows of a sealed email, by the table that they were in.';
COMMENT ON COLUMN router.sealed_rows.relation IS 'The table, such as crm.party.';

CREATE TABLE router.sealed_content (
    email_id uuid NOT NULL REFERENCES router.sealed ON DELETE CASCADE,
    sha256 bytea NOT NULL,
    encoding text NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (email_id, sha256)
);
ALTER TABLE router.sealed_content ALTER COLUMN content SET STORAGE EXTERNAL;
COMMENT ON TABLE router.sealed_content IS 'The contents of the attachments of a sealed email, as in crm.blob.';

INSERT INTO router.pruning (what) VALUES ('taken_back');

-- What is restored was told when it happened, and asks for no copy in a Sent folder.
CREATE FUNCTION router.restores() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT current_setting('email_router.restores', true) IS NOT DISTINCT FROM 'yes'
$$;
COMMENT ON FUNCTION router.restores IS 'Whether this transaction restores an email that was taken back.';

CREATE OR REPLACE FUNCTION crm.tell_recipient() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    IF NOT router.restores() THEN
        INSERT INTO crm.event (kind, email_id, details) VALUES (
            NEW.state, NEW.email_id,
            jsonb_build_object('address', NEW.address, 'code', NEW.code, 'reason', left(NEW.text, 1000)));
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION router.want_sent_copies() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    INSERT INTO router.sent_copy (email_id, owner_id, profile)
    -- Of an owner who is quite new, a process finds out.
    SELECT e.id, e.owner_id, coalesce(f.profile, '')
    FROM crm.email AS e LEFT JOIN router.sent_folder AS f ON f.owner_id = e.owner_id
    -- A report of what was sent long ago, perhaps by another program, asks for none.
    WHERE NOT router.restores()
        AND e.id = ANY(ARRAY(SELECT DISTINCT c.email_id FROM changed AS c WHERE c.state = 'accepted'))
        AND e.direction = 'out' AND e.owner_id IS NOT NULL
        AND (f.owner_id IS NULL OR f.profile IS NOT NULL) AND coalesce(e.sent_at, now()) > now() - interval '1 hour'
    ORDER BY e.id
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;

-- Never validated: of what was told before, nothing changes.
ALTER TABLE crm.event DROP CONSTRAINT event_kind, ADD CONSTRAINT event_kind CHECK (kind IN (
    'promoted', 'received', 'correlated', 'split', 'draft', 'pending_send', 'sent', 'failed', 'unknown', 'canceled',
    'refused', 'given_up', 'delayed', 'accepted', 'complaint', 'acknowledged', 'not_acknowledged', 'bounced',
    'ruled', 'ruling_undone', 'resolved', 'unresolved', 'taken_back', 'restored')) NOT VALID;
COMMENT ON COLUMN crm.event.kind IS
    'promoted, received (another owner''s copy), correlated (with an email that came later, or again), split (off its thread), '
    'taken_back (by an owner to whom it came), restored (that was undone), acknowledged (the router wrote an answer), '
    'not_acknowledged (it gave that up); of an outgoing email its new status: draft, pending_send, sent, failed, unknown, canceled; '
    'bounced (all recipients of a sent one); of one recipient: refused, given_up, delayed, accepted (by a report), complaint; '
    'ruled, ruling_undone (who a sender is, without email_id); resolved, unresolved (parties of an email, by that).';
