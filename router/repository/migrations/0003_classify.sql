-- What mail systems report on email that was sent, and what kind of message an email is.

ALTER TABLE crm.email ADD COLUMN calendar jsonb;
COMMENT ON COLUMN crm.email.calendar IS
    'The invitation or other calendar message that it holds (RFC 5545, 5546): method (request, cancel, reply, …), uid, '
    'start, end (ISO 8601: a date for whole days; without an offset where no time zone was told), organiser (an address).';

ALTER TABLE crm.email DROP CONSTRAINT email_correlation_method_check;
ALTER TABLE crm.email ADD CONSTRAINT email_correlation_method_check
    CHECK (correlation_method IN ('in-reply-to', 'references', 'token', 'report'));
COMMENT ON COLUMN crm.email.correlation_method IS
    'How the answered email was found. report: it answers nothing, a mail system reports on that email.';
COMMENT ON COLUMN crm.email.correlated_id IS
    'The email it answers or, being automatic, belongs to. Set it on a draft to answer that email: the thread''s headers follow from it.';
COMMENT ON COLUMN crm.email.flags IS
    'What a person should know: new-on-thread (the sender was not on the thread before), automatic (a machine wrote it: it is no answer), '
    'bounce, delay, delivery, complaint (it reports so on the correlated email), list, bulk (it went to many).';

ALTER TABLE crm.delivery DROP CONSTRAINT delivery_state_check;
ALTER TABLE crm.delivery ADD CONSTRAINT delivery_state_check
    CHECK (state IN ('accepted', 'deferred', 'refused', 'unknown', 'delayed'));
COMMENT ON COLUMN crm.delivery.state IS
    'accepted: the relay took it. deferred: it is tried again. refused: by the relay, or by a server after it, as a later report tells. '
    'delayed: the relay took it, and a report tells that a server after it still tries. unknown: the relay never answered.';
COMMENT ON COLUMN crm.event.kind IS
    'promoted, received (another owner''s copy), sent, failed, unknown; refused, delayed, accepted (reported of one recipient), complaint.';

CREATE TABLE crm.complaint (
    email_id uuid NOT NULL REFERENCES crm.email ON DELETE CASCADE,
    address text NOT NULL,
    kind text NOT NULL DEFAULT 'abuse',
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (email_id, address)
);
CREATE INDEX complaint_address ON crm.complaint (address);
COMMENT ON TABLE crm.complaint IS 'Recipients whose mail provider complained of an outgoing email (RFC 5965): think before you write to them again.';
COMMENT ON COLUMN crm.complaint.address IS 'Normalised, one of the email''s recipients.';
COMMENT ON COLUMN crm.complaint.kind IS 'As the report names it: abuse, fraud, opt-out, …';

CREATE OR REPLACE FUNCTION crm.queue_email() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    IF NEW.status = 'pending_send' AND OLD.status <> 'sending' THEN
        -- Whoever sends again means all recipients that did not take it yet.
        DELETE FROM crm.delivery WHERE email_id = NEW.id AND state NOT IN ('accepted', 'delayed');
        INSERT INTO router.outbox (email_id, owner_id, next_at)
            VALUES (NEW.id, NEW.owner_id, coalesce(NEW.send_after, now()));
        PERFORM pg_notify('router_outbox', '');
    ELSIF OLD.status = 'pending_send' AND NEW.status IN ('draft', 'canceled') THEN
        DELETE FROM router.outbox WHERE email_id = NEW.id;
    END IF;
    RETURN NULL;
END
$$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'email_router_crm') THEN
        GRANT SELECT ON crm.complaint TO email_router_crm;
    END IF;
END
$$;
