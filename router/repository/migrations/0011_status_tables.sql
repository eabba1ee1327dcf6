-- What `status` and `doctor` ask, answered without reading whole tables. Here they are made and filled, which reads much
-- and bars nobody; the next migration, which is quick, keeps them up to date.

CREATE TABLE router.source_count (
    source_id bigint PRIMARY KEY,
    promoted bigint NOT NULL DEFAULT 0,
    duplicate bigint NOT NULL DEFAULT 0,
    ignored bigint NOT NULL DEFAULT 0,
    held bigint NOT NULL DEFAULT 0,
    dead bigint NOT NULL DEFAULT 0,
    last_at timestamptz
) WITH (fillfactor = 50);
-- Of its own, and not in router.source: it is the last that a transaction locks, and by then in sorted order.
COMMENT ON TABLE router.source_count IS
    'How many copies of a source have which disposition, those included whose decisions are no longer kept.';
COMMENT ON COLUMN router.source_count.last_at IS 'When the last copy was decided on.';
INSERT INTO router.source_count
SELECT source_id,
    count(*) FILTER (WHERE disposition = 'promoted'),
    count(*) FILTER (WHERE disposition = 'duplicate'),
    count(*) FILTER (WHERE disposition = 'ignored'),
    count(*) FILTER (WHERE disposition = 'held'),
    count(*) FILTER (WHERE disposition = 'dead'),
    max(decided_at)
FROM router.decision GROUP BY source_id;

CREATE TABLE router.unsent (
    email_id uuid PRIMARY KEY,
    status text NOT NULL CHECK (status IN ('failed', 'unknown')),
    since timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX unsent_since ON router.unsent (status, since);
COMMENT ON TABLE router.unsent IS
    'The outgoing emails that are failed or unknown, since crm.email is wide and its status not indexed; kept by a trigger.';
-- Found by way of the attempts, which are narrow.
INSERT INTO router.unsent (email_id, status, since)
SELECT DISTINCT ON (e.id) e.id, e.status, coalesce(a.finished_at, a.claimed_at)
FROM router.attempt AS a JOIN crm.email AS e ON e.id = a.email_id
WHERE e.status IN ('failed', 'unknown') ORDER BY e.id, a.claimed_at DESC;
