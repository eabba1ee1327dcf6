-- Records from mail: what a profile's rules want made of an email is noted with it, and made afterwards, one by one, so
-- that nothing a CRM does with its records ever keeps mail waiting.

-- --- What is wanted -------------------------------------------------------------------------------------------------

CREATE TABLE router.creation (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email_id uuid NOT NULL REFERENCES crm.email ON DELETE CASCADE,
    owner_id uuid NOT NULL,
    rule text NOT NULL,
    makes text NOT NULL CHECK (makes IN ('case', 'contact', 'lead')),
    sender text NOT NULL,
    sender_name text NOT NULL,
    unknown_sender text NOT NULL CHECK (unknown_sender IN ('contact', 'lead', 'open', 'wait')),
    reopen_days int NOT NULL,
    priority text NOT NULL,
    fields jsonb NOT NULL,
    state text NOT NULL DEFAULT 'wanted' CHECK (state IN ('wanted', 'waiting', 'asked', 'done', 'failed')),
    outcome text CHECK (outcome IN ('made', 'known', 'joined', 'reopened', 'not_made')),
    record_id uuid,
    attempts int NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL DEFAULT now(),
    fault text,
    done_at timestamptz,
    UNIQUE (email_id, owner_id)
);
CREATE INDEX creation_due ON router.creation (due_at, id) WHERE state = 'wanted';
CREATE INDEX creation_owner_due ON router.creation (owner_id, due_at) WHERE state = 'wanted';
CREATE INDEX creation_failed ON router.creation (id) WHERE state = 'failed';
CREATE INDEX creation_waiting ON router.creation (state, id) WHERE state IN ('waiting', 'asked');
CREATE INDEX creation_retried ON router.creation (id) WHERE state = 'wanted' AND attempts > 0;
CREATE INDEX creation_sender ON router.creation (sender);
COMMENT ON TABLE router.creation IS 'Records that rules want made of emails, one a receipt at most, and what became of each.';

CREATE VIEW crm.creation AS
SELECT c.id, c.email_id, c.owner_id, c.rule, c.makes, c.state, c.outcome, c.record_id, c.attempts,
    CASE WHEN c.state = 'wanted' THEN c.due_at END AS next_at, c.fault, c.done_at
FROM router.creation AS c;
COMMENT ON COLUMN crm.creation.id IS 'For crm.record_made and crm.make_again.';
COMMENT ON COLUMN crm.creation.email_id IS 'Of which email.';
COMMENT ON COLUMN crm.creation.owner_id IS 'For which queue.';
COMMENT ON COLUMN crm.creation.rule IS 'The name of the rule.';
COMMENT ON COLUMN crm.creation.makes IS 'case, contact or lead.';
COMMENT ON COLUMN crm.creation.state IS 'wanted, waiting, asked, done or failed.';
COMMENT ON COLUMN crm.creation.outcome IS 'What became of it: made, known, joined, reopened or not_made.';
COMMENT ON COLUMN crm.creation.record_id IS 'The case, contact or lead.';
COMMENT ON COLUMN crm.creation.attempts IS 'How often it could not be made.';
COMMENT ON COLUMN crm.creation.next_at IS 'When it is made, or tried again.';
COMMENT ON COLUMN crm.creation.fault IS 'Why it could not be made.';
COMMENT ON COLUMN crm.creation.done_at IS 'When it was made, or found that nothing is to be made.';
COMMENT ON VIEW crm.creation IS
    'Records that rules want made of emails. state: wanted (it will be, at next_at), waiting (until somebody resolves the sender), asked '
    '(the CRM is to make it and to call crm.record_made), done, failed (crm.make_again). outcome: made, known (a record has the address '
    'already), joined (it is on a case that was open), reopened, not_made (there is no address to make it of).';

-- --- Cases and queues -----------------------------------------------------------------------------------------------

CREATE TABLE crm.case (
    record_id uuid PRIMARY KEY,
    subject text NOT NULL DEFAULT '',
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'closed')),
    priority text NOT NULL DEFAULT 'normal',
    requester_id uuid,
    requester_address text NOT NULL DEFAULT '',
    owner_id uuid,
    email_id uuid,
    follows_id uuid,
    opened_at timestamptz NOT NULL DEFAULT now(),
    closed_at timestamptz,
    reopened_at timestamptz,
    CONSTRAINT case_closed CHECK ((status = 'closed') = (closed_at IS NOT NULL))
);
CREATE INDEX case_email ON crm.case (email_id) WHERE email_id IS NOT NULL;
CREATE INDEX case_follows ON crm.case (follows_id) WHERE follows_id IS NOT NULL;
CREATE INDEX case_requester ON crm.case (requester_id) WHERE requester_id IS NOT NULL;
COMMENT ON TABLE crm.case IS 'What is particular to records of the kind case, where crm.record is a table. Close one: SET status = ''closed''.';
COMMENT ON COLUMN crm.case.record_id IS 'The record of the kind case.';
COMMENT ON COLUMN crm.case.subject IS 'What it is about: of the email that opened it, or as the rule says.';
COMMENT ON COLUMN crm.case.status IS 'open or closed. An answer within the days of the rule opens it again.';
COMMENT ON COLUMN crm.case.priority IS 'As the rule says.';
COMMENT ON COLUMN crm.case.requester_address IS 'The address of the sender, normalised.';
COMMENT ON COLUMN crm.case.opened_at IS 'When it was opened.';
COMMENT ON COLUMN crm.case.closed_at IS 'When it was closed; null: it is open. Set with status.';
COMMENT ON COLUMN crm.case.reopened_at IS 'When it was last opened again. Set with status.';
COMMENT ON COLUMN crm.case.requester_id IS 'Whose case it is: the record of the sender; null: the sender is unresolved.';
COMMENT ON COLUMN crm.case.owner_id IS 'The queue that it came to.';
COMMENT ON COLUMN crm.case.email_id IS 'The email that opened it.';
COMMENT ON COLUMN crm.case.follows_id IS 'The closed case that the email answered, which was closed too long to be reopened.';

CREATE FUNCTION crm.date_case() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status = 'closed' THEN
        NEW.closed_at := coalesce(NEW.closed_at, now());
    ELSE
        IF TG_OP = 'UPDATE' AND OLD.status = 'closed' THEN
            NEW.reopened_at := now();
        END IF;
        NEW.closed_at := NULL;
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION crm.date_case IS 'Notes when a case was closed or reopened.';
CREATE TRIGGER date_case BEFORE INSERT OR UPDATE OF status, closed_at ON crm.case FOR EACH ROW EXECUTE FUNCTION crm.date_case();

CREATE TABLE crm.queue_item (
    email_id uuid NOT NULL REFERENCES crm.email ON DELETE CASCADE,
    owner_id uuid NOT NULL,
    record_id uuid,
    added_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (email_id, owner_id)
);
CREATE INDEX queue_item_owner ON crm.queue_item (owner_id, added_at);
CREATE INDEX queue_item_record ON crm.queue_item (record_id) WHERE record_id IS NOT NULL;
COMMENT ON TABLE crm.queue_item IS 'Email in a queue to work through: one item for each queue that received it and makes cases. Delete what is done.';
COMMENT ON COLUMN crm.queue_item.email_id IS 'Of which email.';
COMMENT ON COLUMN crm.queue_item.owner_id IS 'In which queue.';
COMMENT ON COLUMN crm.queue_item.added_at IS 'When it was put there.';
COMMENT ON COLUMN crm.queue_item.record_id IS 'The case that the email is on.';

-- --- When the sender is resolved ------------------------------------------------------------------------------------

CREATE FUNCTION router.tell_resolved() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    -- Whoever carries it out at this moment may not see that the sender is resolved: it is then looked at again.
    IF NEW.record_id IS NOT NULL THEN
        UPDATE router.creation AS c SET state = 'wanted', due_at = now()
        WHERE c.email_id = NEW.email_id AND c.state IN ('wanted', 'waiting') AND c.unknown_sender = 'wait';
    END IF;
    UPDATE crm.case AS k SET requester_id = NEW.record_id
    WHERE k.email_id = NEW.email_id AND k.requester_id IS NOT DISTINCT FROM OLD.record_id;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION router.tell_resolved IS
    'Opens the cases that wait for their sender to be resolved, and gives cases their requester; the undoing takes it away again.';
CREATE TRIGGER tell_resolved AFTER UPDATE OF record_id ON crm.party FOR EACH ROW
    WHEN (NEW.role = 'from' AND NEW.position = 0 AND NEW.record_id IS DISTINCT FROM OLD.record_id)
    EXECUTE FUNCTION router.tell_resolved();

-- --- What is made ---------------------------------------------------------------------------------------------------

CREATE FUNCTION router.end_creation(creation_id bigint, made uuid, how text, says boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    c router.creation;
BEGIN
    SELECT * INTO c FROM router.creation AS w WHERE w.id = creation_id FOR UPDATE;
    IF c.makes = 'case' THEN
        UPDATE crm.email AS e SET regarding_id = made
        WHERE e.id = c.email_id AND e.regarding_id IS DISTINCT FROM made
            AND (says OR e.regarding_id IS NULL OR EXISTS (SELECT FROM crm.case AS k WHERE k.record_id = e.regarding_id));
        INSERT INTO crm.queue_item (email_id, owner_id, record_id) VALUES (c.email_id, c.owner_id, made) ON CONFLICT DO NOTHING;
    ELSIF how = 'made' THEN
        PERFORM router.rule_made(c.sender, made, c.rule);
    END IF;
    -- What was to be filled in stands in the record now, and nowhere else.
    UPDATE router.creation AS w
    SET state = 'done', outcome = how, record_id = made, done_at = now(), fault = NULL, sender_name = '', fields = '{}'
    WHERE w.id = creation_id;
END
$$;
COMMENT ON FUNCTION router.end_creation IS
    'Does what follows from a record: the email is about it and in its queue, or its sender''s mail is resolved. says: also where the email is '
    'about something else.';

CREATE FUNCTION router.rule_made(address text, made uuid, name_of_rule text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- What a person ruled on the address stays.
    IF NOT EXISTS (
        SELECT FROM router.ruling AS r WHERE r.subject = address AND r.undone_at IS NULL AND r.replaced_by IS NULL
    ) THEN
        PERFORM router.rule('resolve', address, made, 'rule ' || name_of_rule, NULL);
    END IF;
END
$$;
COMMENT ON FUNCTION router.rule_made IS 'Resolves the mail of an address that waits to the record that was made of one of them, as a ruling does.';

CREATE FUNCTION crm.record_made(creation_id bigint, record_id uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    c router.creation;
BEGIN
    SELECT * INTO c FROM router.creation AS w WHERE w.id = creation_id FOR UPDATE;
    IF c.id IS NULL THEN
        PERFORM crm.refuse(format('nothing is wanted by the number %s', creation_id), 'The event record_wanted tells the creation_id.');
    ELSIF c.state = 'done' AND c.record_id = record_made.record_id THEN
        RETURN;
    ELSIF c.state <> 'asked' THEN
        PERFORM crm.refuse(
            format('creation %s is %s%s', c.id, c.state, coalesce(': record ' || c.record_id, '')), 'Look at it: SELECT * FROM crm.creation');
    ELSIF NOT EXISTS (SELECT FROM crm.record AS r WHERE r.id = record_made.record_id) THEN
        PERFORM crm.refuse(format('there is no record %s', record_made.record_id), 'Let crm.record show it first.');
    END IF;
    PERFORM router.end_creation(c.id, record_made.record_id, 'made', true);
END
$$;
COMMENT ON FUNCTION crm.record_made IS
    'Answers the event record_wanted: this is the record. The email is about it, or its sender is that record, from now on. Again: nothing.';

CREATE FUNCTION crm.make_again(creation_id bigint) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    UPDATE router.creation AS w SET state = 'wanted', attempts = 0, due_at = now() WHERE w.id = creation_id AND w.state = 'failed';
    IF NOT FOUND THEN
        PERFORM crm.refuse(format('creation %s has not failed', creation_id), 'Look at it: SELECT * FROM crm.creation');
    END IF;
END
$$;
COMMENT ON FUNCTION crm.make_again IS 'Tries again to make a record that could not be made.';

REVOKE EXECUTE ON FUNCTION crm.record_made, crm.make_again FROM PUBLIC;
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'email_router_crm') THEN
        GRANT SELECT ON crm.creation TO email_router_crm;
        GRANT SELECT, INSERT, UPDATE, DELETE ON crm.case, crm.queue_item TO email_router_crm;
        GRANT EXECUTE ON FUNCTION crm.record_made, crm.make_again TO email_router_crm;
    END IF;
END
$$;

-- Never validated: of what was told before, nothing changes.
ALTER TABLE crm.event DROP CONSTRAINT event_kind, ADD CONSTRAINT event_kind CHECK (kind IN (
    'promoted', 'received', 'correlated', 'split', 'draft', 'pending_send', 'sent', 'failed', 'unknown', 'canceled',
    'refused', 'given_up', 'delayed', 'accepted', 'complaint', 'acknowledged', 'not_acknowledged', 'bounced',
    'ruled', 'ruling_undone', 'resolved', 'unresolved', 'taken_back', 'restored', 'erased',
    'record_made', 'case_opened', 'case_reopened', 'record_wanted', 'record_not_made')) NOT VALID;
COMMENT ON COLUMN crm.event.kind IS
    'promoted, received (another owner''s copy), correlated (with an email that came later, or again), split (off its thread), '
    'taken_back (by an owner to whom it came), restored (that was undone), erased (with all or a part of what it said, for a '
    'person''s sake), acknowledged (the router wrote an answer), not_acknowledged (it gave that up); of an outgoing email its '
    'new status: draft, pending_send, sent, failed, unknown, canceled; bounced (all recipients of a sent one); of one recipient: '
    'refused, given_up, delayed, accepted (by a report), complaint; '
    'ruled, ruling_undone (who a sender is, without email_id); resolved, unresolved (parties of an email, by that); '
    'record_made, case_opened, case_reopened (by a rule), record_wanted (the CRM is to make it), record_not_made (it failed).';
