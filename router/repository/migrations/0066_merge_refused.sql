-- A merge goes on beside what the CRM's SQL refuses; and two merges, or a merge and a ruling, are as if one came first.

-- --- What is refused ------------------------------------------------------------------------------------------------

CREATE TABLE router.merge_refused (
    from_id uuid NOT NULL REFERENCES router.merge ON DELETE CASCADE,
    kind text NOT NULL,
    key text NOT NULL,
    attempts int NOT NULL DEFAULT 1,
    try_at timestamptz NOT NULL,
    fault text NOT NULL,
    PRIMARY KEY (from_id, kind, key)
);
CREATE INDEX merge_refused_due ON router.merge_refused (from_id, try_at);
COMMENT ON TABLE router.merge_refused IS
    'What a merge could not move, as where a trigger of the CRM''s raises an error: set aside, and tried again alone.';
COMMENT ON COLUMN router.merge_refused.kind IS 'The table and the column that name the merged record.';
COMMENT ON COLUMN router.merge_refused.key IS 'Which row: the email, the record, the address or the ruling.';
COMMENT ON COLUMN router.merge_refused.try_at IS 'When it is tried again: after seconds at first, and at last once an hour.';

ALTER TABLE router.merge ADD COLUMN attempts int NOT NULL DEFAULT 0;
COMMENT ON COLUMN router.merge.attempts IS 'How often in a row nothing could be moved: the next try waits longer each time.';

CREATE OR REPLACE VIEW crm.merge AS
SELECT m.from_id, m.into_id, m.by, m.at, m.done_at IS NOT NULL AS is_done, m.parties, m.emails,
    coalesce(m.fault, (
        SELECT f.kind || ' of ' || f.key || ': ' || f.fault FROM router.merge_refused AS f
        WHERE f.from_id = m.from_id ORDER BY f.try_at LIMIT 1
    )) AS fault,
    (SELECT count(*) FROM router.merge_refused AS f WHERE f.from_id = m.from_id) AS refused
FROM router.merge AS m;
COMMENT ON VIEW crm.merge IS
    'Records that were merged into others. is_done: nothing of the emails names the merged one any more. parties, emails: how many parties, and '
    'emails by what they are about or whose they are, were moved. refused: how many rows your SQL does not let be moved; they are tried again, '
    'and the others are moved. fault: why it does not go on, or why the first of these was refused.';

-- --- One merge after another ----------------------------------------------------------------------------------------

CREATE TABLE router.merge_turn (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    merges bigint NOT NULL DEFAULT 0
);
INSERT INTO router.merge_turn DEFAULT VALUES;
COMMENT ON TABLE router.merge_turn IS
    'One row, which each merge changes: who merges waits for who did before, or is told (40001) that it has not seen that merge.';

CREATE INDEX ruling_record ON router.ruling (record_id) WHERE record_id IS NOT NULL;
CREATE INDEX never_track_owner ON router.never_track (owner_id) WHERE owner_id IS NOT NULL;
CREATE INDEX case_owner ON crm.case (owner_id) WHERE owner_id IS NOT NULL;
CREATE INDEX creation_record ON router.creation (record_id) WHERE record_id IS NOT NULL;
CREATE INDEX creation_owner ON router.creation (owner_id);

CREATE OR REPLACE FUNCTION router.merge_records(of_record uuid, to_record uuid, by_whom text, OUT refused text) LANGUAGE plpgsql AS $$
DECLARE
    mailbox text;
    other router.merge;
BEGIN
    IF of_record IS NULL OR to_record IS NULL OR of_record = to_record THEN
        refused := 'name two records: one that goes, and another that stays';
        RETURN;
    END IF;
    -- A lock alone would not do: in REPEATABLE READ, what a merge has done is not seen after it, either.
    UPDATE router.merge_turn SET merges = merges + 1;
    SELECT * INTO other FROM router.merge AS m WHERE m.from_id = to_record AND m.into_id <> of_record;
    IF other.from_id IS NOT NULL
        AND (other.done_at IS NULL OR NOT EXISTS (SELECT FROM crm.record AS r WHERE r.id = to_record AND r.active))
    THEN
        refused := format(CASE
            WHEN other.done_at IS NULL THEN 'record %s is being merged into record %s'
            ELSE 'record %s was merged into record %s: merge into that one'
        END, to_record, other.into_id);
        RETURN;
    END IF;
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
        try_at = now(), done_at = NULL, last_change = NULL, fault = NULL, attempts = 0;
    DELETE FROM router.merge_refused AS f WHERE f.from_id = of_record;
    PERFORM router.move_rulings(ARRAY(SELECT r.id FROM router.ruling AS r WHERE r.record_id = of_record), of_record, to_record);
    DELETE FROM router.never_track AS n
    WHERE n.owner_id = of_record
        AND EXISTS (SELECT FROM router.never_track AS o WHERE o.pattern = n.pattern AND o.owner_id = to_record);
    UPDATE router.never_track AS n SET owner_id = to_record WHERE n.owner_id = of_record;
    UPDATE crm.case AS k SET status = 'closed'
    WHERE k.record_id = of_record AND k.status = 'open' AND EXISTS (SELECT FROM crm.case AS o WHERE o.record_id = to_record);
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

CREATE FUNCTION router.move_rulings(rulings bigint[], of_record uuid, to_record uuid) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    subjects text[] := ARRAY(SELECT DISTINCT r.subject FROM router.ruling AS r WHERE r.id = ANY(rulings) ORDER BY r.subject);
    moved bigint;
BEGIN
    -- In the order of those who carry rulings out: the work, then the rulings.
    PERFORM FROM router.ruling_work AS w WHERE w.subject = ANY(subjects) ORDER BY w.subject FOR UPDATE;
    UPDATE router.ruling AS r SET record_id = to_record WHERE r.id = ANY(rulings) AND r.record_id = of_record;
    GET DIAGNOSTICS moved = ROW_COUNT;
    -- What was ruled of a record that is not active resolved nothing.
    PERFORM router.begin_ruling_work(r.subject) FROM router.ruling AS r
    WHERE r.id = ANY(rulings) AND r.undone_at IS NULL AND r.replaced_by IS NULL;
    RETURN moved;
END
$$;
COMMENT ON FUNCTION router.move_rulings IS
    'Makes what was ruled of a record to be ruled of the one that it is merged into, and has the mail that waits looked at again.';
