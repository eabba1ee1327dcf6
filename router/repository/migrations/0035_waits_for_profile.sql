-- Why an email waits, as the queue knows it now: which profile carries it, and what is wrong with that one's relay.

CREATE OR REPLACE VIEW crm.email_progress AS
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
COMMENT ON COLUMN crm.email_progress.waits_for IS
    'What a pending one waits for: admin (sending is stopped), approval (of its owner), profile (none carries what its owner sends), '
    'send_after, relay (it cannot be used now), retry (after a deferral), turn (nothing else). Null: it is not pending.';
