-- What somebody has got cannot be changed for the others: both would be told by the same Message-ID.

CREATE FUNCTION crm.refuse_another_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM crm.delivery AS d WHERE d.email_id = OLD.id AND d.state IN ('accepted', 'delayed')) THEN
        PERFORM crm.refuse(
            format('email %s was taken for some of its recipients, so that it cannot be changed any more', OLD.id),
            'Set it to canceled, and write another to those who did not get it: see crm.delivery.');
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION crm.refuse_another_version IS
    'Refuses to set an email back to draft that a relay has taken for somebody: the others would get another version of it.';
-- By its name after guard_email, which refuses moves that there are not.
CREATE TRIGGER later_refuse_another_version BEFORE UPDATE OF status ON crm.email FOR EACH ROW
    WHEN (NEW.status = 'draft' AND OLD.status <> 'draft') EXECUTE FUNCTION crm.refuse_another_version();
