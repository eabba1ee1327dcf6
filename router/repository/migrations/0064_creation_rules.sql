-- Rules for records from mail in the database: the words are those of a profile's [[incoming.NAME.create]] tables.

CREATE TABLE crm.creation_rule (
    name text PRIMARY KEY,
    position int NOT NULL,
    active boolean NOT NULL DEFAULT true,
    makes text NOT NULL,
    owners text[],
    "to" text[],
    "from" text[],
    subject text[],
    headers jsonb,
    sender text,
    internal boolean,
    unknown_sender text,
    reopen_days int,
    priority text,
    fields jsonb,
    by text NOT NULL DEFAULT session_user,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX creation_rule_all ON crm.creation_rule (position) WHERE active AND owners IS NULL;
CREATE INDEX creation_rule_owners ON crm.creation_rule USING gin (owners) WHERE active;
COMMENT ON TABLE crm.creation_rule IS
    'Rules for records from mail: the first that fits decides, before those of profiles. A wrong one is refused. They count for mail that is '
    'judged from now on. What is null is not said, as a key that a profile leaves out. email-router records rules lists them.';
COMMENT ON COLUMN crm.creation_rule.name IS 'What decisions and explain call it.';
COMMENT ON COLUMN crm.creation_rule.position IS 'The rules come in the order of these numbers; of two that are equal, by name.';
COMMENT ON COLUMN crm.creation_rule.active IS 'Whether it is in force.';
COMMENT ON COLUMN crm.creation_rule.makes IS 'case, contact, lead or nothing: what is made of the mail that it fits.';
COMMENT ON COLUMN crm.creation_rule.owners IS 'Mailboxes whose mail it is for; null: every queue''s.';
COMMENT ON COLUMN crm.creation_rule."to" IS 'Fits if one of these is in To, Cc, Bcc or the envelope: help@example.com, example.com, *.example.com.';
COMMENT ON COLUMN crm.creation_rule."from" IS 'Fits if one of these is the sender.';
COMMENT ON COLUMN crm.creation_rule.subject IS 'Fits if one of these texts is in the subject, in upper or lower case.';
COMMENT ON COLUMN crm.creation_rule.headers IS 'Fits if each of these headers has its text in it: {"X-Form": "contact"}.';
COMMENT ON COLUMN crm.creation_rule.sender IS 'any, known or unknown: whether a record has the sender''s address; null: any.';
COMMENT ON COLUMN crm.creation_rule.internal IS 'true: it fits mail of users and queues among themselves, too.';
COMMENT ON COLUMN crm.creation_rule.unknown_sender IS 'open, contact, lead or wait: what becomes of a case whose sender no record has; null: open.';
COMMENT ON COLUMN crm.creation_rule.reopen_days IS 'Days for which an answer reopens a closed case; null: 14.';
COMMENT ON COLUMN crm.creation_rule.priority IS 'Priority of the case; null: normal.';
COMMENT ON COLUMN crm.creation_rule.fields IS
    'Fields of the record: {"subject": "Web: {subject}"}; words in braces are subject, sender_name, sender_address and sender_domain.';
COMMENT ON COLUMN crm.creation_rule.by IS 'Who changed it last: the database''s role, or whoever an application names, with at.';
COMMENT ON COLUMN crm.creation_rule.at IS 'When.';

CREATE FUNCTION crm.creation_rule_fault(r crm.creation_rule) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    invisible CONSTANT text := '[\u0001-\u001f\u007f-\u00a0\u00ad\u061c\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]';
    label CONSTANT text := '%s must be 1 to 60 characters in one line';
    pattern CONSTANT text := '^((\*\.)?[^@*\s]*[^@*\s.][^@*\s]*|[^*\s]+@[^@*\s]*[^@*\s.][^@*\s]*)$';
    key text;
    texts text[];
    tables jsonb;
    one text;
    value jsonb;
BEGIN
    IF length(r.name) NOT BETWEEN 1 AND 60 OR r.name <> btrim(r.name) OR translate(r.name, ' ', '') ~ invisible THEN
        RETURN format(label, 'name');
    ELSIF r.makes NOT IN ('case', 'contact', 'lead', 'nothing') THEN
        RETURN 'makes must be case, contact, lead or nothing';
    ELSIF r.sender NOT IN ('any', 'known', 'unknown') THEN
        RETURN 'sender must be any, known or unknown';
    ELSIF r.unknown_sender NOT IN ('open', 'contact', 'lead', 'wait') THEN
        RETURN 'unknown_sender must be open, contact, lead or wait';
    ELSIF r.reopen_days NOT BETWEEN 0 AND 3650 THEN
        RETURN 'reopen_days must be between 0 and 3650';
    ELSIF length(r.priority) NOT BETWEEN 1 AND 60 OR btrim(r.priority) = '' OR translate(r.priority, ' ', '') ~ invisible THEN
        RETURN format(label, 'priority');
    END IF;
    FOR key, texts IN SELECT * FROM (VALUES
        ('owners', r.owners), ('to', r."to"), ('from', r."from"), ('subject', r.subject)) AS v WHERE column2 IS NOT NULL
    LOOP
        IF cardinality(texts) NOT BETWEEN 1 AND 200 OR array_ndims(texts) <> 1 THEN
            RETURN format('%s must be a list of 1 to 200, or null', key);
        END IF;
        FOREACH one IN ARRAY texts LOOP
            IF key = 'owners' AND crm.normalise(one) ~ '^[^*\s]+@[^@*\s]+$' IS NOT TRUE THEN
                RETURN 'owners must be addresses of mailboxes, such as support@example.com';
            ELSIF key IN ('to', 'from') AND btrim(one) ~ pattern IS NOT TRUE THEN
                RETURN format('%s must be patterns such as ann@example.com, example.com and *.example.com', key);
            ELSIF key = 'subject' AND (length(one) BETWEEN 1 AND 200 AND btrim(one) <> '') IS NOT TRUE THEN
                RETURN 'subject must be texts of 1 to 200 characters';
            END IF;
        END LOOP;
    END LOOP;
    FOR key, tables IN SELECT * FROM (VALUES ('headers', r.headers), ('fields', r.fields)) AS v WHERE column2 IS NOT NULL LOOP
        IF jsonb_typeof(tables) <> 'object' OR tables = '{}' OR (SELECT count(*) FROM jsonb_object_keys(tables)) > 50 THEN
            RETURN format('%s must be an object of 1 to 50 texts, such as {"source": "mail"}, or null', key);
        END IF;
        FOR one, value IN SELECT * FROM jsonb_each(tables) LOOP
            IF key = 'headers' AND one !~ '^[!-9;-~]{1,100}$' THEN
                RETURN 'headers must be names of headers with texts, such as {"X-Form": "contact"}';
            ELSIF key = 'fields' AND one !~ '^[A-Za-z_][A-Za-z0-9_]{0,62}$' THEN
                RETURN 'fields must have names of letters, digits and _, such as {"source": "mail"}';
            ELSIF jsonb_typeof(value) <> 'string' OR length(value #>> '{}') NOT BETWEEN 1 AND 200 OR btrim(value #>> '{}') = '' THEN
                RETURN format('%s must be texts of 1 to 200 characters', key);
            ELSIF key = 'fields' AND regexp_replace(
                value #>> '{}', '\{\{|\}\}|\{(subject|sender_name|sender_address|sender_domain)\}', '', 'g') ~ '[{}]' THEN
                RETURN 'fields: in braces stand {subject}, {sender_name}, {sender_address} and {sender_domain}, and nothing else; '
                    'write a brace twice to have it as text';
            END IF;
        END LOOP;
    END LOOP;
    IF r.makes <> 'case' THEN
        key := CASE WHEN r.unknown_sender IS NOT NULL THEN 'unknown_sender' WHEN r.reopen_days IS NOT NULL THEN 'reopen_days'
            WHEN r.priority IS NOT NULL THEN 'priority' END;
        IF key IS NOT NULL THEN
            RETURN format('%s means nothing here: it belongs to a rule that makes a case', key);
        END IF;
    END IF;
    IF r.makes = 'nothing' AND r.fields IS NOT NULL THEN
        RETURN 'fields means nothing here: the rule makes nothing that has fields';
    ELSIF r.makes IN ('contact', 'lead') AND r.sender = 'known' THEN
        RETURN format('sender must be unknown or any: a %s is made only of a sender whom no record has', r.makes);
    ELSIF length(r::text) > 10000 THEN
        RETURN 'the rule must be at most 10,000 characters: make two of it';
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION crm.creation_rule_fault IS 'What is wrong with a rule for records from mail, in words; null: nothing.';

CREATE FUNCTION crm.guard_creation_rule() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    fault text := crm.creation_rule_fault(NEW);
    most CONSTANT int := 200;
    mailbox text;
BEGIN
    -- One that an older version let in can be switched off, whatever is wrong with it.
    IF fault IS NOT NULL AND (TG_OP = 'INSERT' OR NEW.active) THEN
        PERFORM crm.refuse(fault, 'docs/tracking.md, "Rules in the database", tells what a rule can say.');
    END IF;
    NEW.owners := ARRAY(SELECT DISTINCT crm.normalise(o) FROM unnest(NEW.owners) AS o ORDER BY 1);
    IF NEW.owners = '{}' THEN
        NEW.owners := NULL;
    END IF;
    IF TG_OP = 'UPDATE' AND NEW IS DISTINCT FROM OLD AND NEW.at = OLD.at THEN
        NEW.at := now();
        NEW."by" := CASE WHEN NEW."by" = OLD."by" THEN session_user ELSE NEW."by" END;
    END IF;
    IF NEW.active AND (TG_OP = 'INSERT' OR NOT OLD.active OR NEW.owners IS DISTINCT FROM OLD.owners) THEN
        IF NEW.owners IS NULL AND (
            SELECT count(*) FROM crm.creation_rule AS r WHERE r.active AND r.owners IS NULL AND r.name <> NEW.name) >= most
        THEN
            PERFORM crm.refuse(format('there are %s rules for every queue already', most), 'Delete some, or set active to false.');
        END IF;
        FOREACH mailbox IN ARRAY coalesce(NEW.owners, '{}') LOOP
            IF (SELECT count(*) FROM crm.creation_rule AS r
                WHERE r.active AND r.owners && ARRAY[mailbox] AND r.name <> NEW.name) >= most
            THEN
                PERFORM crm.refuse(format('there are %s rules for %s already', most, mailbox), 'Delete some, or set active to false.');
            END IF;
        END LOOP;
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION crm.guard_creation_rule IS 'Refuses rules that are none, in words; notes who changed one, and when.';
CREATE TRIGGER guard_creation_rule BEFORE INSERT OR UPDATE ON crm.creation_rule
    FOR EACH ROW EXECUTE FUNCTION crm.guard_creation_rule();

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'email_router_crm') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON crm.creation_rule TO email_router_crm;
    END IF;
END
$$;
