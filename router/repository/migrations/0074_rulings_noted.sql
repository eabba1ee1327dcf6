-- Every ruling stands in the audit log, whoever makes it and by whichever way: a page, a command, the API or the CRM.

CREATE FUNCTION router.note_ruling() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    -- ("by" is a word of PL/pgSQL's.) By its number: the address of the sender is in the ruling alone, so that erasing it there is enough.
    IF TG_OP = 'INSERT' THEN
        INSERT INTO router.audit_log (by, action, subject, details)
        VALUES (NEW."by", 'ruling-made', 'ruling ' || NEW.id, jsonb_build_object('kind', NEW.kind));
    ELSE
        INSERT INTO router.audit_log (by, action, subject, details)
        VALUES (NEW.undone_by, 'ruling-undone', 'ruling ' || NEW.id, jsonb_build_object('kind', NEW.kind));
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION router.note_ruling IS 'Notes in the audit log that a ruling was made, or undone.';

CREATE TRIGGER note_ruling AFTER INSERT ON router.ruling FOR EACH ROW EXECUTE FUNCTION router.note_ruling();
CREATE TRIGGER note_ruling_undone AFTER UPDATE OF undone_at ON router.ruling FOR EACH ROW
    WHEN (OLD.undone_at IS NULL AND NEW.undone_at IS NOT NULL) EXECUTE FUNCTION router.note_ruling();
