-- What fails by the CRM's own SQL is tried again by ladders that end, or slow down; and it is told.

-- --- Records from mail ----------------------------------------------------------------------------------------------
-- Each is begun before it is made, so that what ends the router or PostgreSQL is tried a few times, and not for ever;
-- and what takes too long waits apart, and holds up no other. See router/repository/records/creation_lanes.py.

ALTER TABLE router.creation
    ADD COLUMN begun_at timestamptz,
    ADD COLUMN lost int NOT NULL DEFAULT 0,
    ADD COLUMN slow boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN router.creation.begun_at IS 'When it was begun to be made, without an end that is known.';
COMMENT ON COLUMN router.creation.lost IS 'How many tries ended with the router, or with PostgreSQL.';
COMMENT ON COLUMN router.creation.slow IS 'It took too long, or was lost; or it is of the same owner as one that did, and waits apart with it.';
COMMENT ON COLUMN router.creation.attempts IS 'How often it was begun to be made.';
COMMENT ON COLUMN crm.creation.attempts IS 'How often it was tried to be made.';

DROP INDEX router.creation_due;
DROP INDEX router.creation_owner_due;
CREATE INDEX creation_quick ON router.creation (due_at, id) WHERE state = 'wanted' AND NOT slow;
CREATE INDEX creation_slow ON router.creation (owner_id, (attempts > 0), due_at) WHERE state = 'wanted' AND slow;

CREATE OR REPLACE FUNCTION router.tell_resolved() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    -- Whoever carries it out at this moment may not see that the sender is resolved: it is then looked at again.
    IF NEW.record_id IS NOT NULL THEN
        UPDATE router.creation AS c SET state = 'wanted', due_at = now(), begun_at = NULL
        WHERE c.email_id = NEW.email_id AND c.state IN ('wanted', 'waiting') AND c.unknown_sender = 'wait';
    END IF;
    UPDATE crm.case AS k SET requester_id = NEW.record_id
    WHERE k.email_id = NEW.email_id AND k.requester_id IS NOT DISTINCT FROM OLD.record_id;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION crm.make_again(creation_id bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    -- What took too long, or was lost, is tried apart again.
    UPDATE router.creation AS w SET state = 'wanted', attempts = 0, lost = 0, begun_at = NULL, due_at = now()
    WHERE w.id = creation_id AND w.state = 'failed';
    IF NOT FOUND THEN
        PERFORM crm.refuse(format('creation %s has not failed', creation_id), 'Look at it: SELECT * FROM crm.creation');
    END IF;
END
$$;

-- --- Rulings --------------------------------------------------------------------------------------------------------
-- Parties that the CRM does not let be changed are tried again after ever longer pauses, up to an hour.

ALTER TABLE router.ruling_work
    ADD COLUMN fault text,
    ADD COLUMN refused boolean NOT NULL DEFAULT false,
    ADD COLUMN failures int NOT NULL DEFAULT 0,
    ADD COLUMN begun int NOT NULL DEFAULT 0;
CREATE INDEX ruling_work_fault ON router.ruling_work (try_at) WHERE fault IS NOT NULL;
COMMENT ON COLUMN router.ruling_work.fault IS 'Why some of it, or all, could not be done the last time.';
COMMENT ON COLUMN router.ruling_work.refused IS 'This walk has passed over an email that the CRM does not let be changed.';
COMMENT ON COLUMN router.ruling_work.begun IS 'How often a piece was begun without an end that is known.';
COMMENT ON COLUMN router.ruling_work.failures IS 'Walks in a row that passed over such an email.';

CREATE OR REPLACE FUNCTION router.begin_ruling_work(on_subject text) RETURNS void LANGUAGE sql AS $$
    INSERT INTO router.ruling_work AS w (subject) VALUES (on_subject)
    ON CONFLICT (subject) DO UPDATE SET boundary = NULL, is_last = false, phase = 'ruled', after_address = '',
        after_email = '00000000-0000-0000-0000-000000000000', passed_over = false, is_walked = false,
        refused = false, failures = 0, begun = 0, fault = NULL, try_at = now()
$$;

CREATE OR REPLACE VIEW crm.ruling AS
SELECT r.id, r.kind, r.subject, r.record_id, r.by, r.at, r.undone_by, r.undone_at, r.replaced_by,
    r.undone_at IS NULL AND r.replaced_by IS NULL AS in_force,
    w.subject IS NULL AS is_done, r.touched,
    (SELECT count(*) FROM router.ruled_party AS p WHERE p.ruling_id = r.id) AS parties,
    w.fault, CASE WHEN w.fault IS NOT NULL THEN w.try_at END AS next_at
FROM router.ruling AS r LEFT JOIN router.ruling_work AS w ON w.subject = r.subject;
COMMENT ON VIEW crm.ruling IS
    'Who senders are, as persons ruled. in_force: mail is resolved by it. is_done: the mail that waited is in line with it. touched: how many '
    'waiting parties it resolved; parties: how many are its record''s by it now, those of later mail too. fault: why some of the mail that '
    'waited could not be changed the last time, as by a trigger; it is tried again at next_at (crm.rule_again).';

CREATE FUNCTION crm.rule_again(ruling_id bigint) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    UPDATE router.ruling_work AS w SET try_at = now(), failures = 0, begun = 0
    FROM router.ruling AS r WHERE r.id = ruling_id AND w.subject = r.subject;
    IF NOT FOUND THEN
        PERFORM crm.refuse(format('of ruling %s nothing is left to do', ruling_id), 'Look at it: SELECT * FROM crm.ruling');
    END IF;
END
$$;
COMMENT ON FUNCTION crm.rule_again IS 'Has the mail that a ruling could not change tried again now.';
REVOKE EXECUTE ON FUNCTION crm.rule_again FROM PUBLIC;
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'email_router_crm') THEN
        GRANT EXECUTE ON FUNCTION crm.rule_again TO email_router_crm;
    END IF;
END
$$;
