-- What a relay has just taken is found by its key, however large the planner thinks that crm.email is.
CREATE OR REPLACE FUNCTION router.want_sent_copies() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog AS $$
BEGIN
    INSERT INTO router.sent_copy (email_id, owner_id, profile)
    -- Of an owner who is quite new, a process finds out.
    SELECT e.id, e.owner_id, coalesce(f.profile, '')
    FROM crm.email AS e LEFT JOIN router.sent_folder AS f ON f.owner_id = e.owner_id
    -- A report of what was sent long ago, perhaps by another program, asks for none.
    WHERE e.id = ANY(ARRAY(SELECT DISTINCT c.email_id FROM changed AS c WHERE c.state = 'accepted'))
        AND e.direction = 'out' AND e.owner_id IS NOT NULL
        AND (f.owner_id IS NULL OR f.profile IS NOT NULL) AND coalesce(e.sent_at, now()) > now() - interval '1 hour'
    ORDER BY e.id
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
