-- In a database that was restored from a dump, transactions are numbered anew, from a low number: what happened there came
-- before the events that clients had seen, and those were not told at all.

ALTER TABLE router.installation ADD COLUMN transactions_before bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN router.installation.transactions_before IS
    'Added to the numbers of transactions, so that crm.event.transaction goes on where the database before ended.';

CREATE FUNCTION crm.transactions_before() RETURNS bigint LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    RETURN coalesce((SELECT i.transactions_before FROM router.installation AS i), 0);
END
$$;
COMMENT ON FUNCTION crm.transactions_before IS 'What the number of a transaction is raised by in crm.event: a database that was restored counts anew.';

ALTER TABLE crm.event ALTER COLUMN transaction
    SET DEFAULT (pg_current_xact_id()::text::bigint + crm.transactions_before())::text::xid8;

CREATE FUNCTION crm.events_until() RETURNS xid8 LANGUAGE sql STABLE AS $$
    SELECT (pg_snapshot_xmin(pg_current_snapshot())::text::bigint + crm.transactions_before())::text::xid8
$$;
COMMENT ON FUNCTION crm.events_until IS 'The first transaction whose events are not told yet: it, or one before, is still under way.';

CREATE OR REPLACE FUNCTION crm.events_after(after_transaction xid8 DEFAULT '0', after_id bigint DEFAULT 0, at_most int DEFAULT 1000)
    RETURNS SETOF crm.event LANGUAGE sql STABLE AS $$
    SELECT * FROM crm.event
    WHERE (transaction, id) > (after_transaction, after_id) AND transaction < crm.events_until()
    ORDER BY transaction, id LIMIT at_most
$$;

CREATE FUNCTION router.count_transactions_on() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    here bigint;
    raised bigint;
BEGIN
    LOCK TABLE crm.event IN SHARE ROW EXCLUSIVE MODE;
    here := pg_snapshot_xmax(pg_current_snapshot())::text::bigint + crm.transactions_before();
    -- By more than the clients of the database before can have seen since the dump.
    raised := 1099511627776 + greatest(
        here, (SELECT e.transaction::text::bigint FROM crm.event AS e ORDER BY e.transaction DESC LIMIT 1));
    -- What happened here before an admin said that this is the real one: it came after all that was restored.
    UPDATE crm.event AS e SET transaction = (e.transaction::text::bigint - crm.transactions_before() + raised)::text::xid8
    WHERE e.id > (SELECT max(b.id) FROM crm.event AS b WHERE b.transaction >= here::text::xid8);
    UPDATE router.installation SET transactions_before = raised;
    -- Nobody who had begun before these is still there.
    UPDATE router.ruling_work SET boundary = NULL;
    UPDATE router.merge SET boundary = NULL;
END
$$;
COMMENT ON FUNCTION router.count_transactions_on IS
    'Has a database that was restored go on after the one before: clients miss no event, and no work waits for transactions of that one.';

-- Who is no owner (null) saw the private emails that have none.
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
        SELECT e.private AND (e.owner_id = owner) IS NOT TRUE
            AND (SELECT r.owner_id FROM crm.receipt AS r WHERE r.email_id = e.id AND r.owner_id = owner) IS NULL AS hidden
    ) AS v
    ORDER BY e.created_at DESC, e.id DESC
$$;
