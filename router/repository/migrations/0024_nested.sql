-- What a trigger of the CRM's does to crm.email within a router's transaction is the CRM's doing: the email that it
-- inserts, say, is found by its Message-ID, and what it says that a thread is about counts.

CREATE OR REPLACE FUNCTION crm.know_message_id() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    -- What a router promotes it writes to router.message_id itself, where it has locked the id.
    IF current_setting('email_router.knows_ids', true) IS DISTINCT FROM 'yes' OR pg_trigger_depth() > 1 THEN
        INSERT INTO router.known_id (hash, email_id) VALUES (router.message_id_hash(NEW.message_id), NEW.id);
    END IF;
    RETURN NULL;
END
$$;

-- A condition is asked before its own trigger begins.
CREATE OR REPLACE TRIGGER note_regarding AFTER INSERT ON crm.email FOR EACH ROW
    WHEN (NEW.correlated_id IS NOT NULL AND NEW.regarding_id IS NOT NULL
        AND (current_setting('email_router.knows_ids', true) IS DISTINCT FROM 'yes' OR pg_trigger_depth() > 0))
    EXECUTE FUNCTION crm.note_regarding();
CREATE OR REPLACE TRIGGER note_changed_regarding AFTER UPDATE OF regarding_id ON crm.email FOR EACH ROW
    WHEN (NEW.regarding_id IS DISTINCT FROM OLD.regarding_id
        AND (current_setting('email_router.knows_ids', true) IS DISTINCT FROM 'yes' OR pg_trigger_depth() > 0))
    EXECUTE FUNCTION crm.note_regarding();
