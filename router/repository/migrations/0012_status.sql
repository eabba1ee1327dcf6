-- What `status` and `doctor` ask, answered without reading whole tables.

ALTER TABLE router.process ADD COLUMN clock_ahead double precision;
COMMENT ON COLUMN router.process.clock_ahead IS 'Seconds by which the process'' clock is ahead of the database''s. Null: not told yet.';

-- Of its own, and not in router.source: it is the last that a transaction locks, and by then in sorted order.
CREATE TABLE router.source_count (
    source_id bigint PRIMARY KEY REFERENCES router.source ON DELETE CASCADE,
    promoted bigint NOT NULL DEFAULT 0,
    duplicate bigint NOT NULL DEFAULT 0,
    ignored bigint NOT NULL DEFAULT 0,
    held bigint NOT NULL DEFAULT 0,
    dead bigint NOT NULL DEFAULT 0,
    last_at timestamptz
) WITH (fillfactor = 50);
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
    email_id uuid PRIMARY KEY REFERENCES crm.email ON DELETE CASCADE,
    status text NOT NULL CHECK (status IN ('failed', 'unknown')),
    since timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX unsent_since ON router.unsent (status, since);
COMMENT ON TABLE router.unsent IS
    'The outgoing emails that are failed or unknown, since crm.email is wide and its status not indexed; kept by a trigger.';

-- Found by way of the attempts, which are narrow, and before the trigger's lock stops those who write.
INSERT INTO router.unsent (email_id, status, since)
SELECT DISTINCT ON (e.id) e.id, e.status, coalesce(a.finished_at, a.claimed_at)
FROM router.attempt AS a JOIN crm.email AS e ON e.id = a.email_id
WHERE e.status IN ('failed', 'unknown') ORDER BY e.id, a.claimed_at DESC;

CREATE FUNCTION crm.note_unsent() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    IF NEW.status IN ('failed', 'unknown') THEN
        INSERT INTO router.unsent (email_id, status) VALUES (NEW.id, NEW.status)
        ON CONFLICT (email_id) DO UPDATE SET status = excluded.status, since = excluded.since;
    ELSE
        DELETE FROM router.unsent WHERE email_id = NEW.id;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION crm.note_unsent IS 'Keeps router.unsent: the outgoing emails that are failed or unknown.';
CREATE TRIGGER note_unsent AFTER UPDATE OF status ON crm.email FOR EACH ROW
    WHEN (NEW.status IS DISTINCT FROM OLD.status
        AND (OLD.status IN ('failed', 'unknown') OR NEW.status IN ('failed', 'unknown')))
    EXECUTE FUNCTION crm.note_unsent();

-- What changed while the first look went on.
INSERT INTO router.unsent (email_id, status, since)
SELECT DISTINCT ON (e.id) e.id, e.status, coalesce(a.finished_at, a.claimed_at)
FROM router.attempt AS a JOIN crm.email AS e ON e.id = a.email_id
WHERE a.claimed_at > now() - interval '1 hour' AND e.status IN ('failed', 'unknown')
ORDER BY e.id, a.claimed_at DESC
ON CONFLICT DO NOTHING;
DELETE FROM router.unsent AS u USING crm.email AS e WHERE e.id = u.email_id AND e.status <> u.status;

-- The status needs it no more; and with it, each attempt that ended wrote all indexes of its table anew (no HOT update).
DROP INDEX IF EXISTS router.attempt_unknown;
