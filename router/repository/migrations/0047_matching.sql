-- What else an email is found by, beside Message-IDs and its token; and links that a person makes or takes away.

ALTER TABLE crm.email DROP CONSTRAINT email_correlation_method_check, ADD CONSTRAINT email_correlation_method_check CHECK (correlation_method IN (
    'in-reply-to', 'references', 'read-receipt', 'private-header', 'token', 'legacy-token', 'thread-index',
    'smart-matching', 'report', 'manual')) NOT VALID;
COMMENT ON COLUMN crm.email.correlation_method IS
    'How the answered email was found: in-reply-to, references (headers), read-receipt, private-header (ours), token (ours), '
    'legacy-token (of the CRM before), thread-index (of Exchange), smart-matching (subject, people and time), report (a bounce or '
    'the like), or manual: the CRM said so.';

-- --- Tokens of the CRM before ---------------------------------------------------------------------------------------

ALTER TABLE crm.email ADD COLUMN legacy_token text;
COMMENT ON COLUMN crm.email.legacy_token IS
    'The token that the CRM before this one gave to an email that is imported, as it stands in the subject: CRM:0001001. '
    'Several emails may have the same. It counts in the formats that the setting legacy_tokens names.';

-- --- Parts of what is imported --------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION crm.guard_parts() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    email record;
BEGIN
    -- FOR SHARE: whoever adds a recipient while the email is being claimed waits, and is then refused. A part may come
    -- from one email and go to another.
    FOR email IN
        SELECT e.id, e.direction, e.status, e.token FROM crm.email AS e
        WHERE e.id IN (CASE WHEN TG_OP <> 'INSERT' THEN OLD.email_id END, CASE WHEN TG_OP <> 'DELETE' THEN NEW.email_id END)
        ORDER BY e.id FOR SHARE
    LOOP
        -- What is imported as sent gets its parts after it: no relay ever had it from here, and so it has no token.
        IF TG_OP = 'INSERT' AND email.status = 'sent' AND email.token IS NULL
           AND NOT EXISTS (SELECT FROM crm.receipt AS r WHERE r.email_id = email.id) THEN
            CONTINUE;
        END IF;
        IF email.direction = 'out' AND email.status <> 'draft' THEN
            PERFORM crm.refuse(
                format('email %s is %s, so its %s cannot change any more', email.id, email.status, TG_TABLE_NAME),
                crm.hint_for_frozen(email.status));
        END IF;
    END LOOP;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    IF TG_TABLE_NAME = 'party' THEN
        IF length(NEW.address) > 320 THEN
            PERFORM crm.refuse(format('an address of %s characters is none', length(NEW.address)), 'It has at most 320.');
        END IF;
        IF NEW.address <> crm.normalise(NEW.address) THEN
            PERFORM crm.refuse(format('%s is not in the one form of addresses', quote_literal(NEW.address)),
                format('Write crm.normalise(…), which is %s.', quote_literal(crm.normalise(NEW.address))));
        END IF;
    END IF;
    RETURN NEW;
END
$$;

-- --- Links by the CRM -----------------------------------------------------------------------------------------------

CREATE FUNCTION crm.guard_correlation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.legacy_token !~ '^[^[:cntrl:]]{0,70}[0-9]{3,30}$' THEN
        PERFORM crm.refuse(format('%s is no token of another CRM', quote_literal(left(NEW.legacy_token, 50))),
            'It ends with 3 to 30 digits, and has at most 70 characters before them: CRM:0001001.');
    END IF;
    IF NEW.correlated_id = NEW.id THEN
        PERFORM crm.refuse(format('email %s cannot answer itself', NEW.id), 'Name the email that it answers, or none.');
    END IF;
    IF TG_OP = 'INSERT' THEN
        IF NEW.direction = 'in' AND NEW.correlated_id IS NOT NULL THEN
            NEW.correlation_method := coalesce(NEW.correlation_method, 'manual');
        END IF;
    ELSIF NEW.correlated_id IS DISTINCT FROM OLD.correlated_id THEN
        NEW.correlation_method := CASE WHEN NEW.correlated_id IS NOT NULL AND NEW.direction = 'in' THEN 'manual' END;
    ELSIF NEW.correlation_method IS DISTINCT FROM OLD.correlation_method AND NEW.correlation_method IS DISTINCT FROM 'manual' THEN
        PERFORM crm.refuse('how the answered email was found, the router says', 'Set correlated_id: the method is manual then.');
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION crm.guard_correlation IS 'What the CRM may say of the email that an email answers; such a link is manual.';
CREATE TRIGGER guard_correlation BEFORE INSERT OR UPDATE OF correlated_id, correlation_method, legacy_token ON crm.email
    FOR EACH ROW WHEN (NOT has_schema_privilege('router', 'USAGE')) EXECUTE FUNCTION crm.guard_correlation();

-- --- Exchange's index of a conversation -----------------------------------------------------------------------------

CREATE TABLE router.thread_index (
    email_id uuid PRIMARY KEY REFERENCES crm.email ON DELETE CASCADE,
    conversation uuid NOT NULL,
    position text NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX thread_index_conversation ON router.thread_index (conversation, at);
COMMENT ON TABLE router.thread_index IS 'Emails that have Exchange''s Thread-Index: by it an answer without Message-IDs is found.';
COMMENT ON COLUMN router.thread_index.conversation IS 'The GUID in it, which all emails of a conversation share.';
COMMENT ON COLUMN router.thread_index.position IS 'All of it, in hexadecimal: that of an answer begins with that of the email that it answers.';

-- --- Subjects -------------------------------------------------------------------------------------------------------

CREATE FUNCTION crm.subject_key(subject text) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    -- The beginnings are those of router/parse/subject.py. It is indexed, so nothing here depends on a locale.
    SELECT substring(sha256(convert_to(btrim(regexp_replace(
        regexp_replace(
            regexp_replace(
                lower(left(subject, 300) COLLATE "C"),
                '^(\s*(\[[^\]]{0,80}\]|(fwd?|wg|rv|enc|doorst|vb|vl|vid\.?s[äÄ]nt|videresendt|tov[áÁ]bb[íÍ]t[áÁ]s|fwd?\s*\.'
                '|转发|轉寄|転送|i|pd|tr|re|aw|antw|antwort|sv|vs|r|rif|res|ref|odp|ynt|v[áÁ]|回复|答复|回覆|返信|회신)'
                '(\[[0-9]{1,3}\])?\s*[:：]))*',
                ''),
            '(^|\s)crm:[0-9a-z]+', '', 'g'),
        '[\s!-/:-@\[-`{-~]+', ' ', 'g')), 'UTF8')) FROM 1 FOR 8)
$$;
COMMENT ON FUNCTION crm.subject_key IS
    'The same for two subjects that differ only in Re:, Fwd: and the like, [list], our token, case and punctuation.';

-- --- What may be answered -------------------------------------------------------------------------------------------

ALTER TABLE router.decision ADD COLUMN candidates jsonb;
COMMENT ON COLUMN router.decision.candidates IS
    'The emails that the copy may answer: email_id, method, score, and why_not one was not taken. Nothing of what they say.';

-- --- Splitting ------------------------------------------------------------------------------------------------------

CREATE TABLE router.split (
    email_id uuid PRIMARY KEY REFERENCES crm.email ON DELETE CASCADE,
    correlated_id uuid NOT NULL,
    method text,
    split_by text NOT NULL,
    split_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE router.split IS 'Emails that a person split off their threads, and what to undo that takes.';
COMMENT ON COLUMN router.split.correlated_id IS 'The email that it answered.';
COMMENT ON COLUMN router.split.method IS 'How that was found, see crm.email.correlation_method.';

COMMENT ON COLUMN crm.email.flags IS
    'What a person should know: new-on-thread (the sender was not on the thread before), subject-changed (its subject has nothing in '
    'common with that of the email that it answers), automatic (a machine wrote it: it is no answer), '
    'bounce, delay, delivery, complaint (it reports so on the correlated email), list, bulk (it went to many), '
    'dmarc-fail (our mail server says that it is not from the domain in From), '
    'smime-signed, smime-encrypted, pgp-signed, pgp-encrypted (kept as it is, not opened or verified), tnef (has a winmail.dat of Outlook''s), '
    'forwarded-inline (read out of the text of a forward: nobody vouches for its words), '
    'other-copy (a message that says something else came with the same Message-ID and Date: one of the two may be forged).';
ALTER TABLE crm.event DROP CONSTRAINT event_kind, ADD CONSTRAINT event_kind CHECK (kind IN (
    'promoted', 'received', 'correlated', 'split', 'draft', 'pending_send', 'sent', 'failed', 'unknown', 'canceled',
    'refused', 'given_up', 'delayed', 'accepted', 'complaint', 'acknowledged', 'not_acknowledged', 'bounced')) NOT VALID;
COMMENT ON COLUMN crm.event.details IS
    'Who, what and why. promoted: owner_id, rule; received: owner_id; correlated: correlated_id, method, and by where a person did it; '
    'split: correlated_id that it answered, by; acknowledged: owner_id, '
    'template, answer_id; not_acknowledged: owner_id, reason; a status: old, by (router, or the session''s user), reason, send_after; '
    'a recipient: address, code, reason.';
COMMENT ON COLUMN crm.event.kind IS
    'promoted, received (another owner''s copy), correlated (with an email that came later, or again), split (off its thread), '
    'acknowledged (the router wrote an answer), '
    'not_acknowledged (it gave that up); of an outgoing email its new status: draft, pending_send, sent, failed, unknown, canceled; '
    'bounced (all recipients of a sent one); of one recipient: refused, given_up, delayed, accepted (by a report), complaint.';

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'email_router_crm') THEN
        GRANT INSERT (legacy_token), UPDATE (legacy_token, correlation_method) ON crm.email TO email_router_crm;
    END IF;
END
$$;
