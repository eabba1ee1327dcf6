-- Mail whose From has no address: who decides on all mail may say that nobody has to name its sender, by a ruling on <>.
-- And a ruling to a record takes turns with the undoing that takes the record out of use, whoever makes them.

CREATE OR REPLACE FUNCTION router.subject_of(written text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN w = '<>' THEN w
        WHEN subject ~ '^@([^@.\s<>(),;"*]+\.)+[^@.\s<>(),;"*]+\.?$' THEN rtrim(subject, '.')
        WHEN subject ~ '[^@*].*@([^@.\s<>(),;"*]+\.)*[^@.\s<>(),;"*]+\.?$' AND subject NOT LIKE '@%' THEN subject
        ELSE ''
    END
    FROM (
        SELECT w, CASE WHEN w LIKE '@%' THEN substr(crm.normalise('x' || w), 2) ELSE crm.normalise(w) END AS subject
        FROM (SELECT btrim(written, E' \t\r\n') AS w) AS t
    ) AS s
$$;
COMMENT ON FUNCTION router.subject_of IS
    'An address, or @ and a domain, in the form in which rulings name it, or <> for no address; empty where it is none, or a domain without a '
    'dot: @com is nobody''s.';

CREATE OR REPLACE FUNCTION router.rulings_on(address text) RETURNS SETOF router.ruling LANGUAGE sql STABLE AS $$
    SELECT r.* FROM router.ruling AS r
    WHERE r.subject IN (coalesce(nullif(address, ''), '<>'), '@' || substring(address FROM '[^@]*$'))
        AND r.undone_at IS NULL AND r.replaced_by IS NULL
    ORDER BY r.subject = address DESC LIMIT 1
$$;

CREATE OR REPLACE FUNCTION router.rule(
    of_kind text, on_subject text, to_record uuid, by_whom text, expected bigint, OUT ruling_id bigint, OUT refused text
) LANGUAGE plpgsql AS $$
DECLARE
    now_in_force router.ruling;
BEGIN
    on_subject := router.subject_of(on_subject);
    IF on_subject = '' OR length(on_subject) > 320 THEN
        refused := 'name an address, or @ and a domain with a dot in it, such as @example.com';
        RETURN;
    END IF;
    IF of_kind = 'resolve' AND on_subject = '<>' THEN
        refused := 'mail that names no sender has none: it can only be ignored';
        RETURN;
    END IF;
    IF of_kind = 'resolve' THEN
        -- Whoever comes second, this or the undoing that takes the record out of use, knows what the first did.
        PERFORM pg_advisory_xact_lock_shared(hashtextextended('router.ruled_record ' || to_record, 0));
        IF NOT EXISTS (SELECT FROM crm.record AS r WHERE r.id = to_record AND r.active) THEN
            refused := format('there is no active record %s', to_record);
            RETURN;
        END IF;
        IF EXISTS (SELECT FROM crm.record AS r WHERE r.id = to_record AND router.is_matter(r.kind::text)) THEN
            refused := format('%s is a matter that mail can be about, and no sender: name a contact, a lead, an account or a user', to_record);
            RETURN;
        END IF;
        IF EXISTS (SELECT FROM crm.public_domain AS d WHERE '@' || d.domain = on_subject) THEN
            refused := format('anybody can have an address at %s: it belongs to no record', substr(on_subject, 2));
            RETURN;
        END IF;
    END IF;
    -- One ruling on a subject at a time; then in the order of those who carry rulings out: the work, then the rulings.
    PERFORM pg_advisory_xact_lock(hashtextextended('router.ruling ' || on_subject, 0));
    PERFORM FROM router.ruling_work AS w WHERE w.subject = on_subject FOR UPDATE;
    SELECT * INTO now_in_force FROM router.ruling AS r
    WHERE r.subject = on_subject AND r.undone_at IS NULL AND r.replaced_by IS NULL FOR NO KEY UPDATE;
    IF (now_in_force.kind, now_in_force.record_id) IS NOT DISTINCT FROM (of_kind, to_record) THEN
        ruling_id := now_in_force.id;
        RETURN;
    END IF;
    IF now_in_force.id IS DISTINCT FROM expected THEN
        refused := CASE
            WHEN now_in_force.id IS NULL THEN format('ruling %s on %s is not in force any more', expected, on_subject)
            ELSE router.ruling_words(now_in_force)
        END;
        RETURN;
    END IF;
    ruling_id := nextval(pg_get_serial_sequence('router.ruling', 'id'));
    UPDATE router.ruling AS r SET replaced_by = ruling_id WHERE r.id = now_in_force.id;
    INSERT INTO router.ruling (id, kind, subject, record_id, by) VALUES (ruling_id, of_kind, on_subject, to_record, by_whom);
    PERFORM router.begin_ruling_work(on_subject);
    INSERT INTO crm.event (kind, details) VALUES ('ruled', jsonb_strip_nulls(jsonb_build_object(
        'ruling_id', ruling_id, 'ruling', of_kind, 'subject', on_subject, 'record_id', to_record, 'by', by_whom,
        'replaces', now_in_force.id)));
END
$$;

CREATE OR REPLACE FUNCTION router.undo_ruling(to_undo bigint, by_whom text, OUT undone boolean, OUT refused text, OUT kept text)
    LANGUAGE plpgsql AS $$
DECLARE
    ruling router.ruling;
BEGIN
    undone := false;
    SELECT * INTO ruling FROM router.ruling AS r WHERE r.id = to_undo;
    IF ruling.id IS NULL THEN
        refused := format('there is no ruling %s', to_undo);
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('router.ruled_record ' || m.record_id, 0))
    FROM router.ruled_record AS m WHERE m.ruling_id = to_undo;
    PERFORM pg_advisory_xact_lock(hashtextextended('router.ruling ' || ruling.subject, 0));
    PERFORM FROM router.ruling_work AS w WHERE w.subject = ruling.subject FOR UPDATE;
    SELECT * INTO ruling FROM router.ruling AS r WHERE r.id = to_undo FOR NO KEY UPDATE;
    IF ruling.id IS NULL THEN  -- erased meanwhile
        refused := format('there is no ruling %s', to_undo);
        RETURN;
    END IF;
    IF ruling.undone_at IS NOT NULL THEN
        refused := format('%s undid ruling %s at %s', ruling.undone_by, ruling.id,
            to_char(ruling.undone_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"'));
        RETURN;
    END IF;
    kept := router.unmake(ruling);
    UPDATE router.ruling AS r SET undone_by = by_whom, undone_at = now(), kept = undo_ruling.kept WHERE r.id = to_undo;
    UPDATE router.ruling AS r SET replaced_by = ruling.replaced_by WHERE r.replaced_by = to_undo AND r.undone_at IS NULL;
    PERFORM router.begin_ruling_work(ruling.subject);
    INSERT INTO crm.event (kind, details) VALUES ('ruling_undone', jsonb_strip_nulls(jsonb_build_object(
        'ruling_id', to_undo, 'ruling', ruling.kind, 'subject', ruling.subject, 'record_id', ruling.record_id, 'by', by_whom,
        'kept', kept)));
    undone := true;
END
$$;
