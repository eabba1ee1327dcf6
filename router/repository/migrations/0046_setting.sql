-- Settings of the organization.

CREATE TABLE crm.setting (
    name text PRIMARY KEY,
    value jsonb NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    changed_by text NOT NULL DEFAULT current_user
);
COMMENT ON TABLE crm.setting IS 'Settings of the organization: what the router does where nothing narrower says otherwise.';
COMMENT ON COLUMN crm.setting.name IS 'The name of the setting, such as smart-matching.';
COMMENT ON COLUMN crm.setting.value IS 'Its value, as JSON. One that the router cannot use counts as none.';
COMMENT ON COLUMN crm.setting.changed_at IS 'When it was set.';
COMMENT ON COLUMN crm.setting.changed_by IS 'Who set it.';

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'email_router_crm') THEN
        GRANT SELECT ON crm.setting TO email_router_crm;
    END IF;
END
$$;
