-- Which private emails of others an owner received, in the order in which they are shown. What was there before is filled in later.

CREATE TABLE router.private_receipt (
    email_id uuid NOT NULL,
    owner_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (email_id, owner_id),
    FOREIGN KEY (email_id, owner_id) REFERENCES crm.receipt ON DELETE CASCADE
);
CREATE INDEX private_receipt_order ON router.private_receipt (owner_id, created_at, email_id);
COMMENT ON TABLE router.private_receipt IS
    'The receipts of private emails, for crm.visible_emails. One of an email that is not private any more does no harm.';
COMMENT ON COLUMN router.private_receipt.created_at IS 'That of the email.';

CREATE FUNCTION router.note_receipts() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    INSERT INTO router.private_receipt (email_id, owner_id, created_at)
    SELECT r.email_id, r.owner_id, e.created_at FROM added AS r JOIN crm.email AS e ON e.id = r.email_id
    WHERE e.private ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION router.note_receipts IS 'Notes who else receives a private email.';
CREATE TRIGGER note_receipts AFTER INSERT ON crm.receipt REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION router.note_receipts();

CREATE FUNCTION router.lock_private() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    -- As a receipt's reference to the email does not share: either of the two transactions sees the other.
    PERFORM FROM crm.email AS e WHERE e.id = OLD.id FOR UPDATE;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION router.lock_private IS 'Has an email that becomes private, and a new receipt of it, wait for one another.';
CREATE TRIGGER lock_private BEFORE UPDATE OF private ON crm.email FOR EACH ROW
    WHEN (NEW.private AND NOT OLD.private) EXECUTE FUNCTION router.lock_private();

CREATE FUNCTION router.note_private() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    IF NEW.private THEN
        INSERT INTO router.private_receipt (email_id, owner_id, created_at)
        SELECT r.email_id, r.owner_id, NEW.created_at FROM crm.receipt AS r WHERE r.email_id = NEW.id ON CONFLICT DO NOTHING;
    ELSE
        DELETE FROM router.private_receipt AS r WHERE r.email_id = NEW.id;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION router.note_private IS 'Notes who received an email that becomes private.';
CREATE TRIGGER note_private AFTER UPDATE OF private ON crm.email FOR EACH ROW
    WHEN (NEW.private IS DISTINCT FROM OLD.private) EXECUTE FUNCTION router.note_private();
