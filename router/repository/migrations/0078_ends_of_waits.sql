-- no transaction
-- An attempt to carry a merge out is counted before it begins, and there is an end of attempts; and whose a record is, an index tells.
-- Nobody waits for long behind who waits for the table.
SET lock_timeout = '2s';

ALTER TABLE router.merge
    ADD COLUMN IF NOT EXISTS begun bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS begun_at timestamptz,
    ADD COLUMN IF NOT EXISTS lost int NOT NULL DEFAULT 0;

COMMENT ON COLUMN router.merge.begun IS 'How often somebody began to move a piece: who began last may move it.';

COMMENT ON COLUMN router.merge.begun_at IS 'When that was, where it has no end that is known.';

COMMENT ON COLUMN router.merge.lost IS 'How many attempts in a row ended with the router, or with PostgreSQL. It counts only where attempts does.';

COMMENT ON COLUMN router.merge.attempts IS
    'How often in a row it was begun and nothing could be moved: the next try waits longer each time. 0: nothing failed since it was asked for.';

COMMENT ON COLUMN router.merge.try_at IS 'When the next piece is due; infinity: not by itself any more, until somebody merges the two again.';

COMMENT ON COLUMN router.merge_refused.try_at IS
    'When it is tried again: after seconds at first, then once an hour; infinity: not by itself any more, until somebody merges the two again.';

CREATE OR REPLACE VIEW crm.merge AS
SELECT m.from_id, m.into_id, m.by, m.at, m.done_at IS NOT NULL AS is_done, m.parties, m.emails,
    coalesce(m.fault, (
        SELECT f.kind || ' of ' || f.key || ': ' || f.fault FROM router.merge_refused AS f
        WHERE f.from_id = m.from_id ORDER BY f.try_at LIMIT 1
    )) AS fault,
    (SELECT count(*) FROM router.merge_refused AS f WHERE f.from_id = m.from_id) AS refused,
    m.done_at IS NULL AND (m.try_at = 'infinity' OR EXISTS (
        SELECT FROM router.merge_refused AS f WHERE f.from_id = m.from_id AND f.try_at = 'infinity'
    )) AS has_failed
FROM router.merge AS m;

COMMENT ON VIEW crm.merge IS
    'Records that were merged into others. is_done: nothing of the emails names the merged one any more. parties, emails: how many parties, and '
    'emails by what they are about or whose they are, were moved. refused: how many rows your SQL does not let be moved; they are tried again, '
    'and the others are moved. fault: why it does not go on, or why the first of these was refused. has_failed: all of it, or some of these '
    'rows, failed too often to be tried again: merge the two again.';

COMMENT ON COLUMN crm.email.tracking_rule IS
    'The rule by which a copy was made an email: that of owner_id, or of who had it before and took it back; null: it was not promoted, or '
    'before this was noted.';

CREATE TABLE IF NOT EXISTS router.clock (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);

INSERT INTO router.clock DEFAULT VALUES ON CONFLICT DO NOTHING;

COMMENT ON TABLE router.clock IS 'One row: the time when a router looked last, to the seconds. If that is later than now, the clock was set back.';

SET lock_timeout = '60s';

-- where crm.record is a table
DROP INDEX CONCURRENTLY IF EXISTS crm.record_owner;

-- where crm.record is a table
CREATE INDEX CONCURRENTLY record_owner ON crm.record (owner_id) WHERE owner_id IS NOT NULL;

-- Events that name people, which an email that is taken back leaves behind.
DROP INDEX CONCURRENTLY IF EXISTS crm.event_names;

CREATE INDEX CONCURRENTLY event_names ON crm.event (email_id) WHERE details ?| '{address,sender,subject}'::text[];
