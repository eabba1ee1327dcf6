-- Acknowledgements by a template of which something was made go ahead of all others, which wait in a lane of their own.

-- The CRM may keep a template locked: what the router knows of it is nobody else's.
CREATE TABLE router.template (
    name text PRIMARY KEY,
    changed_at timestamptz NOT NULL,
    proven boolean NOT NULL DEFAULT false,
    tried_until timestamptz NOT NULL DEFAULT '-infinity'
);
COMMENT ON TABLE router.template IS 'What the router knows of a crm.template, as its texts were at one time.';
COMMENT ON COLUMN router.template.changed_at IS 'As crm.template.changed_at was: once that is another, nothing of this holds any more.';
COMMENT ON COLUMN router.template.proven IS 'Whether something was made of it the last time, so that its acknowledgements are in the quick lane.';
COMMENT ON COLUMN router.template.tried_until IS 'Until when no other process tries it: one does, unless it died.';

COMMENT ON COLUMN crm.template.failures IS
    'How often nothing could be made of it as it is, a day without failure apart: the pauses grow with it. Written by the router.';

-- --- The lanes ------------------------------------------------------------------------------------------------------

UPDATE router.acknowledgement SET for_template = false, fault = NULL, due_at = now() WHERE for_template;
COMMENT ON COLUMN router.acknowledgement.for_template IS
    'Whether it is in the slow lane: its template is not proven, or failed for this email.';
ALTER TABLE router.acknowledgement ADD COLUMN failed_as timestamptz;
COMMENT ON COLUMN router.acknowledgement.failed_as IS 'crm.template.changed_at of the texts that failed for this email; null: none did.';
COMMENT ON COLUMN router.acknowledgement.due_at IS
    'When it is tried next, and while it is being tried, when another process may; of what waits for its template, when that is given up.';

DROP INDEX router.acknowledgement_due;
CREATE INDEX acknowledgement_quick ON router.acknowledgement (due_at) WHERE NOT for_template;
CREATE INDEX acknowledgement_slow ON router.acknowledgement (owner_id, due_at) WHERE for_template;

-- What waits for it is found by the router: it may be thousands, and the CRM waits for none of them.
CREATE OR REPLACE FUNCTION crm.change_template() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    IF (NEW.subject, NEW.text_body, NEW.html_body) IS DISTINCT FROM (OLD.subject, OLD.text_body, OLD.html_body) THEN
        NEW.changed_at := now();
        NEW.fault := NULL;
        NEW.failures := 0;
        NEW.next_try_at := NULL;
    END IF;
    RETURN NEW;
END
$$;
