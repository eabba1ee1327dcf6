-- Undoing a ruling is one thing, whoever asks for it: it takes back what was made together with the ruling, too.

-- --- What was made together with a ruling ---------------------------------------------------------------------------

ALTER TABLE router.ruling ADD COLUMN kept text;
COMMENT ON COLUMN router.ruling.kept IS 'What the undoing left of what was made together with it, in words; null: nothing.';

ALTER TABLE router.never_track ADD COLUMN ruling_id bigint REFERENCES router.ruling ON DELETE SET NULL;
CREATE INDEX never_track_ruling ON router.never_track (ruling_id) WHERE ruling_id IS NOT NULL;
COMMENT ON COLUMN router.never_track.ruling_id IS 'The ruling together with which it was added, and whose undoing takes it away; null: it was added alone.';

CREATE FUNCTION router.record_mark(of_record uuid) RETURNS bigint LANGUAGE sql STABLE AS $$
    -- Columns that a CRM adds without a value, and taking it out of use, change nothing.
    SELECT hashtextextended(jsonb_strip_nulls(to_jsonb(r) - 'active')::text, 0) FROM crm.record AS r WHERE r.id = of_record
$$;
COMMENT ON FUNCTION router.record_mark IS 'What a record looks like, to see whether somebody has changed it; null: there is none.';

ALTER TABLE router.ruled_record ADD COLUMN mark bigint;
COMMENT ON COLUMN router.ruled_record.mark IS 'Its router.record_mark when it was made; null: made before marks were kept.';

CREATE FUNCTION router.use_of_made(made_by bigint, made uuid, own_address text, mark bigint) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN mark <> router.record_mark(made) THEN 'the CRM has changed it since'
        WHEN EXISTS (SELECT FROM crm.address AS a WHERE a.record_id = made AND a.address <> own_address) THEN 'it has got other addresses since'
        WHEN EXISTS (SELECT FROM router.merge AS m WHERE made IN (m.from_id, m.into_id)) THEN 'records were merged'
        WHEN EXISTS (
            SELECT FROM router.ruling AS r WHERE r.record_id = made AND r.id <> made_by AND r.undone_at IS NULL
        ) THEN 'another ruling names it'
        WHEN EXISTS (
            SELECT FROM crm.party AS p WHERE p.record_id = made AND NOT EXISTS (
                SELECT FROM router.ruled_party AS o
                WHERE (o.email_id, o.role, o.position) = (p.email_id, p.role, p.position) AND o.ruling_id = made_by
            )
        ) THEN 'there is other mail of it since'
        WHEN EXISTS (SELECT FROM crm.email AS e WHERE e.regarding_id = made)
            OR EXISTS (SELECT FROM crm.email AS e WHERE e.owner_id = made)
            OR EXISTS (SELECT FROM crm.owner AS o WHERE o.record_id = made)
            OR EXISTS (
                SELECT FROM crm.case AS k WHERE k.requester_id = made AND NOT EXISTS (
                    SELECT FROM router.ruled_party AS o
                    WHERE (o.email_id, o.role, o.position) = (k.email_id, 'from', 0) AND o.ruling_id = made_by
                )
            )
        THEN 'mail or a case belongs to it since'
    END
$$;
COMMENT ON FUNCTION router.use_of_made IS 'What somebody has done with a record since it was made together with a ruling, in words; null: nothing.';

CREATE FUNCTION router.unmake(undone router.ruling) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    made router.ruled_record;
    why text;
BEGIN
    DELETE FROM router.never_track AS n WHERE n.ruling_id = undone.id;
    IF undone.kind = 'ignore-sender' AND EXISTS (
        SELECT FROM router.never_track AS n WHERE n.pattern = ltrim(undone.subject, '@') AND n.owner_id IS NULL
    ) THEN
        RETURN 'its mail is still never tracked: that was not said by this ruling';
    END IF;
    DELETE FROM router.ruled_record AS m WHERE m.ruling_id = undone.id RETURNING * INTO made;
    IF made.record_id IS NULL THEN
        RETURN NULL;
    END IF;
    IF NOT (router.is_table('crm.record') AND router.is_table('crm.address')) THEN
        RETURN 'the record that it made stays: the CRM keeps its records elsewhere now';
    END IF;
    BEGIN
        -- Nothing here waits for the CRM, nor fails by it.
        PERFORM FROM crm.record AS r WHERE r.id = made.record_id FOR NO KEY UPDATE NOWAIT;
        IF NOT FOUND THEN
            RETURN NULL;
        END IF;
        why := router.use_of_made(undone.id, made.record_id, undone.subject, made.mark);
        IF why IS NULL THEN
            PERFORM FROM crm.address AS a WHERE a.address = undone.subject AND a.record_id = made.record_id FOR UPDATE NOWAIT;
            DELETE FROM crm.address AS a WHERE a.address = undone.subject AND a.record_id = made.record_id;
            UPDATE crm.record AS r SET active = false WHERE r.id = made.record_id AND r.active;
        END IF;
    EXCEPTION
        WHEN lock_not_available THEN
            why := 'somebody changes it at this moment';
        WHEN OTHERS THEN
            why := 'the CRM does not let it be taken out of use';
    END;
    RETURN 'the record that it made stays: ' || why;
END
$$;
COMMENT ON FUNCTION router.unmake IS
    'Takes back what was made together with a ruling: its entry in router.never_track; its record, which stays, out of use and without the '
    'address. Says what it leaves, since somebody has used it; null: nothing.';

-- Another function with the same parameters: what it returns has one more.
DROP FUNCTION router.undo_ruling(bigint, text);
CREATE FUNCTION router.undo_ruling(to_undo bigint, by_whom text, OUT undone boolean, OUT refused text, OUT kept text)
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
COMMENT ON FUNCTION router.undo_ruling IS
    'Undoes a ruling, and takes back what was made together with it; the ruling that it replaced is in force again. Or says why not. kept: what '
    'it leaves of that, in words.';

COMMENT ON FUNCTION crm.unresolve IS
    'Undoes the ruling that is in force for an address (or @ and a domain): what it resolved is as it was before, unless somebody changed it '
    'since; and so is what was made together with it, a record or an entry of the never-track list. Returns the ruling''s id; null: there is '
    'none. crm.ruling.kept says what was left, since it has been used.';

CREATE OR REPLACE VIEW crm.ruling AS
SELECT r.id, r.kind, r.subject, r.record_id, r.by, r.at, r.undone_by, r.undone_at, r.replaced_by,
    r.undone_at IS NULL AND r.replaced_by IS NULL AS in_force,
    w.subject IS NULL AS is_done, r.touched,
    (SELECT count(*) FROM router.ruled_party AS p WHERE p.ruling_id = r.id) AS parties,
    w.fault, CASE WHEN w.fault IS NOT NULL THEN w.try_at END AS next_at,
    EXISTS (SELECT FROM router.ruled_record AS m WHERE m.ruling_id = r.id) AS made_record,
    EXISTS (SELECT FROM router.never_track AS n WHERE n.ruling_id = r.id) AS never_tracked,
    r.kept
FROM router.ruling AS r LEFT JOIN router.ruling_work AS w ON w.subject = r.subject;
COMMENT ON VIEW crm.ruling IS
    'Who senders are, as persons ruled. in_force: mail is resolved by it. is_done: the mail that waited is in line with it. touched: how many '
    'waiting parties it resolved; parties: how many are its record''s by it now, those of later mail too. fault: why some of the mail that '
    'waited could not be changed the last time, as by a trigger; it is tried again at next_at (crm.rule_again). made_record, never_tracked: '
    'what was made together with it, and goes with its undoing; kept: what the undoing left of that, since it has been used.';

-- --- What is made of a private email --------------------------------------------------------------------------------

CREATE FUNCTION router.without_subject(words text, subject text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN btrim(subject) = '' THEN words
        WHEN strpos(words, btrim(subject)) > 0 THEN replace(words, btrim(subject), 'Private email')
        -- It was cut off.
        WHEN length(btrim(subject)) > 40 AND strpos(words, left(btrim(subject), 40)) > 0 THEN 'Private email'
        ELSE words
    END
$$;
COMMENT ON FUNCTION router.without_subject IS 'Words of a record that was made of an email, without the subject of that email.';

CREATE FUNCTION router.without_subject(fields jsonb, subject text) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(jsonb_object_agg(f.key, CASE
        WHEN jsonb_typeof(f.value) = 'string' THEN to_jsonb(router.without_subject(f.value #>> '{}', subject)) ELSE f.value
    END), '{}') FROM jsonb_each(fields) AS f
$$;
COMMENT ON FUNCTION router.without_subject(jsonb, text) IS 'Fields of a record that was made of an email, without the subject of that email.';

CREATE FUNCTION router.hide_made(of_email uuid) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    email record;
BEGIN
    SELECT e.id, e.subject INTO email FROM crm.email AS e WHERE e.id = of_email AND e.private;
    IF email.id IS NULL THEN
        RETURN;
    END IF;
    UPDATE crm.case AS k SET subject = router.without_subject(k.subject, email.subject)
    WHERE k.email_id = email.id AND k.subject <> router.without_subject(k.subject, email.subject);
    IF router.is_table('crm.record') THEN
        UPDATE crm.record AS r SET name = router.without_subject(r.name, email.subject),
            attributes = router.without_subject(r.attributes, email.subject)
        WHERE r.id IN (
                SELECT k.record_id FROM crm.case AS k WHERE k.email_id = email.id
                UNION ALL
                SELECT c.record_id FROM router.creation AS c WHERE c.email_id = email.id AND c.outcome = 'made'
            )
            AND (r.name, r.attributes)
                <> (router.without_subject(r.name, email.subject), router.without_subject(r.attributes, email.subject));
    END IF;
END
$$;
COMMENT ON FUNCTION router.hide_made IS
    'Takes the subject of a private email out of what was made of it: everybody reads the names of records.';

CREATE FUNCTION router.note_private_case() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    PERFORM router.hide_made(NEW.id);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION router.note_private_case IS 'Takes the subject of an email that becomes private out of what was made of it.';
CREATE TRIGGER note_private_case AFTER UPDATE OF private ON crm.email FOR EACH ROW
    WHEN (NEW.private AND NOT OLD.private) EXECUTE FUNCTION router.note_private_case();

-- What was made of private emails so far.
SELECT router.hide_made(k.email_id) FROM crm.case AS k JOIN crm.email AS e ON e.id = k.email_id WHERE e.private;

-- --- What our mail server says of a sender --------------------------------------------------------------------------

ALTER TABLE router.decision ADD COLUMN verdict jsonb;
COMMENT ON COLUMN router.decision.verdict IS
    'What our mail server found out about the sender (Authentication-Results): server, and results as pairs of method (dmarc, spf, dkim) and '
    'result. Null where it said nothing, and for what is ignored.';

-- --- How far behind a source is -------------------------------------------------------------------------------------

ALTER TABLE router.source_count ADD COLUMN lag interval;
COMMENT ON COLUMN router.source_count.lag IS
    'From the arrival of the newest copy of the last batch to its decision. What lay for more than a day before it was read is left out.';

-- --- Why mail is held -----------------------------------------------------------------------------------------------

CREATE FUNCTION router.held_kind(reasons text[]) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN last LIKE 'loop: %' THEN 'loop'
        WHEN last = 'held for review, since the sender is known to the CRM' THEN 'forged'
        WHEN last = 'held for review, since the sender was never on that thread' THEN 'stranger'
        ELSE 'other'
    END FROM (SELECT reasons[cardinality(reasons)] AS last) AS r
$$;
COMMENT ON FUNCTION router.held_kind IS
    'The class of the reason that holds mail: loop; forged (our server denies the sender, whom the CRM knows); stranger (the token of a thread '
    'that the sender was never on); other, as of a forward.';

-- --- Why a sender waits ---------------------------------------------------------------------------------------------

CREATE FUNCTION router.unresolved_kind(address text, latest_id uuid) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN strpos(address, '@') = 0 THEN 'unreadable'
        WHEN EXISTS (SELECT FROM router.rulings_on(address) AS r WHERE r.kind = 'resolve') THEN 'ruling'
        WHEN EXISTS (
            SELECT FROM crm.party AS p
            WHERE p.email_id = latest_id AND p.role = 'from' AND p.position = 0 AND cardinality(p.candidates) > 0
        ) THEN 'several'
        WHEN 'dmarc-fail' = ANY(e.flags) THEN 'denied'
        WHEN 'new-on-thread' = ANY(e.flags) THEN 'stranger'
        ELSE 'nobody'
    END FROM (SELECT) AS one LEFT JOIN crm.email AS e ON e.id = latest_id
$$;
COMMENT ON FUNCTION router.unresolved_kind IS
    'Why a sender waits, as a page filters: unreadable (no address in From), ruling (its record is not active), several (records among whom a '
    'person chooses), denied (our server does not vouch), stranger (new on a thread), nobody (no record has the address).';

ALTER TABLE router.sender_waiting ADD COLUMN reason text NOT NULL DEFAULT 'nobody';
CREATE INDEX sender_waiting_reason ON router.sender_waiting (owner_id, reason, latest_at, address) WHERE left(part, 1) <> '/';
COMMENT ON COLUMN router.sender_waiting.reason IS 'router.unresolved_kind, when its latest mail came or changed.';
INSERT INTO router.sender_change (address) SELECT DISTINCT s.address FROM router.sender_waiting AS s;
