-- The public schema: what the CRM reads and writes. Every table and column is documented in place (COMMENT ON), states
-- and their moves are guarded here, since CRM developers write with their own SQL.

CREATE SCHEMA crm;
COMMENT ON SCHEMA crm IS 'What the CRM reads and writes: a public contract of the email router.';

-- --- Addresses ------------------------------------------------------------------------------------------------------

CREATE FUNCTION crm.punycode_decode(label text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
-- RFC 3492 §6.2, for one label without its "xn--". Returns NULL for what is no punycode.
DECLARE
    delimiter int := length(label) - strpos(reverse(label), '-') + 1;
    points int[] := '{}';
    rest text := label;
    n int := 128;
    i int := 0;
    bias int := 72;
    old_i int;
    weight int;
    k int;
    digit int;
    threshold int;
    delta int;
BEGIN
    IF strpos(label, '-') > 0 THEN
        points := ARRAY(SELECT ascii(c) FROM regexp_split_to_table(left(label, delimiter - 1), '') AS c WHERE c <> '');
        rest := substr(label, delimiter + 1);
    END IF;
    WHILE rest <> '' LOOP
        old_i := i;
        weight := 1;
        k := 36;
        LOOP
            digit := strpos('abcdefghijklmnopqrstuvwxyz0123456789', left(rest, 1)) - 1;
            IF rest = '' OR digit < 0 THEN
                RETURN NULL;
            END IF;
            rest := substr(rest, 2);
            i := i + digit * weight;
            threshold := least(greatest(k - bias, 1), 26);
            EXIT WHEN digit < threshold;
            weight := weight * (36 - threshold);
            k := k + 36;
        END LOOP;
        delta := CASE WHEN old_i = 0 THEN (i - old_i) / 700 ELSE (i - old_i) / 2 END;
        delta := delta + delta / (cardinality(points) + 1);
        k := 0;
        WHILE delta > 455 LOOP
            delta := delta / 35;
            k := k + 36;
        END LOOP;
        bias := k + 36 * delta / (delta + 38);
        n := n + i / (cardinality(points) + 1);
        i := i % (cardinality(points) + 1);
        points := points[:i] || n || points[i + 1:];
        i := i + 1;
    END LOOP;
    RETURN (SELECT string_agg(chr(point), '' ORDER BY position) FROM unnest(points) WITH ORDINALITY AS p (point, position));
EXCEPTION WHEN OTHERS THEN  -- overflow, or a code point that does not exist
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION crm.punycode_decode IS 'Decodes one label of an internationalised domain name, without its xn-- (RFC 3492).';

CREATE FUNCTION crm.unicode_label(label text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    decoded text;
BEGIN
    WHILE label ~* '^xn--' LOOP  -- a hostile label can hold another
        EXIT WHEN label !~ '^[ -~]*$';
        decoded := crm.punycode_decode(lower(substr(label, 5) COLLATE "C"));
        EXIT WHEN coalesce(decoded, '') = '';
        label := decoded;
    END LOOP;
    RETURN label;
END
$$;
COMMENT ON FUNCTION crm.unicode_label IS 'A label of a domain name in Unicode; as it is where it is no valid punycode.';

CREATE FUNCTION crm.normalise(address text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE
        WHEN trimmed ~ '^[ -~]*$' AND trimmed !~* '@.*xn--' THEN lower(trimmed COLLATE "C")
        ELSE (
            SELECT normalize(
                lower(local_part || coalesce('@' || string_agg(crm.unicode_label(label), '.' ORDER BY position), '')), NFC)
            FROM (SELECT regexp_replace(trimmed, '@[^@]*$', '') AS local_part) AS l
            LEFT JOIN LATERAL regexp_split_to_table(substring(trimmed FROM '@([^@]*)$'), '\.')
                WITH ORDINALITY AS d (label, position) ON true
            GROUP BY local_part
        )
    END
    FROM (SELECT btrim(address, E' \t\r\n') AS trimmed) AS t
$$;
COMMENT ON FUNCTION crm.normalise IS
    'The one form in which addresses are stored and compared: trimmed, lower case, NFC, the domain in Unicode and not in punycode.';

-- --- Records --------------------------------------------------------------------------------------------------------

CREATE TABLE crm.record (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    kind text NOT NULL CHECK (kind <> ''),
    name text NOT NULL DEFAULT '',
    owner_id uuid,
    active boolean NOT NULL DEFAULT true,
    attributes jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE crm.record IS 'Anything in the CRM that can be named or written to. May be replaced by a view over an existing CRM.';
COMMENT ON COLUMN crm.record.kind IS 'account, contact, lead, user, queue, case, opportunity, or a kind of the CRM''s own.';
COMMENT ON COLUMN crm.record.owner_id IS 'The user or queue that the record belongs to.';
COMMENT ON COLUMN crm.record.active IS 'Mail is never linked to an inactive record where an active one has the same address.';
COMMENT ON COLUMN crm.record.attributes IS 'Whatever else the CRM keeps of it.';

CREATE TABLE crm.address (
    address text NOT NULL CHECK (address = crm.normalise(address)),
    record_id uuid NOT NULL,
    PRIMARY KEY (address, record_id)
);
CREATE INDEX address_record ON crm.address (record_id);
COMMENT ON TABLE crm.address IS
    'Email addresses of records: a record can have many, and one address can belong to many records. May be replaced by a view.';
COMMENT ON COLUMN crm.address.address IS 'Normalised: insert crm.normalise(''John@Example.COM'').';

CREATE TABLE crm.owner (
    record_id uuid PRIMARY KEY,
    mailbox text UNIQUE CHECK (mailbox = crm.normalise(mailbox)),
    tracking_rule text CHECK (tracking_rule IN ('all', 'replies', 'known', 'email-enabled', 'none')),
    approved boolean NOT NULL DEFAULT false,
    settings jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE crm.owner IS 'The users and queues whose mail the router tracks, and in whose name it sends.';
COMMENT ON COLUMN crm.owner.record_id IS 'A record of kind user or queue.';
COMMENT ON COLUMN crm.owner.mailbox IS
    'The one address whose mailbox is read and in whose name is sent. Null: taken on approval from the record''s only address.';
COMMENT ON COLUMN crm.owner.tracking_rule IS 'Which of the owner''s mail is promoted. Null: the default of the profile that serves the mailbox.';
COMMENT ON COLUMN crm.owner.approved IS 'Nothing is fetched or sent before an admin approves the mailbox; cleared when the mailbox changes.';
COMMENT ON COLUMN crm.owner.settings IS 'Settings of this owner.';

CREATE FUNCTION crm.guard_owner() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    addresses text[];
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.mailbox IS DISTINCT FROM OLD.mailbox AND OLD.mailbox IS NOT NULL THEN
        NEW.approved := false;
    END IF;
    IF NEW.approved AND NEW.mailbox IS NULL THEN
        SELECT array_agg(a.address) INTO addresses FROM crm.address AS a WHERE a.record_id = NEW.record_id;
        IF cardinality(addresses) IS DISTINCT FROM 1 THEN
            RAISE EXCEPTION 'owner % has % addresses: say which is the mailbox', NEW.record_id, coalesce(cardinality(addresses), 0)
                USING ERRCODE = 'check_violation', HINT = 'UPDATE crm.owner SET mailbox = ... WHERE record_id = ...';
        END IF;
        NEW.mailbox := addresses[1];
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER guard_owner BEFORE INSERT OR UPDATE ON crm.owner FOR EACH ROW EXECUTE FUNCTION crm.guard_owner();

-- --- Email ----------------------------------------------------------------------------------------------------------

CREATE TABLE crm.email (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    direction text NOT NULL CHECK (direction IN ('in', 'out')),
    status text NOT NULL,
    status_reason text,
    message_id text,
    in_reply_to text,
    thread_ids text[] NOT NULL DEFAULT '{}',
    subject text NOT NULL DEFAULT '',
    text_body text,
    html_body text,
    regarding_id uuid,
    correlated_id uuid,
    correlation_method text CHECK (correlation_method IN ('in-reply-to', 'references', 'token')),
    token text UNIQUE,
    owner_id uuid,
    send_after timestamptz,
    dated_at timestamptz,
    sent_at timestamptz,
    received_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    flags text[] NOT NULL DEFAULT '{}',
    defects text[] NOT NULL DEFAULT '{}',
    CONSTRAINT status_of_direction CHECK (
        CASE direction
            WHEN 'in' THEN status = 'received'
            ELSE status IN ('draft', 'pending_send', 'sending', 'sent', 'failed', 'unknown', 'canceled')
        END)
);
CREATE INDEX email_regarding ON crm.email (regarding_id, created_at) WHERE regarding_id IS NOT NULL;
CREATE INDEX email_correlated ON crm.email (correlated_id) WHERE correlated_id IS NOT NULL;
CREATE INDEX email_owner ON crm.email (owner_id, created_at) WHERE owner_id IS NOT NULL;
-- Bodies are compressed by TOAST; status is not indexed, since router.outbox is narrow and hot and this table wide and cold.
COMMENT ON TABLE crm.email IS
    'Email activities. To send one: insert it as draft, insert its crm.party and crm.attachment rows, set status = ''pending_send''.';
COMMENT ON COLUMN crm.email.direction IS 'in: the CRM received it; out: it was sent in an owner''s name.';
COMMENT ON COLUMN crm.email.status IS
    'in: received. out: draft, pending_send, sending, sent, failed, unknown (handed over, but the relay never answered), canceled. '
    'Moves are checked: see crm.email_move.';
COMMENT ON COLUMN crm.email.status_reason IS 'Why it has this status, in the mail server''s own words where there are any.';
COMMENT ON COLUMN crm.email.message_id IS 'Message-ID without angle brackets; the router makes it for outgoing email.';
COMMENT ON COLUMN crm.email.in_reply_to IS 'Message-ID of the email that this one answers, as its header says.';
COMMENT ON COLUMN crm.email.thread_ids IS 'Message-IDs of the thread, oldest first (References).';
COMMENT ON COLUMN crm.email.regarding_id IS 'The record that the email is about.';
COMMENT ON COLUMN crm.email.correlated_id IS 'The email it answers. Set it on a draft to answer that email: the thread''s headers follow from it.';
COMMENT ON COLUMN crm.email.correlation_method IS 'How the answered email was found.';
COMMENT ON COLUMN crm.email.token IS 'Short code in the subject of outgoing email by which an answer is correlated.';
COMMENT ON COLUMN crm.email.owner_id IS
    'in: whose copy made it an activity. out: in whose name it is sent; taken from the from party if null.';
COMMENT ON COLUMN crm.email.send_after IS 'Not sent before this moment.';
COMMENT ON COLUMN crm.email.dated_at IS 'The Date header, as its sender claims.';
COMMENT ON COLUMN crm.email.sent_at IS 'When the relay accepted it.';
COMMENT ON COLUMN crm.email.received_at IS 'When our mail server received it.';
COMMENT ON COLUMN crm.email.flags IS 'What a person should know: new-on-thread (the sender was not on the thread before).';
COMMENT ON COLUMN crm.email.defects IS 'What could not be read of the message.';

CREATE TABLE crm.email_move (
    old text NOT NULL,
    new text NOT NULL,
    by_crm boolean NOT NULL,
    PRIMARY KEY (old, new)
);
INSERT INTO crm.email_move (old, new, by_crm) VALUES
    ('draft', 'pending_send', true),
    ('draft', 'canceled', true),
    ('pending_send', 'draft', true),
    ('pending_send', 'canceled', true),
    ('pending_send', 'sending', false),
    ('sending', 'pending_send', false),
    ('sending', 'sent', false),
    ('sending', 'failed', false),
    ('sending', 'unknown', false),
    ('pending_send', 'failed', false),
    ('failed', 'pending_send', true),
    ('failed', 'canceled', true),
    ('unknown', 'pending_send', true),
    ('unknown', 'sent', true),
    ('unknown', 'failed', true);
COMMENT ON TABLE crm.email_move IS 'Every move that an email''s status may make, and whether the CRM may make it or only the router.';

CREATE TABLE crm.party (
    email_id uuid NOT NULL REFERENCES crm.email ON DELETE CASCADE,
    role text NOT NULL CHECK (role IN ('from', 'to', 'cc', 'bcc', 'reply_to')),
    position int NOT NULL,
    address text NOT NULL CHECK (address = crm.normalise(address)),
    name text NOT NULL DEFAULT '',
    record_id uuid,
    UNIQUE NULLS NOT DISTINCT (email_id, role, position, record_id)
);
CREATE INDEX party_record ON crm.party (record_id) WHERE record_id IS NOT NULL;
CREATE INDEX party_unresolved ON crm.party (address) WHERE record_id IS NULL;
COMMENT ON TABLE crm.party IS
    'Addresses in a role on an email: one row per record that has the address; record_id null if none has.';
COMMENT ON COLUMN crm.party.position IS 'Order within the role, from 0; may be left out on insert.';
COMMENT ON COLUMN crm.party.address IS 'Normalised, see crm.normalise.';
COMMENT ON COLUMN crm.party.name IS 'Display name.';
COMMENT ON COLUMN crm.party.record_id IS 'The record that has this address; null: unresolved.';

CREATE FUNCTION crm.place_party() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.position := (SELECT coalesce(max(p.position) + 1, 0) FROM crm.party AS p
                     WHERE p.email_id = NEW.email_id AND p.role = NEW.role);
    RETURN NEW;
END
$$;
CREATE TRIGGER place_party BEFORE INSERT ON crm.party FOR EACH ROW
    WHEN (NEW.position IS NULL) EXECUTE FUNCTION crm.place_party();

CREATE TABLE crm.delivery (
    email_id uuid NOT NULL REFERENCES crm.email ON DELETE CASCADE,
    address text NOT NULL,
    state text NOT NULL CHECK (state IN ('accepted', 'deferred', 'refused', 'unknown')),
    code text NOT NULL DEFAULT '',
    text text NOT NULL DEFAULT '',
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (email_id, address)
);
COMMENT ON TABLE crm.delivery IS 'What became of each recipient of an outgoing email.';
COMMENT ON COLUMN crm.delivery.state IS 'accepted and refused are final; deferred is tried again; unknown: the relay never answered.';
COMMENT ON COLUMN crm.delivery.code IS 'Enhanced status code (RFC 3463), or the reply code where the relay gave none.';
COMMENT ON COLUMN crm.delivery.text IS 'The server''s own words.';

CREATE TABLE crm.blob (
    sha256 bytea PRIMARY KEY CHECK (length(sha256) = 32),
    encoding text NOT NULL DEFAULT 'identity' CHECK (encoding IN ('identity', 'zlib')),
    content bytea NOT NULL
);
ALTER TABLE crm.blob ALTER COLUMN content SET STORAGE EXTERNAL;
COMMENT ON TABLE crm.blob IS 'Contents of attachments, each stored once.';
COMMENT ON COLUMN crm.blob.sha256 IS 'SHA-256 of the decoded content: sha256(content) when you insert one with encoding identity.';
COMMENT ON COLUMN crm.blob.encoding IS 'identity: content is the bytes themselves; zlib: compressed (RFC 1950).';

CREATE TABLE crm.attachment (
    email_id uuid NOT NULL REFERENCES crm.email ON DELETE CASCADE,
    position int NOT NULL,
    filename text NOT NULL,
    original_filename text,
    media_type text NOT NULL DEFAULT 'application/octet-stream',
    size bigint NOT NULL CHECK (size >= 0),
    content_id text,
    inline boolean NOT NULL DEFAULT false,
    sha256 bytea NOT NULL REFERENCES crm.blob,
    PRIMARY KEY (email_id, position)
);
CREATE INDEX attachment_blob ON crm.attachment (sha256);
COMMENT ON TABLE crm.attachment IS 'Attachments of an email, in order.';
COMMENT ON COLUMN crm.attachment.filename IS 'A name that is safe to write to disk.';
COMMENT ON COLUMN crm.attachment.original_filename IS 'The name the sender gave, where it was not safe.';
COMMENT ON COLUMN crm.attachment.size IS 'Bytes, decoded.';
COMMENT ON COLUMN crm.attachment.content_id IS 'Content-ID without angle brackets, which cid: links of the HTML name.';

CREATE TABLE crm.receipt (
    email_id uuid NOT NULL REFERENCES crm.email ON DELETE CASCADE,
    owner_id uuid NOT NULL,
    profile text NOT NULL,
    folder text NOT NULL,
    place text NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (email_id, owner_id)
);
CREATE INDEX receipt_owner ON crm.receipt (owner_id, received_at);
COMMENT ON TABLE crm.receipt IS 'Who received an incoming email: one per email and owner.';
COMMENT ON COLUMN crm.receipt.profile IS 'The incoming profile that brought the owner''s copy.';
COMMENT ON COLUMN crm.receipt.place IS 'Where the copy lay: validity and UID, or the listener''s own id.';

-- --- Events ---------------------------------------------------------------------------------------------------------

CREATE TABLE crm.event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at timestamptz NOT NULL DEFAULT now(),
    kind text NOT NULL,
    email_id uuid,
    details jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX event_order ON crm.event (transaction, id);
COMMENT ON TABLE crm.event IS
    'What happened, in order, for CRMs that follow along: LISTEN crm_event, then crm.events_after(the last one you saw).';
COMMENT ON COLUMN crm.event.kind IS 'promoted, received (another owner''s copy), sent, failed, unknown.';

CREATE FUNCTION crm.events_after(after_transaction xid8 DEFAULT '0', after_id bigint DEFAULT 0, at_most int DEFAULT 1000)
    RETURNS SETOF crm.event LANGUAGE sql STABLE AS $$
    SELECT * FROM crm.event
    WHERE (transaction, id) > (after_transaction, after_id) AND transaction < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY transaction, id LIMIT at_most
$$;
COMMENT ON FUNCTION crm.events_after IS
    'Events after the one last seen, in an order in which none can appear later between two that were seen: transactions still under way are waited for.';

CREATE FUNCTION crm.notify_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('crm_event', '');
    RETURN NULL;
END
$$;
CREATE TRIGGER notify_event AFTER INSERT ON crm.event FOR EACH STATEMENT EXECUTE FUNCTION crm.notify_event();

-- --- The rest of the columns ----------------------------------------------------------------------------------------

COMMENT ON COLUMN crm.address.record_id IS 'The record that has this address.';
COMMENT ON COLUMN crm.email_move.old IS 'The status it has.';
COMMENT ON COLUMN crm.email_move.new IS 'The status it may get.';
COMMENT ON COLUMN crm.email_move.by_crm IS 'Whether the CRM may do it; otherwise only the router.';
COMMENT ON COLUMN crm.party.role IS 'from, to, cc, bcc or reply_to.';
COMMENT ON COLUMN crm.delivery.address IS 'The recipient, normalised.';
COMMENT ON COLUMN crm.blob.content IS 'The bytes, in their encoding.';
COMMENT ON COLUMN crm.attachment.position IS 'Order within the email, from 0.';
COMMENT ON COLUMN crm.attachment.media_type IS 'Such as application/pdf.';
COMMENT ON COLUMN crm.attachment.inline IS 'Whether it is shown within the HTML body.';
COMMENT ON COLUMN crm.attachment.sha256 IS 'Its content in crm.blob.';
COMMENT ON COLUMN crm.receipt.owner_id IS 'Whose copy it was.';
COMMENT ON COLUMN crm.receipt.folder IS 'The folder in which the copy lay; empty for a listener.';
COMMENT ON COLUMN crm.event.transaction IS 'The transaction that wrote it: part of the order, see crm.events_after.';
COMMENT ON COLUMN crm.event.details IS 'More about it, by kind.';
