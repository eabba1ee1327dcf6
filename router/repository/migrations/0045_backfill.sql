-- The past of a mailbox is brought in, when a person asks for it.

CREATE TABLE router.backfill (
    source_id bigint PRIMARY KEY REFERENCES router.source ON DELETE CASCADE,
    since date NOT NULL,
    by_name text NOT NULL,
    begun_at timestamptz NOT NULL,
    ended_at timestamptz,
    validity text,
    place text,
    counts jsonb NOT NULL
);
COMMENT ON TABLE router.backfill IS
    'The last time that the past of a source was brought in, by "email-router backfill": how far it came.';
COMMENT ON COLUMN router.backfill.since IS 'From which day on mail was judged.';
COMMENT ON COLUMN router.backfill.by_name IS 'Who asked for it.';
COMMENT ON COLUMN router.backfill.ended_at IS 'When it had come to its end; null: it was interrupted, or goes on.';
COMMENT ON COLUMN router.backfill.validity IS 'With place: the last message that was looked at.';
COMMENT ON COLUMN router.backfill.counts IS 'What became of the messages that were looked at.';
