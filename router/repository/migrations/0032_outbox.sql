-- Each relay claims for itself: the outbox knows which profile carries an email, in which lane, how urgent it is, and
-- whether its time has come. Whatever reads or fills a large table is in the next migration.

-- --- Which profile carries what an owner sends ----------------------------------------------------------------------

CREATE TABLE router.route (
    owner_id uuid PRIMARY KEY,
    profile text,
    reason text,
    domain text NOT NULL,
    aligned boolean NOT NULL DEFAULT false,
    CHECK ((profile IS NULL) = (reason IS NOT NULL))
);
CREATE INDEX route_unaligned ON router.route (owner_id) WHERE NOT aligned;
COMMENT ON TABLE router.route IS 'Which outgoing profile carries what an owner sends; the routers keep it, from their profiles and crm.owner.';
COMMENT ON COLUMN router.route.reason IS 'Why nothing of the owner''s is sent, in words for crm.email.status_reason.';
COMMENT ON COLUMN router.route.domain IS 'The right side of the Message-IDs that the owner''s email gets.';
COMMENT ON COLUMN router.route.aligned IS 'Whether what waits in router.outbox was told of it.';

CREATE FUNCTION crm.tell_owners() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('router_owners', '');
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION crm.tell_owners IS 'Tells the routers that owners have changed.';
CREATE TRIGGER tell_owners AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON crm.owner
    FOR EACH STATEMENT EXECUTE FUNCTION crm.tell_owners();

-- --- The queue ------------------------------------------------------------------------------------------------------

ALTER TABLE router.outbox
    ADD COLUMN profile text,
    ADD COLUMN lane text NOT NULL DEFAULT 'normal',
    ADD COLUMN priority smallint NOT NULL DEFAULT 0,
    ADD COLUMN ready boolean NOT NULL DEFAULT false,
    ADD COLUMN spent int NOT NULL DEFAULT 0,
    ADD COLUMN deferred_at timestamptz;
COMMENT ON COLUMN router.outbox.profile IS 'The outgoing profile that carries it; null: none does, see router.route.';
COMMENT ON COLUMN router.outbox.lane IS 'As of crm.email.';
COMMENT ON COLUMN router.outbox.priority IS 'As of crm.email.';
COMMENT ON COLUMN router.outbox.next_at IS 'When it is due.';
COMMENT ON COLUMN router.outbox.ready IS 'Whether next_at has come, as far as it was noticed: only what is ready is looked at by a claim.';
COMMENT ON COLUMN router.outbox.attempts IS 'How many attempts there were, with the one that is under way.';
COMMENT ON COLUMN router.outbox.spent IS 'How many of them count: those at which the relay deferred this email for its own sake.';
COMMENT ON COLUMN router.outbox.deferred_at IS 'When it was first deferred: from then on it is tried until the profile gives up.';

CREATE FUNCTION router.refuse(words text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%', words USING ERRCODE = 'check_violation';
END
$$;
COMMENT ON FUNCTION router.refuse IS 'Ends a statement in the midst of which it turns out that it must not be.';

CREATE FUNCTION router.message_key(message_id text, dated_at timestamptz) RETURNS bytea
    LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT sha256(
        int8send(2) || convert_to('id', 'UTF8')
        || int8send(octet_length(convert_to(message_id, 'UTF8'))) || convert_to(message_id, 'UTF8')
        || int8send(25) || convert_to(to_char(dated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"'), 'UTF8'))
$$;
COMMENT ON FUNCTION router.message_key IS
    'As model.Message.key of a Message-ID and a Date of whole seconds, in the years 1000 to 9999: what router.message knows it by.';

CREATE FUNCTION crm.explain_waiting() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    NEW.status_reason := coalesce(
        (SELECT r.reason FROM router.route AS r WHERE r.owner_id = NEW.owner_id), NEW.status_reason);
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION crm.explain_waiting IS 'Says why an email that is set to pending send is not sent, where its owner is the reason.';
-- By its name after guard_email, which finds the owner.
CREATE TRIGGER later_explain_waiting BEFORE UPDATE OF status ON crm.email FOR EACH ROW
    WHEN (NEW.status = 'pending_send' AND OLD.status NOT IN ('sending', 'pending_send'))
    EXECUTE FUNCTION crm.explain_waiting();

CREATE OR REPLACE FUNCTION crm.queue_email() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    carrier text;
    due timestamptz := coalesce(NEW.send_after, now());
BEGIN
    IF NEW.status = 'pending_send' AND OLD.status <> 'sending' THEN
        -- Whoever sends again means all recipients that did not take it yet.
        DELETE FROM crm.delivery WHERE email_id = NEW.id AND state NOT IN ('accepted', 'delayed');
        SELECT r.profile INTO carrier FROM router.route AS r WHERE r.owner_id = NEW.owner_id;
        INSERT INTO router.outbox (email_id, owner_id, profile, lane, priority, next_at, ready)
            VALUES (NEW.id, NEW.owner_id, carrier, NEW.lane, NEW.priority, due, due <= now());
        PERFORM pg_notify('router_outbox', coalesce(carrier, ''));
    ELSIF OLD.status = 'pending_send' AND NEW.status IN ('draft', 'canceled') THEN
        DELETE FROM router.outbox WHERE email_id = NEW.id;
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION crm.requeue_email() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    carrier text;
    due timestamptz := coalesce(NEW.send_after, now());
BEGIN
    UPDATE router.outbox AS o SET lane = NEW.lane, priority = NEW.priority,
        next_at = CASE WHEN NEW.send_after IS DISTINCT FROM OLD.send_after THEN due ELSE o.next_at END,
        ready = CASE WHEN NEW.send_after IS DISTINCT FROM OLD.send_after THEN due <= now() ELSE o.ready END
    WHERE o.email_id = NEW.id AND o.process_id IS NULL
    RETURNING o.profile INTO carrier;
    PERFORM pg_notify('router_outbox', coalesce(carrier, ''));
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION crm.requeue_email IS 'Carries what the CRM changes of a pending email into the queue: when it is due, its lane and its priority.';
CREATE TRIGGER requeue_email AFTER UPDATE OF send_after, lane, priority ON crm.email FOR EACH ROW
    WHEN (OLD.status = 'pending_send' AND NEW.status = 'pending_send'
        AND (NEW.send_after, NEW.lane, NEW.priority) IS DISTINCT FROM (OLD.send_after, OLD.lane, OLD.priority))
    EXECUTE FUNCTION crm.requeue_email();

-- --- Relays ---------------------------------------------------------------------------------------------------------

ALTER TABLE router.relay
    ADD COLUMN state text NOT NULL DEFAULT 'paused' CHECK (state IN ('paused', 'login_refused')),
    ADD COLUMN failures int NOT NULL DEFAULT 1,
    ADD COLUMN probed_by uuid;
COMMENT ON TABLE router.relay IS
    'The outgoing profiles whose relay cannot be used now, and why, in words for an admin. Nothing is claimed for them.';
COMMENT ON COLUMN router.relay.state IS 'paused, or login_refused, which is tried less often. A relay without a row here works.';
COMMENT ON COLUMN router.relay.failures IS 'How often in a row it failed: the pauses grow with it.';
COMMENT ON COLUMN router.relay.probed_by IS 'The process that tries it now; no other does meanwhile, while that process is seen.';

CREATE TABLE router.rate (
    profile text PRIMARY KEY,
    next_at timestamptz NOT NULL DEFAULT '-infinity'
);
COMMENT ON TABLE router.rate IS 'Of outgoing profiles with a rate: when the next email would be due if all came evenly (GCRA).';

ALTER TABLE router.attempt ADD COLUMN relay text, ADD COLUMN replies jsonb;
COMMENT ON COLUMN router.attempt.relay IS 'Where the relay is: host and port.';
COMMENT ON COLUMN router.attempt.replies IS
    'What became of the recipients: [{"state": …, "code": …, "text": the server''s words, "recipients": [address, …]}].';
