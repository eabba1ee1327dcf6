-- The queue of unresolved senders as people work through it: by sender and domain, searched, put off, assigned.
--
-- What mail changes is one row of a log that is only appended to, so that no transaction waits for another's. All other
-- tables here are brought into line with it later, by one process at a time (router/repository/senders/fold.py).

CREATE TABLE router.sender_change (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email_id uuid,
    address text,
    CHECK (num_nonnulls(email_id, address) <= 1)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE router.sender_change IS
    'Emails that came into the queue of unresolved senders, changed in it, or left it; and senders who were put off or called back. Not yet '
    'in the tables router.sender_….';
COMMENT ON COLUMN router.sender_change.email_id IS 'Null, without an address: all emails of the queue.';

CREATE TABLE router.sender_mail (
    email_id uuid NOT NULL,
    owner_id uuid NOT NULL,
    address text NOT NULL,
    received_at timestamptz NOT NULL,
    machine boolean NOT NULL,
    PRIMARY KEY (email_id, owner_id)
);
CREATE INDEX sender_mail_address ON router.sender_mail (owner_id, address, received_at, email_id);
CREATE INDEX sender_mail_order ON router.sender_mail (owner_id, received_at, email_id);
COMMENT ON TABLE router.sender_mail IS 'Emails that wait in the queue of unresolved senders, once for each owner who received them, and once for all.';
COMMENT ON COLUMN router.sender_mail.owner_id IS 'Zero: for those who may see the mail of all owners.';
COMMENT ON COLUMN router.sender_mail.machine IS 'It is automatic, or went to many.';

CREATE TABLE router.sender_waiting (
    owner_id uuid NOT NULL,
    address text NOT NULL,
    domain text NOT NULL,
    part text NOT NULL,
    number bigint NOT NULL,
    latest_at timestamptz NOT NULL,
    latest_id uuid NOT NULL,
    oldest_at timestamptz NOT NULL,
    PRIMARY KEY (owner_id, address)
);
CREATE INDEX sender_waiting_part ON router.sender_waiting (owner_id, part, latest_at, address);
CREATE INDEX sender_waiting_part_oldest ON router.sender_waiting (owner_id, part, oldest_at);
CREATE INDEX sender_waiting_domain ON router.sender_waiting (owner_id, domain, latest_at, address);
CREATE INDEX sender_waiting_address ON router.sender_waiting (address);
COMMENT ON TABLE router.sender_waiting IS 'Who waits, by owner: how many emails, the latest of them, and since when.';
COMMENT ON COLUMN router.sender_waiting.part IS
    'Where the sender is listed: @ and a domain, the address alone where anybody can have one at its domain, /machines or /snoozed.';

CREATE TABLE router.sender_part (
    owner_id uuid NOT NULL,
    part text NOT NULL,
    aside boolean NOT NULL,
    senders bigint NOT NULL,
    number bigint NOT NULL,
    latest_at timestamptz NOT NULL,
    oldest_at timestamptz NOT NULL,
    PRIMARY KEY (owner_id, part)
);
CREATE INDEX sender_part_latest ON router.sender_part (owner_id, latest_at, part) WHERE NOT aside;
CREATE INDEX sender_part_oldest ON router.sender_part (owner_id, oldest_at, part) WHERE NOT aside;
COMMENT ON TABLE router.sender_part IS 'The parts in which senders are listed, by owner.';
COMMENT ON COLUMN router.sender_part.aside IS 'Folded away: machines, and who was put off.';

CREATE TABLE router.sender_total (
    owner_id uuid NOT NULL,
    part text NOT NULL,
    senders bigint NOT NULL,
    number bigint NOT NULL,
    PRIMARY KEY (owner_id, part)
);
COMMENT ON TABLE router.sender_total IS 'How many senders wait, and emails, by owner.';
COMMENT ON COLUMN router.sender_total.part IS 'As in router.sender_part where that is aside; empty: all other parts together.';

CREATE TABLE router.sender_words (
    email_id uuid PRIMARY KEY,
    words tsvector
);
CREATE INDEX sender_words_words ON router.sender_words USING gin (words);
CREATE INDEX sender_words_unread ON router.sender_words (email_id) WHERE words IS NULL;
COMMENT ON TABLE router.sender_words IS 'What the emails that wait are found by. Of private ones only their people.';
COMMENT ON COLUMN router.sender_words.words IS 'Null: it is not read yet.';

CREATE TABLE router.sender_care (
    address text PRIMARY KEY,
    assigned_to text,
    assigned_by text,
    assigned_at timestamptz,
    snoozed_until timestamptz,
    snoozed_by text
);
CREATE INDEX sender_care_snoozed ON router.sender_care (snoozed_until) WHERE snoozed_until IS NOT NULL;
CREATE INDEX sender_care_assigned ON router.sender_care (assigned_to, address) WHERE assigned_to IS NOT NULL;
COMMENT ON TABLE router.sender_care IS 'Who takes care of a sender, and until when the sender is put off. Gone with the last email that waits.';

CREATE UNLOGGED TABLE router.sender_look (
    address text NOT NULL,
    by text NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (address, by)
);
CREATE INDEX sender_look_seen ON router.sender_look (seen_at);
COMMENT ON TABLE router.sender_look IS 'Who looks at which sender now: a page says so again and again, for as long as it is open.';

CREATE TABLE router.ruled_record (
    ruling_id bigint PRIMARY KEY REFERENCES router.ruling ON DELETE CASCADE,
    record_id uuid NOT NULL
);
CREATE INDEX ruled_record_record ON router.ruled_record (record_id);
COMMENT ON TABLE router.ruled_record IS 'Records that were made together with the ruling that a sender is that record: undoing it takes them out of use.';

CREATE INDEX ruling_by ON router.ruling (by, id);

-- --- What changes ---------------------------------------------------------------------------------------------------

CREATE FUNCTION router.note_senders() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    INSERT INTO router.sender_change (email_id) SELECT c.email_id FROM changed AS c;
    IF FOUND THEN
        PERFORM pg_notify('router_sender_change', '');
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION router.note_senders IS 'Notes which emails of the queue of unresolved senders have changed.';
CREATE TRIGGER note_senders_came AFTER INSERT ON router.unresolved_email
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION router.note_senders();
CREATE TRIGGER note_senders_changed AFTER UPDATE ON router.unresolved_email
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION router.note_senders();
CREATE TRIGGER note_senders_gone AFTER DELETE ON router.unresolved_email
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION router.note_senders();

CREATE FUNCTION router.note_sender_receipts() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    INSERT INTO router.sender_change (email_id)
    SELECT c.email_id FROM changed AS c JOIN router.unresolved_email AS q ON q.email_id = c.email_id
    -- The first owner's is noted with the email.
    WHERE TG_OP <> 'INSERT' OR c.owner_id IS DISTINCT FROM q.owner_id;
    IF FOUND THEN
        PERFORM pg_notify('router_sender_change', '');
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION router.note_sender_receipts IS 'Notes which emails of the queue of unresolved senders have come to another owner, or are that one''s no more.';
CREATE TRIGGER note_sender_receipts_came AFTER INSERT ON crm.receipt
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION router.note_sender_receipts();
CREATE TRIGGER note_sender_receipts_changed AFTER UPDATE ON crm.receipt
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION router.note_sender_receipts();
CREATE TRIGGER note_sender_receipts_gone AFTER DELETE ON crm.receipt
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION router.note_sender_receipts();

CREATE FUNCTION router.forget_words() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    DELETE FROM router.sender_words AS w USING gone AS g WHERE w.email_id = g.email_id;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION router.forget_words IS 'What has left the queue of unresolved senders is not found in it any more.';
CREATE TRIGGER forget_words AFTER DELETE ON router.unresolved_email
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION router.forget_words();

CREATE FUNCTION router.sender_part(address text, machine boolean, snoozed boolean) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN snoozed THEN '/snoozed'
        WHEN machine OR split_part(address, '@', 1) ~
            '^(mailer-daemon|postmaster|bounces?|(do-?)?no(t|n)?[-._]?reply|donotreply|auto-?(reply|responder|mailer)|notifications?|newsletters?|mailings?|listserv|majordomo)([-+._=]|$)'
            THEN '/machines'
        WHEN strpos(address, '@') = 0 OR EXISTS (SELECT FROM crm.public_domain AS d WHERE d.domain = router.domain_of(address))
            THEN address
        ELSE '@' || router.domain_of(address)
    END
$$;
COMMENT ON FUNCTION router.sender_part IS 'Where a sender is listed: see router.sender_waiting.part.';

-- --- Records, as their names are typed ------------------------------------------------------------------------------

CREATE FUNCTION crm.plain_words(text text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF text ~ '[^\u0001-\u007e]' THEN
        -- Marks on letters are left out: "buro" finds "Büro". What is left to be made lower case are few alphabets; neither the
        -- locale nor all of Unicode (crm.lower_case) is asked: the one may not know them, the other takes a millisecond.
        text := translate(regexp_replace(normalize(text, NFKD), '[\u0300-\u036f]+', '', 'g'),
            'ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯЂЄЅІЈЉЊЋЏҐԱԲԳԴԵԶԷԸԹԺԻԼԽԾԿՀՁՂՃՄՅՆՇՈՉՊՋՌՍՎՏՐՑՒՓՔՕՖØøŁłĐđÆæŒœẞßÞþıς',
            'αβγδεζηθικλμνξοπρστυφχψωабвгдежзийклмнопрстуфхцчшщъыьэюяђєѕіјљњћџґաբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆoollddaaoossttiσ');
    END IF;
    -- Letters by their codes, since the locale may be C.
    RETURN regexp_replace(lower(text COLLATE "C"),
        '[\u0001-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00bf\u2000-\u206f\u3000-\u303f]+', ' ', 'g');
END
$$;
COMMENT ON FUNCTION crm.plain_words IS 'Text as its words are compared: lower case, without marks on letters, words apart.';

CREATE FUNCTION crm.record_words(name text, kind text) RETURNS tsvector LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN to_tsvector('simple'::regconfig, crm.plain_words(left(coalesce(name, ''), 300)))
        -- No word that is typed begins so.
        || array_to_tsvector(ARRAY['/' || coalesce(kind, '')]);
END
$$;
COMMENT ON FUNCTION crm.record_words IS 'What a record is found by as its name is typed. An index on it makes that quick.';

CREATE FUNCTION crm.address_words(address text) RETURNS tsvector LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN to_tsvector('simple'::regconfig, crm.plain_words(left(coalesce(address, ''), 320)));
END
$$;
COMMENT ON FUNCTION crm.address_words IS 'What an address is found by as it is typed. An index on it makes that quick.';

CREATE FUNCTION router.prefixes(words text[], kinds text[] DEFAULT NULL) RETURNS tsquery LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT to_tsquery('simple'::regconfig, string_agg(quote_literal(w) || ':*', ' & '))
        && coalesce((SELECT string_agg(quote_literal('/' || k), ' | ')::tsquery FROM unnest(kinds) AS k), ''::tsquery)
    FROM unnest(words) AS t (word) CROSS JOIN LATERAL regexp_split_to_table(crm.plain_words(word), ' ') AS w
    WHERE w <> ''
$$;
COMMENT ON FUNCTION router.prefixes IS 'What has, for each of these words, one that begins with it; of these kinds, for records.';

-- Who waits already.
INSERT INTO router.sender_change DEFAULT VALUES;
