-- Who chose what for an owner, and when; crm.setting tells it of the organization.
ALTER TABLE crm.owner ADD COLUMN settings_by jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN crm.owner.settings_by IS
    'Who last changed each of settings, and the tracking rule ("rule"), and when: {"rule": {"by": "ann", "at": "2026-11-29T10:00:00+00:00"}}.';

CREATE FUNCTION crm.note_settings() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    who text := current_user;
    before jsonb := '{}';
    after jsonb := NEW.settings || jsonb_build_object('rule', NEW.tracking_rule);
BEGIN
    IF TG_OP = 'UPDATE' THEN
        -- What an older version let in may be no object.
        before := CASE WHEN jsonb_typeof(OLD.settings) = 'object' THEN OLD.settings ELSE '{}' END
            || jsonb_build_object('rule', OLD.tracking_rule);
    END IF;
    -- A person may give their name by the router's commands only.
    IF has_schema_privilege('router', 'USAGE') THEN
        who := coalesce(nullif(current_setting('router.chosen_by', true), ''), who);
    END IF;
    NEW.settings_by := NEW.settings_by || coalesce((
        SELECT jsonb_object_agg(k.name, jsonb_build_object('by', who, 'at', now()))
        FROM jsonb_object_keys(before || after) AS k (name)
        WHERE coalesce(before -> k.name, 'null') <> coalesce(after -> k.name, 'null')
    ), '{}');
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION crm.note_settings IS 'Notes who changed an owner''s settings or rule, and when.';
-- After guard_settings: what that one refuses is nobody's choice.
CREATE TRIGGER note_settings BEFORE INSERT OR UPDATE OF settings, tracking_rule ON crm.owner
    FOR EACH ROW EXECUTE FUNCTION crm.note_settings();
