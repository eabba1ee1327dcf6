-- Subscribers who are told of events by HTTP, each in the order of events and where it stands.

CREATE TABLE router.webhook (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    url text NOT NULL CHECK (length(url) <= 2000),
    kinds text[] NOT NULL,
    secret bytea NOT NULL,
    made_by text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now(),
    transaction xid8 NOT NULL,
    event_id bigint NOT NULL,
    delivered bigint NOT NULL DEFAULT 0,
    delivered_at timestamptz,
    missed bigint NOT NULL DEFAULT 0,
    missed_at timestamptz,
    failures int NOT NULL DEFAULT 0,
    fault text,
    fault_since timestamptz,
    next_try_at timestamptz,
    paused_at timestamptz,
    paused_by text,
    process_id uuid,
    fence bigint NOT NULL DEFAULT 0,
    CHECK ((paused_at IS NULL) = (paused_by IS NULL))
);
COMMENT ON TABLE router.webhook IS 'Subscribers who are told of events by HTTP. One process at a time tells one, event by event.';
COMMENT ON COLUMN router.webhook.kinds IS 'Kinds of events that it is told; none: all.';
COMMENT ON COLUMN router.webhook.secret IS 'What its requests are signed with, encrypted by the first of the keys of EMAIL_ROUTER_TOKEN_KEYS.';
COMMENT ON COLUMN router.webhook.transaction IS 'With event_id: the place of the last event that was told, or is none of its kinds.';
COMMENT ON COLUMN router.webhook.missed IS 'Events that were pruned before it was told, since somebody last resumed or replayed it.';
COMMENT ON COLUMN router.webhook.failures IS 'How often in a row the next event could not be told.';
COMMENT ON COLUMN router.webhook.fault IS 'Why; null: the last one was told.';
COMMENT ON COLUMN router.webhook.paused_by IS 'Who paused it: router, where it failed for too long.';
COMMENT ON COLUMN router.webhook.process_id IS 'The process that tells it, while that one lives.';
COMMENT ON COLUMN router.webhook.fence IS 'Counts who took it, and who changed it: what an earlier one learned is not written any more.';
