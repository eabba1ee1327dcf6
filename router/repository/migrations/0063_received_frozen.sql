-- What was received stays as it came: the CRM's role cannot rewrite it. And an address is one, however it is written:
-- quoted without need, or with letters and dots of full width.

-- --- The one form of addresses --------------------------------------------------------------------------------------

CREATE FUNCTION crm.plain_width(value text, of_domain boolean) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT translate(value,
        '０１２３４５６７８９ＡＢＣＤＥＦＧＨＩＪＫＬＭＮＯＰＱＲＳＴＵＶＷＸＹＺａｂｃｄｅｆｇｈｉｊｋｌｍｎｏｐｑｒｓｔｕｖｗｘｙｚ＋－．＿'
        || CASE WHEN of_domain THEN U&'\3002\FF61' ELSE '' END,
        '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+-._'
        || CASE WHEN of_domain THEN '..' ELSE '' END)
$$;
COMMENT ON FUNCTION crm.plain_width IS
    'Letters, digits, + - _ and dots of full width as plain ones; in a domain also the other dots of UTS 46. No address differs by them.';

CREATE FUNCTION crm.plain_local_part(local_part text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE
        WHEN local_part ~ '^("([^"\\]|\\.)*"|[^".\\]*)(\.("([^"\\]|\\.)*"|[^".\\]*))*$'
            AND bare ~ '^[-!#$%&''*+/0-9=?a-z^_`{|}~.\u00a1-\U0010ffff]+$'
        THEN bare
        ELSE local_part
    END
    FROM (SELECT regexp_replace(local_part, '\\(.)|"', '\1', 'g') AS bare) AS b
$$;
COMMENT ON FUNCTION crm.plain_local_part IS
    'What stands before the @, in lower case, without quotation marks that it does not need (RFC 5322 §3.2.4): "ann"@x.example is ann@x.example.';

CREATE OR REPLACE FUNCTION crm.unicode_label(label text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    decoded text;
BEGIN
    IF label !~* '^xn--' OR label !~ '^[ -~]*$' THEN
        RETURN label;
    END IF;
    decoded := crm.punycode_decode(lower(substr(label, 5) COLLATE "C"));
    RETURN CASE
        WHEN decoded IS NULL OR decoded ~ '^[\x01-\x7f]*$'
            OR decoded COLLATE "C" <> normalize(crm.lower_case(crm.plain_width(decoded, true)), NFC) COLLATE "C"
            OR decoded ~ concat(
                '[\u0001-\u0020\u007f-\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200b\u200e\u200f',
                '\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb',
                '\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]',
                '|(?<![\u0600-\u1cff])[\u200c\u200d]'
            )
        THEN label
        ELSE decoded
    END;
END
$$;

CREATE OR REPLACE FUNCTION crm.normalise(address text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE
        WHEN trimmed ~ '^[ !#-~]*$' AND trimmed !~* '@.*xn--' THEN lower(trimmed COLLATE "C")
        WHEN strpos(trimmed, '@') = 0 THEN normalize(crm.lower_case(trimmed), NFC)
        ELSE (
            SELECT normalize(
                crm.plain_local_part(normalize(crm.lower_case(crm.plain_width(local_part, false)), NFC))
                || '@' || crm.lower_case(string_agg(crm.unicode_label(label), '.' ORDER BY position)), NFC)
            FROM (SELECT regexp_replace(trimmed, '@[^@]*$', '') AS local_part) AS l
            CROSS JOIN LATERAL regexp_split_to_table(crm.plain_width(substring(trimmed FROM '@([^@]*)$'), true), '\.')
                WITH ORDINALITY AS d (label, position)
            GROUP BY local_part
        )
    END
    FROM (SELECT btrim(address, E' \t\r\n') AS trimmed) AS t
$$;
COMMENT ON FUNCTION crm.normalise IS
    'The one form in which addresses are stored and compared: trimmed, lower case, NFC, without quotation marks that it does not need, in '
    'letters of plain width, the domain in Unicode and not in punycode.';

-- What was stored otherwise is put right. Few addresses are written so, and what reads them locks nothing else.
DO $$
DECLARE
    other CONSTANT text := '["\uff01-\uff5e\u3002\uff61]';
BEGIN
    UPDATE crm.party AS p SET address = crm.normalise(p.address)
    WHERE p.address ~ other AND p.address <> crm.normalise(p.address);
    UPDATE crm.delivery AS d SET address = crm.normalise(d.address)
    WHERE d.address ~ other AND d.address <> crm.normalise(d.address)
        AND NOT EXISTS (
            SELECT FROM crm.delivery AS e WHERE (e.email_id, e.address) = (d.email_id, crm.normalise(d.address)));
    UPDATE crm.address_state AS s SET address = crm.normalise(s.address)
    WHERE s.address ~ other AND s.address <> crm.normalise(s.address)
        AND NOT EXISTS (SELECT FROM crm.address_state AS t WHERE t.address = crm.normalise(s.address));
    UPDATE crm.owner AS o SET mailbox = crm.normalise(o.mailbox)
    WHERE o.mailbox ~ other AND o.mailbox <> crm.normalise(o.mailbox)
        AND NOT EXISTS (SELECT FROM crm.owner AS p WHERE p.mailbox = crm.normalise(o.mailbox));
    IF router.is_table('crm.address') THEN
        INSERT INTO crm.address (address, record_id)
        SELECT crm.normalise(a.address), a.record_id FROM crm.address AS a
        WHERE a.address ~ other AND a.address <> crm.normalise(a.address) ON CONFLICT DO NOTHING;
        DELETE FROM crm.address AS a WHERE a.address ~ other AND a.address <> crm.normalise(a.address);
    END IF;
    INSERT INTO router.never_track (pattern, owner_id, by, at)
    SELECT crm.normalise(n.pattern), n.owner_id, n.by, n.at FROM router.never_track AS n
    WHERE n.pattern ~ other AND n.pattern LIKE '%@%' AND n.pattern <> crm.normalise(n.pattern) ON CONFLICT DO NOTHING;
    DELETE FROM router.never_track AS n
    WHERE n.pattern ~ other AND n.pattern LIKE '%@%' AND n.pattern <> crm.normalise(n.pattern);
    UPDATE router.ruling AS r SET subject = router.subject_of(r.subject)
    WHERE r.subject ~ other AND router.subject_of(r.subject) NOT IN ('', r.subject)
        AND NOT EXISTS (SELECT FROM router.ruling AS o WHERE o.subject = router.subject_of(r.subject));
END
$$;

-- --- Whom a ruling is on --------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION router.subject_of(written text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN subject ~ '^@([^@.\s<>(),;"*]+\.)+[^@.\s<>(),;"*]+\.?$' THEN rtrim(subject, '.')
        WHEN subject ~ '[^@*].*@([^@.\s<>(),;"*]+\.)*[^@.\s<>(),;"*]+\.?$' AND subject NOT LIKE '@%' THEN subject
        ELSE ''
    END
    FROM (
        SELECT CASE WHEN w LIKE '@%' THEN substr(crm.normalise('x' || w), 2) ELSE crm.normalise(w) END AS subject
        FROM (SELECT btrim(written, E' \t\r\n') AS w) AS t
    ) AS s
$$;
COMMENT ON FUNCTION router.subject_of IS
    'An address, or @ and a domain, in the form in which rulings name it; empty where it is none, or a domain without a dot: @com is nobody''s.';

CREATE FUNCTION router.is_matter(kind text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT kind IN ('case', 'opportunity')
$$;
COMMENT ON FUNCTION router.is_matter IS 'Whether mail can be about a record of this kind, and nobody is one.';

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
    IF of_kind = 'resolve' THEN
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

CREATE OR REPLACE FUNCTION router.undo_ruling(to_undo bigint, by_whom text, OUT undone boolean, OUT refused text) LANGUAGE plpgsql AS $$
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
    UPDATE router.ruling AS r SET undone_by = by_whom, undone_at = now() WHERE r.id = to_undo;
    UPDATE router.ruling AS r SET replaced_by = ruling.replaced_by WHERE r.replaced_by = to_undo AND r.undone_at IS NULL;
    PERFORM router.begin_ruling_work(ruling.subject);
    INSERT INTO crm.event (kind, details) VALUES ('ruling_undone', jsonb_strip_nulls(jsonb_build_object(
        'ruling_id', to_undo, 'ruling', ruling.kind, 'subject', ruling.subject, 'record_id', ruling.record_id, 'by', by_whom)));
    undone := true;
END
$$;

-- --- What was received ----------------------------------------------------------------------------------------------

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
    IF NOT by_router AND OLD.direction = 'in'
       AND (NEW.subject, NEW.text_body, NEW.html_body) IS DISTINCT FROM (OLD.subject, OLD.text_body, OLD.html_body)
       AND EXISTS (SELECT FROM crm.receipt AS r WHERE r.email_id = OLD.id) THEN
        PERFORM crm.refuse(format('email %s was received, so what it says cannot change', OLD.id),
            'What the CRM says of it can: regarding_id, correlated_id, owner_id, flags, private. Other words belong into columns '
            'or tables of your own.');
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
    says_who boolean := false;
BEGIN
    -- A party has a row for each record that it is: one of several is who it is, and not that it took part.
    IF TG_TABLE_NAME = 'party' AND TG_OP <> 'UPDATE' THEN
        IF TG_OP = 'INSERT' THEN
            says_who := EXISTS (
                SELECT FROM crm.party AS p
                WHERE (p.email_id, p.role, p.position, p.address, p.name)
                    = (NEW.email_id, NEW.role, NEW.position, NEW.address, NEW.name));
        ELSE
            says_who := EXISTS (
                SELECT FROM crm.party AS p
                WHERE (p.email_id, p.role, p.position, p.address) = (OLD.email_id, OLD.role, OLD.position, OLD.address)
                    AND p.record_id IS DISTINCT FROM OLD.record_id);
        END IF;
    END IF;
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
        IF email.direction = 'in' AND NOT says_who
           AND EXISTS (SELECT FROM crm.receipt AS r WHERE r.email_id = email.id) THEN
            PERFORM crm.refuse(format('email %s was received, so its %s cannot change', email.id, TG_TABLE_NAME),
                CASE TG_TABLE_NAME
                    WHEN 'party' THEN 'Who a party is can be said: set its record_id, or crm.resolve(address, record_id) for all mail of it.'
                    ELSE 'Keep files of your own elsewhere, or delete the email as a whole.'
                END);
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
COMMENT ON FUNCTION crm.guard_parts IS
    'Refuses to change the parties and attachments of an email that is no draft any more, or was received. Who a party is may be said.';
