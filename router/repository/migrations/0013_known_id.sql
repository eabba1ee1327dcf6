-- An email that the CRM inserts is known by its Message-ID without a lock on router.message_id: others would wait for it
-- as long as the CRM keeps its transaction open.

CREATE TABLE router.known_id (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash bytea NOT NULL CHECK (length(hash) = 16),
    email_id uuid NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX known_id_hash ON router.known_id (hash);
COMMENT ON TABLE router.known_id IS
    'Message-IDs, as hashes, of emails that the CRM inserted as sent or received. A router moves them to router.message_id.';

CREATE OR REPLACE FUNCTION crm.know_message_id() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    -- What a router promotes it writes to router.message_id itself, where it has locked the id.
    IF current_setting('email_router.knows_ids', true) IS DISTINCT FROM 'yes' THEN
        INSERT INTO router.known_id (hash, email_id) VALUES (router.message_id_hash(NEW.message_id), NEW.id);
    END IF;
    RETURN NULL;
END
$$;
