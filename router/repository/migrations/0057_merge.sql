-- A CRM merges one record into another.

CREATE TABLE router.merge (
    from_id uuid PRIMARY KEY,
    into_id uuid NOT NULL,
    by text NOT NULL CHECK (by <> ''),
    at timestamptz NOT NULL DEFAULT now(),
    boundary xid8,
    try_at timestamptz NOT NULL DEFAULT now(),
    done_at timestamptz,
    last_change bigint,
    parties bigint NOT NULL DEFAULT 0,
    emails bigint NOT NULL DEFAULT 0,
    fault text,
    CONSTRAINT merge_of_two CHECK (from_id <> into_id)
);
CREATE INDEX merge_due ON router.merge (try_at) WHERE done_at IS NULL;
CREATE INDEX merge_into ON router.merge (into_id);
COMMENT ON TABLE router.merge IS
    'Records that were merged into others. What names them is moved in pieces; the router that comes first does the next one.';
COMMENT ON COLUMN router.merge.boundary IS
    'Transactions before this one may still write the merged record. What is looked through after the end of all of them is done.';
COMMENT ON COLUMN router.merge.last_change IS
    'Of router.regarding_change, which is not rewritten, rows up to this one mean the other record; all, until it is done.';
COMMENT ON COLUMN router.merge.fault IS 'Why the last piece could not be moved; it is tried again.';

CREATE FUNCTION router.merge_records(of_record uuid, to_record uuid, by_whom text, OUT refused text) LANGUAGE plpgsql AS $$
DECLARE
    mailbox text;
    other router.merge;
BEGIN
    IF of_record IS NULL OR to_record IS NULL OR of_record = to_record THEN
        refused := 'name two records: one that goes, and another that stays';
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('router.merge', 0));
    IF NOT EXISTS (SELECT FROM crm.record AS r WHERE r.id = to_record AND r.active) THEN
        refused := format('there is no active record %s to merge into', to_record);
        RETURN;
    END IF;
    SELECT coalesce(o.mailbox, 'none yet') INTO mailbox FROM crm.owner AS o WHERE o.record_id = of_record;
    IF mailbox IS NOT NULL THEN
        refused := CASE
            WHEN EXISTS (SELECT FROM crm.owner AS o WHERE o.record_id = to_record)
            THEN format('both records are owners with a mailbox, and two mailboxes cannot be merged: record %s has %s', of_record, mailbox)
            ELSE format('record %s is an owner with a mailbox (%s): merge the other record into it', of_record, mailbox)
        END;
        RETURN;
    END IF;
    SELECT * INTO other FROM router.merge AS m WHERE m.from_id = to_record AND m.into_id <> of_record AND m.done_at IS NULL;
    IF other.from_id IS NOT NULL THEN
        refused := format('record %s is being merged into record %s', to_record, other.into_id);
        RETURN;
    END IF;
    IF NOT EXISTS (SELECT FROM crm.record AS r WHERE r.id = of_record)
        AND NOT EXISTS (SELECT FROM crm.party AS p WHERE p.record_id = of_record)
        AND NOT EXISTS (SELECT FROM crm.email AS e WHERE e.regarding_id = of_record)
        AND NOT EXISTS (SELECT FROM router.merge AS m WHERE m.from_id = of_record)
    THEN
        refused := format('there is no record %s', of_record);
        RETURN;
    END IF;
    -- What was merged into the one that goes, goes with it; who comes back is merged into nobody any more.
    DELETE FROM router.merge AS m WHERE m.from_id = to_record AND m.into_id = of_record;
    UPDATE router.merge AS m SET into_id = to_record WHERE m.into_id = of_record;
    INSERT INTO router.merge AS m (from_id, into_id, by) VALUES (of_record, to_record, by_whom)
    ON CONFLICT (from_id) DO UPDATE SET into_id = excluded.into_id, by = excluded.by, at = now(), boundary = NULL,
        try_at = now(), done_at = NULL, last_change = NULL, fault = NULL;
    UPDATE router.ruling AS r SET record_id = to_record WHERE r.record_id = of_record;
    DELETE FROM router.never_track AS n
    WHERE n.owner_id = of_record
        AND EXISTS (SELECT FROM router.never_track AS o WHERE o.pattern = n.pattern AND o.owner_id = to_record);
    UPDATE router.never_track AS n SET owner_id = to_record WHERE n.owner_id = of_record;
    -- Where these are views, their rows are the CRM's to change.
    IF router.is_table('crm.address') THEN
        INSERT INTO crm.address (address, record_id)
        SELECT a.address, to_record FROM crm.address AS a WHERE a.record_id = of_record ORDER BY a.address
        ON CONFLICT DO NOTHING;
        DELETE FROM crm.address AS a WHERE a.record_id = of_record;
    END IF;
    IF router.is_table('crm.record') THEN
        UPDATE crm.record AS r SET active = false WHERE r.id = of_record AND r.active;
    END IF;
END
$$;
COMMENT ON FUNCTION router.merge_records IS
    'Begins to merge a record into another: addresses and rulings at once, so that new mail is the other''s; the rest in pieces. Or says why not.';

CREATE FUNCTION router.is_table(relation regclass) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT c.relkind IN ('r', 'p') FROM pg_class AS c WHERE c.oid = relation
$$;
COMMENT ON FUNCTION router.is_table IS 'Whether the CRM has not put a view in the place of a table.';

CREATE FUNCTION crm.merge_records(from_id uuid, into_id uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    refused text := (SELECT m.refused FROM router.merge_records(from_id, into_id, session_user) AS m);
BEGIN
    IF refused IS NOT NULL THEN
        PERFORM crm.refuse(refused, 'crm.merge_records(from_id, into_id): the first goes, the second stays.');
    END IF;
END
$$;
COMMENT ON FUNCTION crm.merge_records IS
    'Merges a record into another: its addresses and rulings now, its parties and what emails are about within seconds (crm.merge tells). The '
    'merged one stays, not active any more. Again, it goes on, or does nothing.';

CREATE VIEW crm.merge AS
SELECT m.from_id, m.into_id, m.by, m.at, m.done_at IS NOT NULL AS is_done, m.parties, m.emails, m.fault FROM router.merge AS m;
COMMENT ON VIEW crm.merge IS
    'Records that were merged into others. is_done: nothing of the emails names the merged one any more. parties, emails: how many parties, and '
    'emails by what they are about or whose they are, were moved. fault: why it does not go on.';

-- What a thread is about, said before the merge, is the record that stayed.
CREATE OR REPLACE FUNCTION router.thread_regarding(email_id uuid) RETURNS uuid LANGUAGE sql STABLE AS $$
    WITH up AS MATERIALIZED (SELECT * FROM router.thread_above(email_id)),
    changed AS (
        SELECT c.id, c.regarding_id
        FROM up CROSS JOIN LATERAL (
            SELECT * FROM router.regarding_change AS c WHERE c.first_id = up.id ORDER BY c.id DESC LIMIT 1
        ) AS c
        ORDER BY c.id DESC LIMIT 1
    ),
    found AS (
        SELECT c.id, c.regarding_id FROM changed AS c
        UNION ALL
        (
            SELECT NULL, up.regarding_id FROM up
            WHERE up.regarding_id IS NOT NULL AND NOT EXISTS (SELECT FROM changed) ORDER BY up.distance LIMIT 1
        )
    )
    SELECT coalesce(
        (
            SELECT m.into_id FROM router.merge AS m
            WHERE m.from_id = f.regarding_id AND (m.done_at IS NULL OR f.id <= m.last_change)
        ), f.regarding_id)
    FROM found AS f
$$;

REVOKE EXECUTE ON FUNCTION crm.merge_records FROM PUBLIC;
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'email_router_crm') THEN
        GRANT SELECT ON crm.merge TO email_router_crm;
        GRANT EXECUTE ON FUNCTION crm.merge_records TO email_router_crm;
    END IF;
END
$$;
