-- Settings of the organization and of owners, who is never tracked, and private emails.

CREATE FUNCTION crm.setting_fault(name text, value jsonb) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN name IN ('token_prefixes', 'legacy_tokens') THEN
            CASE WHEN jsonb_typeof(value) = 'array' AND NOT jsonb_path_exists(value, '$[*] ? (@.type() != "string")')
                THEN CASE WHEN jsonb_array_length(value) NOT BETWEEN 1 AND 10 THEN format('%s must be a list of 1 to 10 texts', name) END
                ELSE format('%s must be a list of 1 to 10 texts', name) END
        WHEN name = 'token_in_subject' THEN
            CASE WHEN jsonb_typeof(value) <> 'boolean' THEN format('%s must be true or false', name) END
        WHEN name = 'smart_matching_threshold' THEN
            CASE WHEN value::text !~ '^([5-9][0-9]|100)$'
                THEN format('%s must be a whole number from 50 to 100', name) END
        WHEN s.choices IS NULL THEN format('there is no setting %s', name)
        WHEN s.several THEN CASE WHEN jsonb_typeof(value) <> 'array' OR value = '[]' OR NOT to_jsonb(s.choices) @> value
            THEN format('%s must be a list of some of %s', name, array_to_string(s.choices, ', ')) END
        WHEN jsonb_typeof(value) <> 'string' OR NOT value #>> '{}' = ANY(s.choices)
            THEN format('%s must be one of %s', name, array_to_string(s.choices, ', '))
    END
    FROM (SELECT CASE name
        WHEN 'rule' THEN '{all,replies,known,email-enabled,none}'::text[]
        WHEN 'allowed_rules' THEN '{all,replies,known,email-enabled,none}'
        WHEN 'internal_mail' THEN '{none,one,two}'
        WHEN 'internal_mail_to_queues' THEN '{track,ignore}'
        WHEN 'several_matches' THEN '{by-kind,oldest,unresolved}'
        WHEN 'private_emails' THEN '{placeholder,nothing}'
        WHEN 'smart_matching' THEN '{off,suggest,link}'
    END AS choices, name = 'allowed_rules' AS several) AS s
$$;
COMMENT ON FUNCTION crm.setting_fault IS 'Why a setting cannot have this value, in words; null: it can.';

CREATE TABLE crm.setting (
    name text PRIMARY KEY,
    value jsonb NOT NULL,
    locked boolean NOT NULL DEFAULT false,
    by text NOT NULL DEFAULT current_user,
    at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT setting_value CHECK (crm.setting_fault(name, value) IS NULL),
    CONSTRAINT setting_rule_is_locked CHECK (name <> 'rule' OR locked)
);
COMMENT ON TABLE crm.setting IS
    'What the organization has chosen about tracking and correlation: email-router settings list. Only the router''s role may write here.';
COMMENT ON COLUMN crm.setting.name IS 'Such as internal_mail; docs/tracking.md lists them.';
COMMENT ON COLUMN crm.setting.value IS 'As JSON: a word, a list of words, true, false or a number; a wrong one is refused.';
COMMENT ON COLUMN crm.setting.locked IS 'Whether it holds whatever a profile or an owner says.';
COMMENT ON COLUMN crm.setting.by IS 'Who chose it.';
COMMENT ON COLUMN crm.setting.at IS 'When.';

COMMENT ON COLUMN crm.owner.settings IS
    'What this owner has chosen, such as {"internal_mail": "none"}: email-router settings list --owner. A wrong value is refused.';

CREATE FUNCTION crm.locked_rule() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT s.value #>> '{}' FROM crm.setting AS s WHERE s.name = 'rule' AND s.locked
$$;
COMMENT ON FUNCTION crm.locked_rule IS 'The tracking rule that the organization has locked for all owners; null: each has one of its own.';

CREATE FUNCTION crm.guard_settings() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    fault text;
BEGIN
    IF TG_OP = 'INSERT' OR NEW.settings IS DISTINCT FROM OLD.settings THEN
        IF jsonb_typeof(NEW.settings) <> 'object' THEN
            PERFORM crm.refuse('settings must be an object', 'Such as {"internal_mail": "none"}.');
        END IF;
        -- What an older version let in stays until somebody changes it; it is passed over, and told.
        SELECT coalesce(crm.setting_fault(s.key, s.value),
                format('%s is not an owner''s to choose in settings', s.key)) INTO fault
        FROM jsonb_each(NEW.settings) AS s
        WHERE (TG_OP = 'INSERT' OR OLD.settings -> s.key IS DISTINCT FROM s.value)
            AND (crm.setting_fault(s.key, s.value) IS NOT NULL
                OR s.key NOT IN ('internal_mail', 'internal_mail_to_queues', 'several_matches', 'smart_matching'))
        LIMIT 1;
        IF fault IS NOT NULL THEN
            PERFORM crm.refuse(fault, 'See "email-router settings list".');
        END IF;
    END IF;
    IF NEW.tracking_rule IS NOT NULL AND (TG_OP = 'INSERT' OR NEW.tracking_rule IS DISTINCT FROM OLD.tracking_rule) THEN
        IF crm.locked_rule() <> NEW.tracking_rule THEN
            PERFORM crm.refuse(format('the organization has locked the rule %s', crm.locked_rule()),
                'See "email-router settings list".');
        END IF;
        IF EXISTS (SELECT FROM crm.setting AS s WHERE s.name = 'allowed_rules' AND NOT s.value ? NEW.tracking_rule) THEN
            PERFORM crm.refuse(format('the organization does not allow the rule %s', NEW.tracking_rule),
                'See "email-router settings list".');
        END IF;
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION crm.guard_settings IS 'Refuses settings that are none, and a rule that the organization does not allow, in words.';
CREATE TRIGGER guard_settings BEFORE INSERT OR UPDATE OF settings, tracking_rule ON crm.owner
    FOR EACH ROW EXECUTE FUNCTION crm.guard_settings();

-- --- Never tracked --------------------------------------------------------------------------------------------------

CREATE TABLE router.never_track (
    pattern text NOT NULL CHECK (pattern ~ '^(\*\.)?[^*]+$' AND pattern = lower(pattern)),
    owner_id uuid,
    by text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    UNIQUE NULLS NOT DISTINCT (pattern, owner_id)
);
COMMENT ON TABLE router.never_track IS 'Whose mail is never tracked: email-router never-track.';
COMMENT ON COLUMN router.never_track.pattern IS 'An address; a domain; or *. and a domain: that one and all below it. Normalized.';
COMMENT ON COLUMN router.never_track.owner_id IS 'For whom; null: for the whole organization.';
COMMENT ON COLUMN router.never_track.by IS 'Who said so.';

-- --- Candidates -----------------------------------------------------------------------------------------------------

ALTER TABLE crm.party ADD COLUMN candidates uuid[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN crm.party.candidates IS
    'The records that have the address of an unresolved sender, where the setting several_matches leaves it to people.';

-- --- Who decided ----------------------------------------------------------------------------------------------------

ALTER TABLE crm.email ADD COLUMN tracking_rule text;
COMMENT ON COLUMN crm.email.tracking_rule IS
    'The rule by which the copy of owner_id was made an email; null: it was not promoted, or before this was noted.';

-- --- Private emails -------------------------------------------------------------------------------------------------

ALTER TABLE crm.email ADD COLUMN private boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN crm.email.private IS 'Whether only the owners who sent or received it see it: crm.visible_emails.';

CREATE FUNCTION crm.visible_emails(
    owner uuid, at_most int DEFAULT 50, before timestamptz DEFAULT 'infinity',
    before_id uuid DEFAULT 'ffffffff-ffff-ffff-ffff-ffffffffffff')
    RETURNS TABLE (
        id uuid, created_at timestamptz, dated_at timestamptz, received_at timestamptz, sent_at timestamptz,
        hidden boolean, private boolean, direction text, status text, subject text, owner_id uuid, regarding_id uuid)
    LANGUAGE sql STABLE AS $$
    SELECT e.id, e.created_at, e.dated_at, e.received_at, e.sent_at, v.hidden, e.private,
        CASE WHEN NOT v.hidden THEN e.direction END, CASE WHEN NOT v.hidden THEN e.status END,
        CASE WHEN NOT v.hidden THEN e.subject END, CASE WHEN NOT v.hidden THEN e.owner_id END,
        CASE WHEN NOT v.hidden THEN e.regarding_id END
    FROM crm.email AS e
    CROSS JOIN LATERAL (
        SELECT e.private AND e.owner_id IS DISTINCT FROM owner
            AND (SELECT r.owner_id FROM crm.receipt AS r WHERE r.email_id = e.id AND r.owner_id = owner) IS NULL AS hidden
    ) AS v
    WHERE (e.created_at, e.id) < (before, before_id) AND (
        NOT v.hidden
        OR coalesce((SELECT s.value #>> '{}' FROM crm.setting AS s WHERE s.name = 'private_emails'), 'placeholder')
            = 'placeholder')
    ORDER BY e.created_at DESC, e.id DESC LIMIT at_most
$$;
COMMENT ON FUNCTION crm.visible_emails IS
    'The newest emails that an owner may see; with created_at and id of the last one, those before it. Of a private one only those who sent or received it see more '
    'than its id and times (hidden), or see that there is one: the setting private_emails.';

-- --- The CRM's role -------------------------------------------------------------------------------------------------

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'email_router_crm') THEN
        GRANT SELECT ON crm.setting TO email_router_crm;
        GRANT INSERT (private), UPDATE (private) ON crm.email TO email_router_crm;
    END IF;
END
$$;
