-- Simulations of other tracking rules, so that whichever process is asked knows them.

CREATE TABLE router.simulation (
    id text PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 64),
    mailbox text NOT NULL CHECK (length(mailbox) <= 1000),
    rule text NOT NULL,
    by text NOT NULL,
    begun_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    done boolean NOT NULL DEFAULT false,
    fault text,
    found jsonb
);
CREATE INDEX simulation_begun_at ON router.simulation (begun_at);
COMMENT ON TABLE router.simulation IS
    'What another tracking rule would have made of an owner''s mail, for a day; begun by the API or on a page. No content of mail.';
COMMENT ON COLUMN router.simulation.seen_at IS
    'When the process that compares was last heard of; one that is silent for half a minute before it is done has ended.';
COMMENT ON COLUMN router.simulation.fault IS 'Why not all messages were compared.';
COMMENT ON COLUMN router.simulation.found IS
    'Of each message that was compared so far: folder, place, time, email, and what both rules make of it, with reasons.';
