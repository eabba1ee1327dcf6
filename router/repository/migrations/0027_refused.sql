-- The schema refuses, in words, what cannot be sent or stored, before it is pending: CRM developers write here.

-- --- What an email to be sent may say of itself ---------------------------------------------------------------------

ALTER TABLE crm.email
    ADD COLUMN IF NOT EXISTS lane text NOT NULL DEFAULT 'normal',
    ADD COLUMN IF NOT EXISTS priority smallint NOT NULL DEFAULT 0,
    ADD COLUMN automatic boolean NOT NULL DEFAULT false,
    ADD COLUMN headers jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN unsubscribe_url text,
    ADD COLUMN batch text;
COMMENT ON COLUMN crm.email.lane IS
    'normal, or bulk for what goes to many: bulk never delays normal. May change until it is being sent.';
COMMENT ON COLUMN crm.email.priority IS
    'Of one owner''s email that is due, what has more goes first: -100 to 100. May change until it is being sent.';
COMMENT ON COLUMN crm.email.automatic IS
    'Nobody wrote it by hand: it leaves with Auto-Submitted: auto-generated (RFC 3834), and no machine answers it.';
COMMENT ON COLUMN crm.email.headers IS
    'Headers of the CRM''s own for an email to be sent: [["X-Case", "4711"], …]. Which there may be, crm.wrong_headers says.';
COMMENT ON COLUMN crm.email.unsubscribe_url IS
    'Where a recipient unsubscribes by one click (RFC 8058): https, and a POST to it has to do. Makes List-Unsubscribe and List-Unsubscribe-Post.';
COMMENT ON COLUMN crm.email.batch IS 'What the CRM calls the emails that belong together, such as one mailing: see crm.batch_progress.';

CREATE FUNCTION crm.refuse(words text, hint text DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF hint IS NULL THEN
        RAISE EXCEPTION '%', words USING ERRCODE = 'check_violation';
    END IF;
    RAISE EXCEPTION '%', words USING ERRCODE = 'check_violation', HINT = hint;
END
$$;
COMMENT ON FUNCTION crm.refuse IS 'Ends a statement that is refused, in words.';

CREATE FUNCTION crm.wrong_headers(headers jsonb) RETURNS text[] LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    allowed CONSTANT text[] := ARRAY[
        'archived-at', 'comments', 'disposition-notification-to', 'expires', 'feedback-id', 'importance', 'keywords',
        'organization', 'priority', 'sensitivity', 'thread-index', 'thread-topic'];
    header jsonb;
    name text;
    value text;
    lower_name text;
    seen text[] := '{}';
BEGIN
    IF headers = '[]' THEN
        RETURN NULL;
    END IF;
    IF jsonb_typeof(headers) <> 'array' THEN
        RETURN ARRAY['headers are no list', 'Write them as [["X-Case", "4711"], …].'];
    END IF;
    IF jsonb_array_length(headers) > 50 THEN
        RETURN ARRAY[format('%s headers are too many', jsonb_array_length(headers)), 'There may be 50.'];
    END IF;
    FOR header IN SELECT * FROM jsonb_array_elements(headers) LOOP
        IF jsonb_typeof(header) <> 'array' THEN
            RETURN ARRAY[format('the header %s is no pair', left(header::text, 100)), 'Write it as ["X-Case", "4711"].'];
        END IF;
        IF jsonb_array_length(header) <> 2 OR jsonb_typeof(header -> 0) <> 'string'
           OR jsonb_typeof(header -> 1) <> 'string' THEN
            RETURN ARRAY[
                format('the header %s is no pair of texts', left(header::text, 100)), 'Write it as ["X-Case", "4711"].'];
        END IF;
        name := header ->> 0;
        value := header ->> 1;
        lower_name := lower(name COLLATE "C");
        IF name !~ '^[!-9;-~]{1,70}$' THEN
            RETURN ARRAY[format('%s is no name of a header', quote_literal(left(name, 100))),
                'A name has 1 to 70 printable ASCII characters, no blank and no colon.'];
        END IF;
        IF lower_name IN ('list-unsubscribe', 'list-unsubscribe-post') THEN
            RETURN ARRAY[format('the header %s is made by the router', name), 'Set unsubscribe_url.'];
        END IF;
        IF lower_name = 'auto-submitted' THEN
            RETURN ARRAY[format('the header %s is made by the router', name), 'Set automatic.'];
        END IF;
        IF starts_with(lower_name, 'x-crm-email-router')
           OR NOT (lower_name = ANY (allowed) OR lower_name ~ '^(x|list)-.') THEN
            RETURN ARRAY[format('the header %s is not the CRM''s to set', name),
                format('It may set X-…, List-…, and %s.', array_to_string(allowed, ', '))];
        END IF;
        IF lower_name = ANY (seen) THEN
            RETURN ARRAY[format('the header %s is there twice', name), 'Each may be there once.'];
        END IF;
        seen := seen || lower_name;
        IF value ~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029]' OR value !~ '^[^[:space:]](.*[^[:space:]])?$' THEN
            RETURN ARRAY[format('the value of the header %s has a line break or another control character, is empty, or '
                'begins or ends with a blank', name), 'Write it in one line; long ones are folded when it is sent.'];
        END IF;
        IF octet_length(value) > 900 THEN
            RETURN ARRAY[format('the value of the header %s has %s bytes', name, octet_length(value)), 'There may be 900.'];
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION crm.wrong_headers IS
    'What is wrong with an email''s headers, and what to do; null: nothing. The CRM may set X-…, List-… and a few others, once each.';

CREATE FUNCTION crm.wrong_email(
    send_after timestamptz, dated_at timestamptz, sent_at timestamptz, received_at timestamptz, token text,
    lane text, priority smallint, headers jsonb, unsubscribe_url text, batch text
) RETURNS text[] LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    earliest CONSTANT timestamptz := '1970-01-01 00:00:00+00';
    latest CONSTANT timestamptz := '2199-12-31 23:59:59.999999+00';
    wrong text;
BEGIN
    IF coalesce(send_after NOT BETWEEN earliest AND latest OR dated_at NOT BETWEEN earliest AND latest
                OR sent_at NOT BETWEEN earliest AND latest OR received_at NOT BETWEEN earliest AND latest, false) THEN
        SELECT format('%s is %s', t.name, t.at) INTO wrong
        FROM (VALUES ('send_after', send_after), ('dated_at', dated_at), ('sent_at', sent_at), ('received_at', received_at))
            AS t (name, at)
        WHERE t.at NOT BETWEEN earliest AND latest LIMIT 1;
        RETURN ARRAY[wrong, 'A time of an email is from 1970 to 2199. To send it as soon as it may be, leave send_after null.'];
    END IF;
    -- As router/model/token.py makes it. It is written into the subject.
    IF token !~ '^[a-km-np-z2-9]{8}$' THEN
        RETURN ARRAY[format('%s is no token', quote_literal(left(token, 50))), 'The router makes it: leave it null.'];
    END IF;
    IF lane NOT IN ('normal', 'bulk') THEN
        RETURN ARRAY[format('there is no lane %s', quote_literal(left(lane, 50))), 'It is normal or bulk.'];
    END IF;
    IF priority NOT BETWEEN -100 AND 100 THEN
        RETURN ARRAY[format('the priority is %s', priority), 'It is from -100 to 100; the highest goes first.'];
    END IF;
    IF unsubscribe_url !~ '^https://[!-;=?-~]+$' OR octet_length(unsubscribe_url) > 900 THEN
        RETURN ARRAY[format('unsubscribe_url is %s', quote_literal(left(unsubscribe_url, 100))),
            'It begins with https:// and has at most 900 characters, printable ASCII without blanks.'];
    END IF;
    IF batch !~ '^[^[:cntrl:]]+$' OR length(batch) > 200 THEN
        RETURN ARRAY['batch is empty, too long, or has control characters', 'It has 1 to 200 characters.'];
    END IF;
    RETURN crm.wrong_headers(headers);
END
$$;
COMMENT ON FUNCTION crm.wrong_email IS 'What an email may not have in these columns, and what to do; null: nothing is wrong.';

CREATE FUNCTION crm.is_sendable(address text) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT
        -- Nothing invisible, and no letter that stands for another, as full-width ones do (UTS 46).
        address !~ '[\u0001-\u001f\u007f-\u00a0\u00ad\u1680\u2000-\u206f\u3000-\u3002\ufeff\uff00-\uffef]'
        AND local_part ~ CASE
            WHEN starts_with(local_part, '"') THEN '^"([^"\\]|\\.)+"$'  -- quoted (RFC 5321 §4.1.2)
            ELSE '^[^ "(),:;<>@\[\]\\]+$'
        END
        AND octet_length(local_part) <= 64 AND length(domain) <= 253
        AND CASE
            WHEN starts_with(domain, '[') THEN domain ~ '^\[([0-9]{1,3}(\.[0-9]{1,3}){3}|ipv6:[0-9a-f:.]+)\]$'
            ELSE domain ~ '^[-.a-z0-9\u00a1-\U0010ffff]+$' AND (
                SELECT bool_and(length(label) BETWEEN 1 AND 63 AND label !~ '^-|-$')
                FROM unnest(string_to_array(domain, '.')) AS l (label))
        END
    FROM (
        SELECT coalesce(substring(address FROM '^(.*)@'), '') AS local_part,
            coalesce(substring(address FROM '@([^@]*)$'), '') AS domain
    ) AS parts
$$;
COMMENT ON FUNCTION crm.is_sendable IS
    'Whether mail can be sent to an address, by its form. What is wrong with it is for whoever wrote it to put right: nothing repairs it.';

-- Held by whoever writes, the router too. What was there before is put right by the next migration.
ALTER TABLE crm.email DROP CONSTRAINT IF EXISTS email_lane_check, DROP CONSTRAINT IF EXISTS email_priority_check;
ALTER TABLE crm.email ADD CONSTRAINT email_fits CHECK (
    crm.wrong_email(send_after, dated_at, sent_at, received_at, token, lane, priority, headers, unsubscribe_url, batch)
    IS NULL) NOT VALID;
ALTER TABLE crm.party ADD CONSTRAINT party_address_length CHECK (length(address) <= 320) NOT VALID;

-- --- Guards ---------------------------------------------------------------------------------------------------------

INSERT INTO crm.email_move (old, new, by_crm) VALUES ('failed', 'draft', true);

CREATE OR REPLACE FUNCTION crm.hint_for_frozen(status text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN EXISTS (SELECT FROM crm.email_move AS m WHERE m.old = status AND m.new = 'draft' AND m.by_crm)
            THEN format('A %s email can be set back to draft.', replace(status, '_send', ''))
        ELSE 'Only a draft can be changed: write another email.'
    END
$$;

CREATE FUNCTION crm.check_ids(email crm.email) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    wrong text;
BEGIN
    SELECT i.id INTO wrong
    FROM unnest(ARRAY[email.message_id, email.in_reply_to] || email.thread_ids) AS i (id)
    WHERE i.id ~ '[<>\u0001-\u001f\u007f-\u009f]' OR octet_length(i.id) NOT BETWEEN 1 AND 900
        OR (email.status = 'draft' AND i.id !~ '^[!-~]+@[!-~]+$') LIMIT 1;
    IF FOUND THEN
        PERFORM crm.refuse(format('%s is no Message-ID', quote_literal(left(wrong, 100))),
            'Write it without angle brackets, as in left@right, at most 900 bytes. Of an email to be sent the router makes it: leave it null.');
    END IF;
END
$$;
COMMENT ON FUNCTION crm.check_ids IS 'Refuses an email whose Message-ID, or that of one it names, cannot be one.';

CREATE FUNCTION crm.check_sendable(email crm.email) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    recipients bigint;
    wrong text;
    files bigint;
    bytes numeric;
BEGIN
    IF email.owner_id IS NULL THEN
        PERFORM crm.refuse(format('email %s has no owner: its from party is no owner''s mailbox', email.id),
            'Insert a crm.party with role ''from'' and the address of crm.owner.mailbox, or set owner_id.');
    END IF;
    IF EXISTS (SELECT FROM crm.party AS p LEFT JOIN crm.owner AS o ON o.record_id = email.owner_id
               WHERE p.email_id = email.id AND p.role = 'from' AND p.address IS DISTINCT FROM o.mailbox) THEN
        PERFORM crm.refuse(format('the from party of email %s is not the mailbox of its owner %s', email.id, email.owner_id),
            'Write crm.owner.mailbox there, or set owner_id to whose mailbox it is.');
    END IF;
    SELECT count(DISTINCT p.address), min(p.address) FILTER (WHERE NOT crm.is_sendable(p.address))
        INTO recipients, wrong
        FROM crm.party AS p WHERE p.email_id = email.id AND p.role IN ('to', 'cc', 'bcc');
    IF recipients = 0 THEN
        PERFORM crm.refuse(format('email %s has no recipients', email.id),
            'Insert crm.party rows with role ''to'', ''cc'' or ''bcc'' first.');
    END IF;
    IF wrong IS NOT NULL THEN
        PERFORM crm.refuse(
            format('a recipient of email %s has no address that mail can be sent to: %s', email.id, quote_literal(wrong)),
            'Set the right address, or delete the party. It is left as it is, since nobody but you knows who is meant.');
    END IF;
    IF recipients > 2000 THEN
        PERFORM crm.refuse(format('email %s has %s recipients', email.id, recipients),
            'There may be 2000: make several emails of it, with one batch.');
    END IF;
    SELECT p.address INTO wrong FROM crm.party AS p
        WHERE p.email_id = email.id AND p.role = 'reply_to' AND NOT crm.is_sendable(p.address) LIMIT 1;
    IF FOUND THEN
        PERFORM crm.refuse(format('answers to email %s cannot be sent to its reply_to: %s', email.id, quote_literal(wrong)),
            'Set the right address, or delete the party.');
    END IF;
    IF length(email.subject) > 10000 THEN
        PERFORM crm.refuse(format('the subject of email %s has %s characters', email.id, length(email.subject)),
            'There may be 10000.');
    END IF;
    IF coalesce(octet_length(email.text_body), 0) + coalesce(octet_length(email.html_body), 0) > 50000000 THEN
        PERFORM crm.refuse(format('the bodies of email %s have %s bytes', email.id,
            coalesce(octet_length(email.text_body), 0) + coalesce(octet_length(email.html_body), 0)),
            'Both together may have 50000000: attach what is large.');
    END IF;
    SELECT count(*), coalesce(sum(a.size), 0) INTO files, bytes FROM crm.attachment AS a WHERE a.email_id = email.id;
    IF files > 1000 OR bytes > 250000000 THEN
        PERFORM crm.refuse(format('email %s has %s attachments with %s bytes', email.id, files, bytes),
            'There may be 1000, with 250000000 bytes together. Relays take far less, as a rule: link what is large.');
    END IF;
END
$$;
COMMENT ON FUNCTION crm.check_sendable IS 'Refuses an email that cannot be sent as it is, before it is pending.';

CREATE OR REPLACE FUNCTION crm.guard_email() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    by_router boolean := has_schema_privilege(current_user, 'router', 'USAGE');
    move crm.email_move;
    wrong text[];
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.status = 'sending' THEN
            PERFORM crm.refuse(format('email %s is being sent and cannot be deleted now', OLD.id),
                'It has another status soon: delete it then.');
        END IF;
        RETURN OLD;
    END IF;
    wrong := crm.wrong_email(NEW.send_after, NEW.dated_at, NEW.sent_at, NEW.received_at, NEW.token, NEW.lane,
        NEW.priority, NEW.headers, NEW.unsubscribe_url, NEW.batch);
    IF wrong IS NOT NULL THEN
        PERFORM crm.refuse(wrong[1], wrong[2]);
    END IF;
    IF TG_OP = 'INSERT' THEN
        IF NEW.direction = 'out' AND NEW.status NOT IN ('draft', 'sent', 'canceled') THEN
            PERFORM crm.refuse(format('an outgoing email cannot begin as %s', NEW.status),
                'Insert it as draft, then its crm.party rows, then set status = ''pending_send''.');
        END IF;
        IF NOT by_router THEN
            PERFORM crm.check_ids(NEW);
        END IF;
        RETURN NEW;
    END IF;
    IF NEW.direction <> OLD.direction OR NEW.id <> OLD.id THEN
        PERFORM crm.refuse(format('id and direction of email %s cannot change', OLD.id), 'Insert another email.');
    END IF;
    IF NEW.status <> OLD.status THEN
        SELECT * INTO move FROM crm.email_move AS m WHERE m.old = OLD.status AND m.new = NEW.status;
        IF NOT FOUND OR NOT (move.by_crm OR by_router) THEN
            PERFORM crm.refuse(format('email %s cannot go from %s to %s', OLD.id, OLD.status, NEW.status),
                (SELECT 'From here it can go to: ' || coalesce(string_agg(m.new, ', ' ORDER BY m.new), 'nowhere')
                 FROM crm.email_move AS m WHERE m.old = OLD.status AND (m.by_crm OR by_router)));
        END IF;
        IF NEW.status_reason IS NOT DISTINCT FROM OLD.status_reason THEN
            NEW.status_reason := NULL;
        END IF;
        IF NEW.status = 'sent' THEN
            NEW.sent_at := coalesce(NEW.sent_at, now());  -- a person may say so of what was unknown
        END IF;
    END IF;
    IF NOT by_router AND OLD.direction = 'out' AND OLD.status <> 'draft'
       AND (NEW.subject, NEW.text_body, NEW.html_body, NEW.owner_id, NEW.message_id, NEW.token, NEW.correlated_id,
            NEW.headers, NEW.automatic, NEW.unsubscribe_url)
           IS DISTINCT FROM
           (OLD.subject, OLD.text_body, OLD.html_body, OLD.owner_id, OLD.message_id, OLD.token, OLD.correlated_id,
            OLD.headers, OLD.automatic, OLD.unsubscribe_url) THEN
        PERFORM crm.refuse(format('email %s is %s, so what is sent cannot change any more', OLD.id, OLD.status),
            crm.hint_for_frozen(OLD.status));
    END IF;
    IF NEW.status = 'pending_send' AND OLD.status NOT IN ('pending_send', 'sending') THEN
        NEW.owner_id := coalesce(NEW.owner_id, (
            SELECT o.record_id FROM crm.party AS p JOIN crm.owner AS o ON o.mailbox = p.address
            WHERE p.email_id = NEW.id AND p.role = 'from' LIMIT 1));
        PERFORM crm.check_sendable(NEW);
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION crm.guard_parts() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    email record;
BEGIN
    -- FOR SHARE: whoever adds a recipient while the email is being claimed waits, and is then refused. A part may come
    -- from one email and go to another.
    FOR email IN
        SELECT e.id, e.direction, e.status FROM crm.email AS e
        WHERE e.id IN (CASE WHEN TG_OP <> 'INSERT' THEN OLD.email_id END, CASE WHEN TG_OP <> 'DELETE' THEN NEW.email_id END)
        ORDER BY e.id FOR SHARE
    LOOP
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
-- Who a party is may always be said: only what is sent may not change.
CREATE OR REPLACE TRIGGER guard_parties BEFORE INSERT OR DELETE ON crm.party FOR EACH ROW
    WHEN (NOT has_schema_privilege('router', 'USAGE')) EXECUTE FUNCTION crm.guard_parts();
CREATE TRIGGER guard_changed_parties BEFORE UPDATE ON crm.party FOR EACH ROW
    WHEN ((NEW.email_id, NEW.role, NEW.position, NEW.address, NEW.name)
            IS DISTINCT FROM (OLD.email_id, OLD.role, OLD.position, OLD.address, OLD.name)
        AND NOT has_schema_privilege('router', 'USAGE'))
    EXECUTE FUNCTION crm.guard_parts();

-- --- Recipients -----------------------------------------------------------------------------------------------------

ALTER TABLE crm.delivery DROP CONSTRAINT delivery_state_check;
ALTER TABLE crm.delivery ADD CONSTRAINT delivery_state_check
    CHECK (state IN ('accepted', 'deferred', 'refused', 'unknown', 'delayed', 'given_up')) NOT VALID;
COMMENT ON COLUMN crm.delivery.state IS
    'accepted: the relay took it. deferred: it is tried again. refused: by the relay, or by a server after it, as a later report tells. '
    'given_up: it was deferred too often or for too long, or a person said of what was unknown that it did not arrive. '
    'delayed: the relay took it, and a report tells that a server after it still tries. unknown: the relay never answered.';

-- --- The CRM's role -------------------------------------------------------------------------------------------------

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'email_router_crm') THEN
        REVOKE INSERT ON crm.email FROM email_router_crm;
        -- What an import of the past needs is among it. The rest is the router's: token, defects, text_marks, raw_headers.
        GRANT INSERT (id, direction, status, status_reason, message_id, in_reply_to, thread_ids, subject, text_body,
            html_body, regarding_id, correlated_id, correlation_method, owner_id, send_after, dated_at, sent_at,
            received_at, created_at, flags, calendar, lane, priority, automatic, headers, unsubscribe_url, batch)
            ON crm.email TO email_router_crm;
        GRANT UPDATE (lane, priority, automatic, headers, unsubscribe_url, batch) ON crm.email TO email_router_crm;
    END IF;
END
$$;
