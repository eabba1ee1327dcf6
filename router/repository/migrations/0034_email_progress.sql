-- What became of an outgoing email so far, why it waits, and when it is tried next.

CREATE FUNCTION crm.thread_id(email_id uuid) RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS $$
    WITH RECURSIVE up AS (
        SELECT e.id, e.correlated_id FROM crm.email AS e WHERE e.id = email_id
        UNION  -- ends also where the CRM made emails answer each other
        SELECT up.correlated_id, e.correlated_id FROM up LEFT JOIN crm.email AS e ON e.id = up.correlated_id
        WHERE up.correlated_id IS NOT NULL
    )
    SELECT id FROM up ORDER BY correlated_id IS NOT NULL, id LIMIT 1
$$;
COMMENT ON FUNCTION crm.thread_id IS
    'The first email of the thread: the one that this one answers, and that one, and so on. It stays the same when that email is deleted.';

CREATE FUNCTION crm.thread(email_id uuid) RETURNS SETOF crm.email LANGUAGE sql STABLE PARALLEL SAFE AS $$
    WITH RECURSIVE thread AS (
        SELECT crm.thread_id(email_id) AS id
        UNION
        SELECT e.id FROM thread JOIN crm.email AS e ON e.correlated_id = thread.id
    )
    SELECT e.* FROM thread JOIN crm.email AS e USING (id)
$$;
COMMENT ON FUNCTION crm.thread IS 'All emails of the thread to which an email belongs, itself included.';

-- The views below are ours, and so is what they read. A function in them runs as whoever asks, so it needs our rights.
CREATE FUNCTION router.why_nothing_is_sent() RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT CASE WHEN router.may_send() THEN NULL ELSE concat_ws(': ', 'an admin has to start sending', i.reason) END
    FROM router.installation AS i
$$;
COMMENT ON FUNCTION router.why_nothing_is_sent IS 'Why no email is sent now, in words; null: sending is not stopped.';

CREATE VIEW crm.email_progress AS
SELECT
    e.id AS email_id, e.status, e.status_reason, e.batch,
    r.recipients, d.accepted, d.delayed, d.deferred, d.refused, d.given_up, d.unknown,
    w.waits_for,
    CASE w.waits_for
        WHEN 'admin' THEN s.stopped
        WHEN 'approval' THEN 'no admin has approved the mailbox of its owner'
        WHEN 'profile' THEN route.reason
        WHEN 'send_after' THEN 'it is to be sent later'
        WHEN 'relay' THEN 'the relay of outgoing.' || relay.profile || ' cannot be used: ' || relay.fault
        WHEN 'retry' THEN coalesce(e.status_reason, 'it is tried again')
        WHEN 'turn' THEN coalesce(e.status_reason, 'its turn comes')
    END AS waits_because,
    CASE w.waits_for
        WHEN 'send_after' THEN o.next_at
        WHEN 'retry' THEN o.next_at
        WHEN 'relay' THEN greatest(o.next_at, relay.next_try_at)
    END AS next_try_at,
    coalesce(a.attempts, 0) AS attempts, last.started_at AS last_attempt_at, last.profile AS last_profile,
    last.outcome AS last_outcome
FROM crm.email AS e
CROSS JOIN (SELECT router.why_nothing_is_sent() AS stopped) AS s
CROSS JOIN LATERAL (
    SELECT count(DISTINCT p.address) AS recipients FROM crm.party AS p
    WHERE p.email_id = e.id AND p.role IN ('to', 'cc', 'bcc')
) AS r
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE y.state = 'accepted') AS accepted,
        count(*) FILTER (WHERE y.state = 'delayed') AS delayed,
        count(*) FILTER (WHERE y.state = 'deferred') AS deferred,
        count(*) FILTER (WHERE y.state = 'refused') AS refused,
        count(*) FILTER (WHERE y.state = 'given_up') AS given_up,
        count(*) FILTER (WHERE y.state = 'unknown') AS unknown
    FROM crm.delivery AS y WHERE y.email_id = e.id
) AS d
CROSS JOIN LATERAL (SELECT count(*) AS attempts FROM router.attempt AS t WHERE t.email_id = e.id AND t.started_at IS NOT NULL) AS a
LEFT JOIN LATERAL (
    SELECT t.started_at, t.profile, t.outcome FROM router.attempt AS t
    WHERE t.email_id = e.id AND t.started_at IS NOT NULL ORDER BY t.claimed_at DESC LIMIT 1
) AS last ON true
LEFT JOIN router.outbox AS o ON o.email_id = e.id
LEFT JOIN crm.owner AS w_owner ON w_owner.record_id = o.owner_id
LEFT JOIN router.route AS route ON route.owner_id = o.owner_id
LEFT JOIN router.relay AS relay ON relay.profile = coalesce(o.profile, last.profile)
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN e.status <> 'pending_send' THEN NULL
        WHEN s.stopped IS NOT NULL THEN 'admin'
        WHEN NOT coalesce(w_owner.approved AND w_owner.mailbox IS NOT NULL, false) THEN 'approval'
        WHEN o.profile IS NULL AND route.reason IS NOT NULL THEN 'profile'
        WHEN e.send_after > now() THEN 'send_after'
        WHEN relay.profile IS NOT NULL THEN 'relay'
        WHEN o.next_at > now() THEN 'retry'
        ELSE 'turn'
    END AS waits_for
) AS w
WHERE e.direction = 'out';
COMMENT ON VIEW crm.email_progress IS
    'What became of each outgoing email so far: its recipients by state, why it waits, and when it is tried next. Ask for one, or for a batch.';
COMMENT ON COLUMN crm.email_progress.email_id IS 'The email.';
COMMENT ON COLUMN crm.email_progress.status IS 'As of crm.email.';
COMMENT ON COLUMN crm.email_progress.status_reason IS 'As of crm.email.';
COMMENT ON COLUMN crm.email_progress.batch IS 'As of crm.email.';
COMMENT ON COLUMN crm.email_progress.recipients IS 'How many addresses it goes to, in to, cc and bcc together.';
COMMENT ON COLUMN crm.email_progress.accepted IS 'How many of them a relay took; so for the other states of crm.delivery. Of whom there is none, nothing is known yet.';
COMMENT ON COLUMN crm.email_progress.delayed IS 'A relay took it, and a server after it still tries.';
COMMENT ON COLUMN crm.email_progress.deferred IS 'It is tried again.';
COMMENT ON COLUMN crm.email_progress.refused IS 'They do not get it.';
COMMENT ON COLUMN crm.email_progress.given_up IS 'It was tried for too long.';
COMMENT ON COLUMN crm.email_progress.unknown IS 'The relay never answered.';
COMMENT ON COLUMN crm.email_progress.waits_for IS
    'What a pending one waits for: admin (sending is stopped), approval (of its owner), profile (none carries what its owner sends), '
    'send_after, relay (it cannot be used now), retry (after a deferral), turn (nothing else). Null: it is not pending.';
COMMENT ON COLUMN crm.email_progress.waits_because IS 'The same in words, the relay''s own among them.';
COMMENT ON COLUMN crm.email_progress.next_try_at IS 'When it is tried, where that has a time.';
COMMENT ON COLUMN crm.email_progress.attempts IS 'How often it was handed to a relay.';
COMMENT ON COLUMN crm.email_progress.last_attempt_at IS 'When that was, the last time.';
COMMENT ON COLUMN crm.email_progress.last_profile IS 'By which outgoing profile.';
COMMENT ON COLUMN crm.email_progress.last_outcome IS 'What came of it, in words.';

CREATE VIEW crm.batch_progress AS
SELECT
    e.batch, count(*) AS emails,
    count(*) FILTER (WHERE e.status = 'draft') AS draft,
    count(*) FILTER (WHERE e.status = 'pending_send') AS pending_send,
    count(*) FILTER (WHERE e.status = 'sending') AS sending,
    count(*) FILTER (WHERE e.status = 'sent') AS sent,
    count(*) FILTER (WHERE e.status = 'failed') AS failed,
    count(*) FILTER (WHERE e.status = 'unknown') AS unknown,
    count(*) FILTER (WHERE e.status = 'canceled') AS canceled,
    count(*) FILTER (WHERE e.status IN ('draft', 'pending_send', 'sending')) = 0 AS done,
    sum(d.accepted)::bigint AS recipients_accepted,
    sum(d.refused)::bigint AS recipients_refused,
    max(e.sent_at) AS last_sent_at
FROM crm.email AS e
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE y.state IN ('accepted', 'delayed')) AS accepted,
        count(*) FILTER (WHERE y.state IN ('refused', 'given_up')) AS refused
    FROM crm.delivery AS y WHERE y.email_id = e.id
) AS d
WHERE e.direction = 'out' AND e.batch IS NOT NULL
GROUP BY e.batch;
COMMENT ON VIEW crm.batch_progress IS 'How far the emails of each crm.email.batch have come. Ask for one.';
COMMENT ON COLUMN crm.batch_progress.batch IS 'What the CRM calls them.';
COMMENT ON COLUMN crm.batch_progress.emails IS 'How many they are; the columns after it count them by status.';
COMMENT ON COLUMN crm.batch_progress.draft IS 'Not handed to the router yet.';
COMMENT ON COLUMN crm.batch_progress.pending_send IS 'They wait: crm.email_progress tells for what.';
COMMENT ON COLUMN crm.batch_progress.sending IS 'A relay has them.';
COMMENT ON COLUMN crm.batch_progress.sent IS 'A relay took them for at least one recipient.';
COMMENT ON COLUMN crm.batch_progress.failed IS 'Nobody got them.';
COMMENT ON COLUMN crm.batch_progress.unknown IS 'A person has to look.';
COMMENT ON COLUMN crm.batch_progress.canceled IS 'Taken back.';
COMMENT ON COLUMN crm.batch_progress.done IS 'None is a draft, pending or being sent.';
COMMENT ON COLUMN crm.batch_progress.recipients_accepted IS 'For how many recipients a relay took one.';
COMMENT ON COLUMN crm.batch_progress.recipients_refused IS 'How many recipients do not get one, refused or given up.';
COMMENT ON COLUMN crm.batch_progress.last_sent_at IS 'When the last one was sent.';

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'email_router_crm') THEN
        GRANT SELECT ON crm.email_progress, crm.batch_progress TO email_router_crm;
    END IF;
END
$$;
