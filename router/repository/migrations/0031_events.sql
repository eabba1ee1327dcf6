-- An event for each change of an outgoing email, whoever makes it, and what a person says of an unknown one.
-- While a router of before runs on, some moves are told twice.

CREATE FUNCTION router.is_person() RETURNS boolean LANGUAGE sql STABLE AS $$
    -- The CRM, and whoever else writes SQL; a trigger of the CRM's in a router's transaction, too.
    SELECT current_setting('email_router.knows_ids', true) IS DISTINCT FROM 'yes' OR pg_trigger_depth() > 1
        OR NOT has_schema_privilege(session_user, 'router', 'USAGE')
$$;
COMMENT ON FUNCTION router.is_person IS 'Whether the trigger that asks was set off by somebody else than a router.';

CREATE FUNCTION crm.tell_move() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    person boolean := router.is_person();
BEGIN
    INSERT INTO crm.event (kind, email_id, details) VALUES (
        NEW.status, NEW.id, jsonb_strip_nulls(jsonb_build_object(
            'old', OLD.status, 'by', CASE WHEN person THEN session_user ELSE 'router' END,
            'reason', left(NEW.status_reason, 1000),
            'send_after', CASE WHEN NEW.status = 'pending_send' THEN NEW.send_after END)));
    IF person AND OLD.status = 'unknown' AND NEW.status IN ('sent', 'failed') THEN
        UPDATE crm.delivery SET state = CASE NEW.status WHEN 'sent' THEN 'accepted' ELSE 'given_up' END, at = now(),
            text = CASE NEW.status WHEN 'sent' THEN 'it arrived, ' ELSE 'it did not arrive, ' END || session_user || ' said'
        WHERE email_id = NEW.id AND state = 'unknown';
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION crm.tell_move IS 'Writes an event for each move of an outgoing email, and settles recipients of whom a person speaks.';
-- Not that it is being sent, nor that it is pending again where nothing happened: each other move has a kind of its name.
CREATE TRIGGER tell_move AFTER UPDATE OF status ON crm.email FOR EACH ROW
    WHEN (NEW.status IS DISTINCT FROM OLD.status AND NEW.direction = 'out' AND NEW.status <> 'sending'
        AND NOT (OLD.status = 'sending' AND NEW.status = 'pending_send' AND NEW.status_reason IS NULL))
    EXECUTE FUNCTION crm.tell_move();

CREATE FUNCTION crm.tell_recipient() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    INSERT INTO crm.event (kind, email_id, details) VALUES (
        NEW.state, NEW.email_id,
        jsonb_build_object('address', NEW.address, 'code', NEW.code, 'reason', left(NEW.text, 1000)));
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION crm.tell_recipient IS 'Writes an event for each recipient who is known not to get an email.';
CREATE TRIGGER tell_recipient AFTER INSERT ON crm.delivery FOR EACH ROW
    WHEN (NEW.state IN ('refused', 'given_up')) EXECUTE FUNCTION crm.tell_recipient();
CREATE TRIGGER tell_changed_recipient AFTER UPDATE OF state ON crm.delivery FOR EACH ROW
    WHEN (NEW.state IN ('refused', 'given_up') AND NEW.state IS DISTINCT FROM OLD.state)
    EXECUTE FUNCTION crm.tell_recipient();

-- Never validated: of what was told before, nothing is taken back.
ALTER TABLE crm.event ADD CONSTRAINT event_kind CHECK (kind IN (
    'promoted', 'received', 'correlated', 'draft', 'pending_send', 'sent', 'failed', 'unknown', 'canceled',
    'refused', 'given_up', 'delayed', 'accepted', 'complaint')) NOT VALID;
COMMENT ON COLUMN crm.event.kind IS
    'promoted, received (another owner''s copy), correlated (with an email that came later); of an outgoing email its new status: '
    'draft, pending_send, sent, failed, unknown, canceled; of one recipient: refused, given_up, delayed, accepted (by a report), complaint.';
COMMENT ON COLUMN crm.event.details IS
    'Who, what and why. promoted: owner_id, rule; received: owner_id; correlated: correlated_id, method; a status: old, by (router, or '
    'the session''s user), reason, send_after; a recipient: address, code, reason.';
