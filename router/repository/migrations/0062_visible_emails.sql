-- A page of what an owner may see costs the same, however many private emails of others lie between. Triggers look after new receipts.
INSERT INTO router.private_receipt (email_id, owner_id, created_at)
SELECT r.email_id, r.owner_id, e.created_at FROM crm.email AS e JOIN crm.receipt AS r ON r.email_id = e.id WHERE e.private
ON CONFLICT DO NOTHING;

CREATE OR REPLACE FUNCTION crm.visible_emails(
    owner uuid, at_most int DEFAULT 50, before timestamptz DEFAULT 'infinity',
    before_id uuid DEFAULT 'ffffffff-ffff-ffff-ffff-ffffffffffff')
    RETURNS TABLE (
        id uuid, created_at timestamptz, dated_at timestamptz, received_at timestamptz, sent_at timestamptz,
        hidden boolean, private boolean, direction text, status text, subject text, owner_id uuid, regarding_id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT e.id, e.created_at, e.dated_at, e.received_at, e.sent_at, v.hidden, e.private,
        CASE WHEN NOT v.hidden THEN e.direction END, CASE WHEN NOT v.hidden THEN e.status END,
        CASE WHEN NOT v.hidden THEN e.subject END, CASE WHEN NOT v.hidden THEN e.owner_id END,
        CASE WHEN NOT v.hidden THEN e.regarding_id END
    FROM (
        -- Each of them in the order of an index, and all that it gives is shown.
        (
            SELECT e.created_at, e.id FROM crm.email AS e
            WHERE NOT e.private AND (e.created_at, e.id) < (before, before_id)
            ORDER BY e.created_at DESC, e.id DESC LIMIT at_most
        )
        UNION
        (
            SELECT e.created_at, e.id FROM crm.email AS e
            WHERE e.private AND e.owner_id = owner AND (e.created_at, e.id) < (before, before_id)
            ORDER BY e.created_at DESC, e.id DESC LIMIT at_most
        )
        UNION
        (
            SELECT r.created_at, r.email_id FROM router.private_receipt AS r
            WHERE r.owner_id = owner AND (r.created_at, r.email_id) < (before, before_id)
            ORDER BY r.created_at DESC, r.email_id DESC LIMIT at_most
        )
        UNION
        (
            SELECT e.created_at, e.id FROM crm.email AS e
            WHERE e.private AND (e.created_at, e.id) < (before, before_id)
                AND coalesce((SELECT s.value #>> '{}' FROM crm.setting AS s WHERE s.name = 'private_emails'), 'placeholder')
                    = 'placeholder'
            ORDER BY e.created_at DESC, e.id DESC LIMIT at_most
        )
        ORDER BY 1 DESC, 2 DESC LIMIT at_most
    ) AS page
    JOIN crm.email AS e ON e.id = page.id
    CROSS JOIN LATERAL (
        SELECT e.private AND e.owner_id IS DISTINCT FROM owner
            AND (SELECT r.owner_id FROM crm.receipt AS r WHERE r.email_id = e.id AND r.owner_id = owner) IS NULL AS hidden
    ) AS v
    ORDER BY e.created_at DESC, e.id DESC
$$;
REVOKE EXECUTE ON FUNCTION crm.visible_emails FROM PUBLIC;
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'email_router_crm') THEN
        GRANT EXECUTE ON FUNCTION crm.visible_emails TO email_router_crm;
    END IF;
END
$$;

DROP INDEX crm.email_created;
