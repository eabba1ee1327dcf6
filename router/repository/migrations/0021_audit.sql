-- What the mail server really holds is compared with what is known of it.

CREATE TABLE router.audit (
    source_id bigint PRIMARY KEY REFERENCES router.source ON DELETE CASCADE,
    tried_at timestamptz,
    fault text,
    audited_at timestamptz,
    messages bigint,
    waiting bigint,
    missing bigint,
    missing_since timestamptz,
    begun_at timestamptz,
    validity text,
    place text,
    tally jsonb
);
COMMENT ON TABLE router.audit IS
    'What the last audit of each source found: whether all that its folder holds on the server is accounted for.';
COMMENT ON COLUMN router.audit.tried_at IS 'When the router last set out to audit its mailbox; of the first folder only.';
COMMENT ON COLUMN router.audit.fault IS 'Why it could not be audited the last time; null: it was.';
COMMENT ON COLUMN router.audit.audited_at IS 'When its last audit ended. The numbers beside it are of that audit.';
COMMENT ON COLUMN router.audit.messages IS 'How many messages lay in the folder.';
COMMENT ON COLUMN router.audit.waiting IS 'How many of them were still to be read.';
COMMENT ON COLUMN router.audit.missing IS 'How many of them nothing accounts for.';
COMMENT ON COLUMN router.audit.missing_since IS 'When an audit first found some missing that none has accounted for since.';
COMMENT ON COLUMN router.audit.begun_at IS 'When an audit began that has not ended; null: none is under way. The rest says how far it came.';
