-- What the start page draws of the last day: totals every quarter of an hour, so that no table of mail is counted for it.

CREATE TABLE router.sample (
    at timestamptz PRIMARY KEY,
    promoted bigint NOT NULL,
    duplicate bigint NOT NULL,
    ignored bigint NOT NULL,
    held bigint NOT NULL,
    dead bigint NOT NULL,
    sent bigint NOT NULL,
    failed bigint NOT NULL,
    unknown bigint NOT NULL,
    event_id bigint NOT NULL,
    lag double precision,
    to_send int NOT NULL,
    unresolved int NOT NULL
);
COMMENT ON TABLE router.sample IS
    'How much mail there had been at a moment, every quarter of an hour for two days; what came in between is the difference.';
COMMENT ON COLUMN router.sample.promoted IS 'Copies of all sources with this disposition, as in router.source_count; the four others, too.';
COMMENT ON COLUMN router.sample.sent IS 'How often an outgoing email became sent since the first sample; failed and unknown, too.';
COMMENT ON COLUMN router.sample.event_id IS 'The event up to which these are counted.';
COMMENT ON COLUMN router.sample.lag IS
    'Seconds from arrival on the mail server to the decision, that 95 of 100 of the latest copies do not exceed; null: none came.';
COMMENT ON COLUMN router.sample.to_send IS 'Emails that were due, at most 10000 of each kind.';
COMMENT ON COLUMN router.sample.unresolved IS 'Emails whose sender nobody knew, at most 10000.';
