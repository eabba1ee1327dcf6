-- Keeps what `status` and `doctor` ask up to date.

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

-- What changed since the tables were filled. The trigger's lock bars whoever writes emails until this is committed, so it
-- reads no large table but the attempts, which are narrow.
INSERT INTO router.unsent (email_id, status, since)
SELECT DISTINCT ON (e.id) e.id, e.status, coalesce(a.finished_at, a.claimed_at)
FROM router.attempt AS a JOIN crm.email AS e ON e.id = a.email_id
WHERE a.claimed_at > now() - interval '1 hour' AND e.status IN ('failed', 'unknown')
ORDER BY e.id, a.claimed_at DESC
ON CONFLICT DO NOTHING;
DELETE FROM router.unsent AS u
WHERE NOT EXISTS (SELECT FROM crm.email AS e WHERE e.id = u.email_id AND e.status = u.status);
ALTER TABLE router.unsent ADD FOREIGN KEY (email_id) REFERENCES crm.email ON DELETE CASCADE;

LOCK TABLE router.source IN SHARE ROW EXCLUSIVE MODE;
DELETE FROM router.source_count AS c WHERE NOT EXISTS (SELECT FROM router.source AS s WHERE s.id = c.source_id);
ALTER TABLE router.source_count ADD FOREIGN KEY (source_id) REFERENCES router.source ON DELETE CASCADE;

-- Last, since it stops the heartbeats until this is committed.
ALTER TABLE router.process ADD COLUMN clock_ahead double precision;
COMMENT ON COLUMN router.process.clock_ahead IS 'Seconds by which the process'' clock is ahead of the database''s. Null: not told yet.';
