-- Answers to, and reports on, email that the CRM itself inserted as sent or received, as an import does.

CREATE FUNCTION router.message_id_hash(message_id text) RETURNS bytea
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT substring(sha256(convert_to(message_id, 'UTF8')) FROM 1 FOR 16)
$$;
COMMENT ON FUNCTION router.message_id_hash IS 'As model.message_id_hash: what router.message_id knows a Message-ID by.';

CREATE FUNCTION crm.know_message_id() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    -- The first email of an id keeps it, for as long as there is that email.
    INSERT INTO router.message_id AS m (hash, email_id) VALUES (router.message_id_hash(NEW.message_id), NEW.id)
    ON CONFLICT (hash) DO UPDATE SET email_id = excluded.email_id
        WHERE m.email_id IS NULL OR NOT EXISTS (SELECT FROM crm.email AS e WHERE e.id = m.email_id);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION crm.know_message_id IS 'Lets answers and reports find a sent or received email by its Message-ID.';

-- Not those that the router is about to send: it knows them before they leave, by all their ids.
CREATE TRIGGER know_message_id AFTER INSERT ON crm.email FOR EACH ROW
    WHEN (NEW.message_id IS NOT NULL AND NEW.status IN ('sent', 'received')) EXECUTE FUNCTION crm.know_message_id();
CREATE TRIGGER know_changed_message_id AFTER UPDATE OF message_id ON crm.email FOR EACH ROW
    WHEN (NEW.message_id IS DISTINCT FROM OLD.message_id AND NEW.status IN ('sent', 'received'))
    EXECUTE FUNCTION crm.know_message_id();

INSERT INTO router.message_id AS m (hash, email_id)
SELECT DISTINCT ON (hash) hash, id
FROM (
    SELECT router.message_id_hash(message_id) AS hash, id, created_at FROM crm.email
    WHERE message_id IS NOT NULL AND status IN ('sent', 'received')
) AS e
WHERE NOT EXISTS (SELECT FROM router.message_id AS known WHERE known.hash = e.hash AND known.email_id IS NOT NULL)
ORDER BY hash, created_at
ON CONFLICT (hash) DO UPDATE SET email_id = excluded.email_id WHERE m.email_id IS NULL;

-- And read receipts, which need not name the email that was read in the headers of an answer (RFC 8098).
ALTER TABLE crm.email DROP CONSTRAINT email_correlation_method_check;
ALTER TABLE crm.email ADD CONSTRAINT email_correlation_method_check
    CHECK (correlation_method IN ('in-reply-to', 'references', 'read-receipt', 'private-header', 'token', 'report'));
