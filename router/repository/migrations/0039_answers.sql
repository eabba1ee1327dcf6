-- Answers that the router writes by itself: a queue acknowledges what comes to it, by a template of the CRM's.

-- --- What the CRM writes --------------------------------------------------------------------------------------------

CREATE TABLE crm.template (
    name text PRIMARY KEY,
    subject text NOT NULL,
    text_body text,
    html_body text,
    changed_at timestamptz NOT NULL DEFAULT now(),
    fault text,
    failures int NOT NULL DEFAULT 0,
    next_try_at timestamptz,
    CONSTRAINT template_name CHECK (name ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    CONSTRAINT template_subject CHECK (length(subject) BETWEEN 1 AND 1000),
    CONSTRAINT template_has_a_body CHECK (text_body IS NOT NULL OR html_body IS NOT NULL),
    CONSTRAINT template_size CHECK (octet_length(concat(text_body, html_body)) <= 200000)
);
COMMENT ON TABLE crm.template IS
    'Texts of answers that the router writes, in Jinja2; docs/answers.md has examples. Try one: email-router template preview NAME.';
COMMENT ON COLUMN crm.template.name IS 'Lower-case letters, digits, dots, dashes and underscores.';
COMMENT ON COLUMN crm.template.subject IS 'Such as: We have received "{{ email.subject }}".';
COMMENT ON COLUMN crm.template.text_body IS 'The plain text; null: made of the HTML.';
COMMENT ON COLUMN crm.template.html_body IS 'The HTML, in which values are escaped; null: none is sent.';
COMMENT ON COLUMN crm.template.changed_at IS 'When its texts last changed.';
COMMENT ON COLUMN crm.template.fault IS 'Why nothing can be made of it, in words; null: nothing is known to be wrong. Written by the router.';
COMMENT ON COLUMN crm.template.failures IS 'How often in a row nothing could be made of it: the pauses grow with it. Written by the router.';
COMMENT ON COLUMN crm.template.next_try_at IS 'When it is tried again by itself; at once when its texts change. Written by the router.';

ALTER TABLE crm.owner
    ADD COLUMN acknowledgement text REFERENCES crm.template ON UPDATE CASCADE ON DELETE SET NULL,
    ADD COLUMN acknowledges_since timestamptz,
    ADD COLUMN signature_text text,
    ADD COLUMN signature_html text,
    ADD CONSTRAINT owner_signature_size CHECK (octet_length(concat(signature_text, signature_html)) <= 50000);
CREATE INDEX owner_acknowledgement ON crm.owner (acknowledgement) WHERE acknowledgement IS NOT NULL;
COMMENT ON COLUMN crm.owner.acknowledgement IS
    'The crm.template by which mail to this owner, a queue as a rule, is acknowledged: once a thread, and never to machines. Null: it is not.';
COMMENT ON COLUMN crm.owner.acknowledges_since IS 'Mail that came before is not acknowledged: set when acknowledgement is.';
COMMENT ON COLUMN crm.owner.signature_text IS '{{ signature }} in the plain text of templates. The router adds it to nothing by itself.';
COMMENT ON COLUMN crm.owner.signature_html IS '{{ signature }} in the HTML of templates, as it is; null: made of signature_text.';

CREATE FUNCTION crm.begin_to_acknowledge() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' OR OLD.acknowledgement IS NULL OR NEW.acknowledgement IS NULL THEN
        NEW.acknowledges_since := CASE WHEN NEW.acknowledgement IS NOT NULL THEN now() END;
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION crm.begin_to_acknowledge IS 'Notes since when an owner acknowledges: what lay there before is not answered.';
CREATE TRIGGER begin_to_acknowledge BEFORE INSERT OR UPDATE OF acknowledgement ON crm.owner
    FOR EACH ROW EXECUTE FUNCTION crm.begin_to_acknowledge();

ALTER TABLE crm.email ADD COLUMN template text;
COMMENT ON COLUMN crm.email.template IS 'The crm.template of which the router wrote this email; null: it did not write it.';

-- --- What is to be acknowledged -------------------------------------------------------------------------------------

-- A mailbox whose past is read is not answered: so it is known since when a source is read.
ALTER TABLE router.source ADD COLUMN created_at timestamptz NOT NULL DEFAULT now();
COMMENT ON COLUMN router.source.created_at IS 'When a router was first to read it. Mail that came before is not acknowledged.';

CREATE TABLE router.acknowledgement (
    email_id uuid PRIMARY KEY REFERENCES crm.email ON DELETE CASCADE,
    owner_id uuid NOT NULL,
    since timestamptz NOT NULL DEFAULT now(),
    due_at timestamptz NOT NULL DEFAULT now(),
    attempts int NOT NULL DEFAULT 0,
    fault text,
    for_template boolean NOT NULL DEFAULT false
) WITH (fillfactor = 70);
CREATE INDEX acknowledgement_due ON router.acknowledgement (due_at);
COMMENT ON TABLE router.acknowledgement IS
    'Incoming emails that are to be acknowledged: written with them, and deleted in the transaction that writes the answer.';
COMMENT ON COLUMN router.acknowledgement.owner_id IS 'In whose name.';
COMMENT ON COLUMN router.acknowledgement.due_at IS 'When it is tried next; while it is being tried, when another process may.';
COMMENT ON COLUMN router.acknowledgement.attempts IS 'How often it was begun; who began it before knows by this that it is another''s now.';
COMMENT ON COLUMN router.acknowledgement.fault IS 'Why it is not written yet, in words for an admin.';
COMMENT ON COLUMN router.acknowledgement.for_template IS 'Whether it only waits until its template, which failed for another, is tried again.';

CREATE TABLE router.acknowledged (
    thread_id uuid PRIMARY KEY,
    sender bytea NOT NULL,
    domain bytea NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX acknowledged_sender ON router.acknowledged (sender, at);
CREATE INDEX acknowledged_domain ON router.acknowledged (domain, at);
CREATE INDEX acknowledged_at ON router.acknowledged (at);
COMMENT ON TABLE router.acknowledged IS 'Threads that were acknowledged: once each, and to one sender and one domain only so often a day.';
COMMENT ON COLUMN router.acknowledged.thread_id IS 'As crm.thread_id has it.';
COMMENT ON COLUMN router.acknowledged.sender IS 'router.message_id_hash of the address that was answered.';
COMMENT ON COLUMN router.acknowledged.domain IS 'router.message_id_hash of its domain.';

CREATE FUNCTION crm.change_template() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    IF (NEW.subject, NEW.text_body, NEW.html_body) IS DISTINCT FROM (OLD.subject, OLD.text_body, OLD.html_body) THEN
        NEW.changed_at := now();
        NEW.fault := NULL;
        NEW.failures := 0;
        NEW.next_try_at := NULL;
        UPDATE router.acknowledgement AS a SET due_at = now() FROM crm.owner AS o
        WHERE o.acknowledgement = OLD.name AND a.owner_id = o.record_id AND a.fault IS NOT NULL;
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION crm.change_template IS 'Tries a template at once that was put right.';
CREATE TRIGGER change_template BEFORE UPDATE OF subject, text_body, html_body ON crm.template
    FOR EACH ROW EXECUTE FUNCTION crm.change_template();

-- --- Events ---------------------------------------------------------------------------------------------------------

ALTER TABLE crm.event DROP CONSTRAINT event_kind;
ALTER TABLE crm.event ADD CONSTRAINT event_kind CHECK (kind IN (
    'promoted', 'received', 'correlated', 'draft', 'pending_send', 'sent', 'failed', 'unknown', 'canceled',
    'refused', 'given_up', 'delayed', 'accepted', 'complaint', 'acknowledged', 'not_acknowledged')) NOT VALID;
COMMENT ON COLUMN crm.event.kind IS
    'promoted, received (another owner''s copy), correlated (with an email that came later), acknowledged (the router wrote an answer), '
    'not_acknowledged (it gave that up); of an outgoing email its new status: draft, pending_send, sent, failed, unknown, canceled; '
    'of one recipient: refused, given_up, delayed, accepted (by a report), complaint.';
COMMENT ON COLUMN crm.event.details IS
    'Who, what and why. promoted: owner_id, rule; received: owner_id; correlated: correlated_id, method; acknowledged: owner_id, '
    'template, answer_id; not_acknowledged: owner_id, reason; a status: old, by (router, or the session''s user), reason, send_after; '
    'a recipient: address, code, reason.';

-- --- The CRM's role -------------------------------------------------------------------------------------------------

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'email_router_crm') THEN
        GRANT SELECT, DELETE ON crm.template TO email_router_crm;
        GRANT INSERT (name, subject, text_body, html_body), UPDATE (name, subject, text_body, html_body)
            ON crm.template TO email_router_crm;
        GRANT INSERT (acknowledgement, signature_text, signature_html), UPDATE (acknowledgement, signature_text, signature_html)
            ON crm.owner TO email_router_crm;
    END IF;
END
$$;
