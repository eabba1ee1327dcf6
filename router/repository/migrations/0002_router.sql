-- The router's own state, and the guards that tie it to crm.email. The CRM's role cannot enter this schema.

CREATE SCHEMA IF NOT EXISTS router;  -- it holds the list of migrations already
COMMENT ON SCHEMA router IS 'The email router''s own state; not for the CRM.';

CREATE TABLE router.installation (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    system_identifier bigint NOT NULL,
    sending boolean NOT NULL DEFAULT true,
    reason text,
    changed_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO router.installation (system_identifier) SELECT system_identifier FROM pg_control_system();
COMMENT ON TABLE router.installation IS 'One row. A copy of the database on another PostgreSQL has another system identifier, and never sends.';

CREATE FUNCTION router.may_send() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT i.sending AND i.system_identifier = c.system_identifier FROM router.installation AS i, pg_control_system() AS c
$$;

CREATE TABLE router.process (
    id uuid PRIMARY KEY,
    host text NOT NULL,
    pid int NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE router.process IS 'Router processes that share this database. One that was not seen for the lease time is dead, and what it held is free.';

-- --- In -------------------------------------------------------------------------------------------------------------

CREATE TABLE router.source (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    profile text NOT NULL,
    mailbox text NOT NULL,
    folder text NOT NULL,
    owner_id uuid,
    cursor text,
    begins_at timestamptz NOT NULL,
    process_id uuid,
    epoch bigint NOT NULL DEFAULT 0,
    fault text,
    changed_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (profile, mailbox, folder)
);
COMMENT ON TABLE router.source IS 'One thing an incoming profile reads: one folder of one mailbox, or one listener (mailbox and folder empty).';
COMMENT ON COLUMN router.source.cursor IS 'Where reading goes on; opaque text of the transport. Null: never read.';
COMMENT ON COLUMN router.source.begins_at IS 'What arrived before is not judged. Infinity: at the moment when it is first read.';
COMMENT ON COLUMN router.source.process_id IS 'The process that reads it: its lease lasts while that process is seen.';
COMMENT ON COLUMN router.source.epoch IS 'Fencing token: counts the leases; a commit with an older one is refused.';
COMMENT ON COLUMN router.source.fault IS 'What is wrong with it now, in words for an admin.';

CREATE TABLE router.message (
    key bytea PRIMARY KEY CHECK (length(key) = 32),
    version smallint NOT NULL,
    email_id uuid,
    seen_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX message_email ON router.message (email_id) WHERE email_id IS NOT NULL;
COMMENT ON TABLE router.message IS
    'Every message seen, by its key: SHA-256 of Message-ID and Date. Outlives the email, so that erasing one does not bring it back.';
COMMENT ON COLUMN router.message.version IS 'How the key was made.';

CREATE TABLE router.message_id (
    hash bytea PRIMARY KEY CHECK (length(hash) = 16),
    email_id uuid,
    seen_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX message_id_email ON router.message_id (email_id) WHERE email_id IS NOT NULL;
COMMENT ON TABLE router.message_id IS
    'Message-IDs as hashes, since long ids do not fit an index: which email has it. Whoever shares a thread locks the same rows.';

CREATE TABLE router.decision (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source_id bigint NOT NULL REFERENCES router.source ON DELETE CASCADE,
    validity text NOT NULL,
    place text NOT NULL,
    owner_id uuid,
    key bytea,
    email_id uuid,
    disposition text NOT NULL CHECK (disposition IN ('promoted', 'duplicate', 'ignored', 'held', 'dead')),
    rule text NOT NULL,
    reasons text[] NOT NULL,
    received_at timestamptz NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT now(),
    settled_at timestamptz,
    UNIQUE (source_id, validity, place),
    CHECK ((disposition IN ('promoted', 'duplicate')) = (email_id IS NOT NULL))
);
CREATE INDEX decision_unsettled ON router.decision (source_id) WHERE settled_at IS NULL;
CREATE INDEX decision_refused ON router.decision (key) WHERE disposition IN ('ignored', 'held');
CREATE INDEX decision_email ON router.decision (email_id) WHERE email_id IS NOT NULL;
COMMENT ON TABLE router.decision IS 'What became of each copy of a message, with every reason. Of what was ignored nothing else is kept.';

CREATE TABLE router.kept_content (
    decision_id bigint PRIMARY KEY REFERENCES router.decision ON DELETE CASCADE,
    content bytea NOT NULL,
    expires_at timestamptz NOT NULL
);
ALTER TABLE router.kept_content ALTER COLUMN content SET STORAGE EXTERNAL;
COMMENT ON TABLE router.kept_content IS
    'The bytes (zlib) of held and dead copies that exist nowhere else (listener) or whose owner has the rule all. For administrators; expires.';

-- --- Out ------------------------------------------------------------------------------------------------------------

CREATE TABLE router.outbox (
    email_id uuid PRIMARY KEY REFERENCES crm.email ON DELETE CASCADE,
    owner_id uuid NOT NULL,
    next_at timestamptz NOT NULL DEFAULT now(),
    attempts int NOT NULL DEFAULT 0,
    process_id uuid,
    attempt_id uuid,
    CHECK ((process_id IS NULL) = (attempt_id IS NULL))
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX outbox_waiting ON router.outbox (owner_id, next_at) WHERE process_id IS NULL;
CREATE INDEX outbox_claimed ON router.outbox (process_id) WHERE process_id IS NOT NULL;
COMMENT ON TABLE router.outbox IS 'What is pending send or being sent: narrow and hot, filled by a trigger on crm.email.';

CREATE TABLE router.attempt (
    id uuid PRIMARY KEY,
    email_id uuid NOT NULL REFERENCES crm.email ON DELETE CASCADE,
    number int NOT NULL,
    process_id uuid NOT NULL,
    profile text,
    resend boolean NOT NULL DEFAULT false,
    claimed_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,
    outcome text
);
CREATE INDEX attempt_email ON router.attempt (email_id);
COMMENT ON TABLE router.attempt IS 'Every attempt to send: claimed, then started just before MAIL FROM, then finished with an outcome.';
COMMENT ON COLUMN router.attempt.resend IS 'The profile''s on_unknown = "resend": send again if the outcome stays unknown.';

CREATE TABLE router.relay (
    profile text PRIMARY KEY,
    fault text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE router.relay IS 'The outgoing profiles whose relay cannot be used now, and why, in words for an admin.';

-- --- Guards ---------------------------------------------------------------------------------------------------------

CREATE FUNCTION crm.hint_for_frozen(status text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN EXISTS (SELECT FROM crm.email_move AS m WHERE m.old = status AND m.new = 'draft' AND m.by_crm)
            THEN 'A pending email can be set back to draft.'
        ELSE 'Only a draft can be changed: write another email.'
    END
$$;
COMMENT ON FUNCTION crm.hint_for_frozen IS 'What to do where an email is no draft any more.';

CREATE FUNCTION crm.guard_email() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    by_router boolean := has_schema_privilege(current_user, 'router', 'USAGE');
    move crm.email_move;
    wrong text;
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.status = 'sending' THEN
            RAISE EXCEPTION 'email % is being sent and cannot be deleted now', OLD.id USING ERRCODE = 'check_violation';
        END IF;
        RETURN OLD;
    END IF;
    IF TG_OP = 'INSERT' THEN
        IF NEW.direction = 'out' AND NEW.status NOT IN ('draft', 'sent', 'canceled') THEN
            RAISE EXCEPTION 'an outgoing email cannot begin as %', NEW.status USING ERRCODE = 'check_violation',
                HINT = 'Insert it as draft, then its crm.party rows, then set status = ''pending_send''.';
        END IF;
        RETURN NEW;
    END IF;
    IF NEW.direction <> OLD.direction OR NEW.id <> OLD.id THEN
        RAISE EXCEPTION 'id and direction of email % cannot change', OLD.id USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.status <> OLD.status THEN
        SELECT * INTO move FROM crm.email_move AS m WHERE m.old = OLD.status AND m.new = NEW.status;
        IF NOT FOUND OR NOT (move.by_crm OR by_router) THEN
            RAISE EXCEPTION 'email % cannot go from % to %', OLD.id, OLD.status, NEW.status USING ERRCODE = 'check_violation',
                HINT = (SELECT 'From here it can go to: ' || coalesce(string_agg(m.new, ', ' ORDER BY m.new), 'nowhere')
                        FROM crm.email_move AS m WHERE m.old = OLD.status AND (m.by_crm OR by_router));
        END IF;
        IF NEW.status_reason IS NOT DISTINCT FROM OLD.status_reason THEN
            NEW.status_reason := NULL;
        END IF;
        IF NEW.status = 'sent' THEN
            NEW.sent_at := coalesce(NEW.sent_at, now());  -- a person may say so of what was unknown
        END IF;
    END IF;
    IF NOT by_router AND OLD.direction = 'out' AND OLD.status <> 'draft'
       AND (NEW.subject, NEW.text_body, NEW.html_body, NEW.owner_id, NEW.message_id, NEW.token, NEW.correlated_id)
           IS DISTINCT FROM
           (OLD.subject, OLD.text_body, OLD.html_body, OLD.owner_id, OLD.message_id, OLD.token, OLD.correlated_id) THEN
        RAISE EXCEPTION 'email % is %, so what is sent cannot change any more', OLD.id, OLD.status
            USING ERRCODE = 'check_violation', HINT = crm.hint_for_frozen(OLD.status);
    END IF;
    IF NEW.status = 'pending_send' AND OLD.status <> 'sending' THEN
        NEW.owner_id := coalesce(NEW.owner_id, (
            SELECT o.record_id FROM crm.party AS p JOIN crm.owner AS o ON o.mailbox = p.address
            WHERE p.email_id = NEW.id AND p.role = 'from' LIMIT 1));
        IF NEW.owner_id IS NULL THEN
            RAISE EXCEPTION 'email % has no owner: its from party is no owner''s mailbox', NEW.id USING ERRCODE = 'check_violation',
                HINT = 'Insert a crm.party with role ''from'' and the address of crm.owner.mailbox, or set owner_id.';
        END IF;
        IF EXISTS (SELECT FROM crm.party AS p LEFT JOIN crm.owner AS o ON o.record_id = NEW.owner_id
                   WHERE p.email_id = NEW.id AND p.role = 'from' AND p.address IS DISTINCT FROM o.mailbox) THEN
            RAISE EXCEPTION 'the from party of email % is not the mailbox of its owner %', NEW.id, NEW.owner_id
                USING ERRCODE = 'check_violation';
        END IF;
        IF NOT EXISTS (SELECT FROM crm.party AS p WHERE p.email_id = NEW.id AND p.role IN ('to', 'cc', 'bcc')) THEN
            RAISE EXCEPTION 'email % has no recipients', NEW.id USING ERRCODE = 'check_violation',
                HINT = 'Insert crm.party rows with role ''to'', ''cc'' or ''bcc'' first.';
        END IF;
        SELECT p.address INTO wrong FROM crm.party AS p
            WHERE p.email_id = NEW.id AND p.role IN ('to', 'cc', 'bcc')
                AND (p.address !~ '^.+@[^@[:space:]]+$' OR p.address ~ '[[:cntrl:]]') LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'a recipient of email % has no address that mail can be sent to: %', NEW.id, quote_literal(wrong)
                USING ERRCODE = 'check_violation';
        END IF;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER guard_email BEFORE INSERT OR UPDATE OR DELETE ON crm.email FOR EACH ROW EXECUTE FUNCTION crm.guard_email();

CREATE FUNCTION crm.queue_email() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    IF NEW.status = 'pending_send' AND OLD.status <> 'sending' THEN
        -- Whoever sends again means all recipients that did not take it yet.
        DELETE FROM crm.delivery WHERE email_id = NEW.id AND state <> 'accepted';
        INSERT INTO router.outbox (email_id, owner_id, next_at)
            VALUES (NEW.id, NEW.owner_id, coalesce(NEW.send_after, now()));
        PERFORM pg_notify('router_outbox', '');
    ELSIF OLD.status = 'pending_send' AND NEW.status IN ('draft', 'canceled') THEN
        DELETE FROM router.outbox WHERE email_id = NEW.id;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER queue_email AFTER UPDATE OF status ON crm.email FOR EACH ROW
    WHEN (NEW.status IS DISTINCT FROM OLD.status) EXECUTE FUNCTION crm.queue_email();

CREATE FUNCTION crm.guard_parts() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    email crm.email;
BEGIN
    -- FOR SHARE: whoever adds a recipient while the email is being claimed waits, and is then refused.
    SELECT * INTO email FROM crm.email AS e
        WHERE e.id = CASE WHEN TG_OP = 'DELETE' THEN OLD.email_id ELSE NEW.email_id END FOR SHARE;
    IF FOUND AND email.direction = 'out' AND email.status <> 'draft' THEN
        RAISE EXCEPTION 'email % is %, so its % cannot change any more', email.id, email.status, TG_TABLE_NAME
            USING ERRCODE = 'check_violation', HINT = crm.hint_for_frozen(email.status);
    END IF;
    RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END
$$;
-- The condition spares the router, which writes many rows, a look-up for each.
CREATE TRIGGER guard_parties BEFORE INSERT OR UPDATE OR DELETE ON crm.party FOR EACH ROW
    WHEN (NOT has_schema_privilege('router', 'USAGE')) EXECUTE FUNCTION crm.guard_parts();
CREATE TRIGGER guard_attachments BEFORE INSERT OR UPDATE OR DELETE ON crm.attachment FOR EACH ROW
    WHEN (NOT has_schema_privilege('router', 'USAGE')) EXECUTE FUNCTION crm.guard_parts();

-- --- The CRM's role --------------------------------------------------------------------------------------------------

-- Roles belong to the whole server; where we may not make one, an admin makes it and grants the same.
DO $$
BEGIN
    CREATE ROLE email_router_crm NOLOGIN;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN RAISE WARNING 'no right to create the role email_router_crm: ask an admin for it, then grant as in this migration';
END
$$;
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'email_router_crm') THEN
        RETURN;
    END IF;
    GRANT USAGE ON SCHEMA crm TO email_router_crm;
    GRANT SELECT ON ALL TABLES IN SCHEMA crm TO email_router_crm;
    GRANT INSERT, UPDATE, DELETE ON crm.record, crm.address, crm.party, crm.attachment TO email_router_crm;
    GRANT INSERT ON crm.blob TO email_router_crm;
    GRANT INSERT (record_id, mailbox, settings), UPDATE (mailbox, settings), DELETE ON crm.owner TO email_router_crm;
    GRANT INSERT, DELETE ON crm.email TO email_router_crm;
    GRANT UPDATE (status, status_reason, subject, text_body, html_body, regarding_id, correlated_id, owner_id, send_after, flags)
        ON crm.email TO email_router_crm;
END
$$;
COMMENT ON FUNCTION crm.guard_parts IS 'Refuses to change the parties and attachments of an email that is no draft any more.';
