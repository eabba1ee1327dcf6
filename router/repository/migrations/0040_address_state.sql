-- What bounced tells of an address, so that nothing more is sent to it; and of emails whose recipients all bounced.

CREATE TABLE crm.address_state (
    address text PRIMARY KEY,  -- as crm.party has it, whatever that is: an outcome must not fail by it
    state text NOT NULL CHECK (state IN ('usable', 'bounced')),
    code text NOT NULL,
    text text NOT NULL,
    since timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    hard_bounces int NOT NULL,
    soft_bounces int NOT NULL
);
COMMENT ON TABLE crm.address_state IS
    'Addresses to which an email bounced. Pruned once nothing has bounced there for EMAIL_ROUTER_KEEP_BOUNCES days.';
COMMENT ON COLUMN crm.address_state.address IS 'As in crm.party: in the one form of addresses (crm.normalise).';
COMMENT ON COLUMN crm.address_state.state IS
    'bounced: there is no such mailbox, and an email to it fails at once, but for crm.email.send_anyway. usable: the bounces were soft, or it '
    'was cleared (crm.clear_address_state).';
COMMENT ON COLUMN crm.address_state.code IS 'The enhanced status code (RFC 3463) of the bounce that made the state, or of the last soft one.';
COMMENT ON COLUMN crm.address_state.text IS 'What the mail server said.';
COMMENT ON COLUMN crm.address_state.since IS 'Since when it has the state.';
COMMENT ON COLUMN crm.address_state.last_at IS 'When it bounced last.';
COMMENT ON COLUMN crm.address_state.hard_bounces IS 'How many emails there failed since there is no such mailbox, or it is closed.';
COMMENT ON COLUMN crm.address_state.soft_bounces IS 'How many there failed for a reason that may pass, such as a full mailbox.';

CREATE FUNCTION crm.clear_address_state(address text) RETURNS boolean
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
    WITH cleared AS (
        UPDATE crm.address_state AS s SET state = 'usable', since = now()
        WHERE s.address IN (clear_address_state.address, crm.normalise(clear_address_state.address)) AND s.state = 'bounced' RETURNING 1
    )
    SELECT EXISTS (SELECT FROM cleared)
$$;
COMMENT ON FUNCTION crm.clear_address_state IS 'Lets email go to an address again that bounced; false: it had not, or was cleared already.';

ALTER TABLE crm.email ADD COLUMN send_anyway boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN crm.email.send_anyway IS
    'It is sent also to addresses that bounced (crm.address_state). May change at any time; what an attempt that is under way knows stays.';

CREATE TABLE router.bounced (
    email_id uuid PRIMARY KEY REFERENCES crm.email ON DELETE CASCADE
);
COMMENT ON TABLE router.bounced IS 'Emails of which a recipient bounced after they were sent, until it was looked whether that was the last one.';

INSERT INTO router.pruning (what) VALUES ('addresses');

-- Never validated: of what was told before, nothing is taken back.
ALTER TABLE crm.event DROP CONSTRAINT event_kind, ADD CONSTRAINT event_kind CHECK (kind IN (
    'promoted', 'received', 'correlated', 'draft', 'pending_send', 'sent', 'failed', 'unknown', 'canceled',
    'refused', 'given_up', 'delayed', 'accepted', 'complaint', 'acknowledged', 'not_acknowledged', 'bounced')) NOT VALID;
COMMENT ON COLUMN crm.event.kind IS
    'promoted, received (another owner''s copy), correlated (with an email that came later), acknowledged (the router wrote an answer), '
    'not_acknowledged (it gave that up); of an outgoing email its new status: draft, pending_send, sent, failed, unknown, canceled; '
    'bounced (all recipients of a sent one); of one recipient: refused, given_up, delayed, accepted (by a report), complaint.';

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
    last.outcome AS last_outcome,
    b.bounced
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
CROSS JOIN LATERAL (
    SELECT count(DISTINCT s.address) AS bounced FROM crm.party AS p JOIN crm.address_state AS s ON s.address = p.address
    WHERE p.email_id = e.id AND p.role IN ('to', 'cc', 'bcc') AND s.state = 'bounced'
) AS b
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
COMMENT ON COLUMN crm.email_progress.bounced IS
    'To how many of the recipients'' addresses mail has bounced (crm.address_state): it is not sent to them, but for send_anyway.';

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'email_router_crm') THEN
        GRANT SELECT, DELETE ON crm.address_state TO email_router_crm;
        GRANT INSERT (send_anyway), UPDATE (send_anyway) ON crm.email TO email_router_crm;
    END IF;
END
$$;
