"""What mail systems report on the email that was sent, written onto that email: recipient by recipient."""

from collections.abc import Sequence
from uuid import UUID

from router.model import Report
from router.repository.bounces.address_states import Failed, note_bounces
from router.repository.bounces.bounced import tell_if_all_bounced
from router.repository.database import Connection, storable

_STATES = {"bounce": "refused", "delay": "delayed", "delivery": "accepted"}


async def write_reports(connection: Connection, reports: Sequence[tuple[UUID, Report]]) -> None:
    """Write reports onto the emails they are on; what they tell of others than an email's recipients is left out.

    A refusal is the last word, and the first one stays. Of one email with one recipient a report with one recipient is
    on that one, whatever the address became on its way. What a proven report tells of the lone recipient's own address
    is noted of that address, but nothing that it tells of the addresses behind it. Where there are several, each knows
    the return path, and could tell it of the others.
    """
    told = [
        (email_id, one, len(report.recipients) == 1, report.proven)
        for email_id, report in sorted(reports, key=lambda entry: entry[0])
        for one in report.recipients
    ]
    if not told:
        return
    rows = await connection.fetch(
        """
        WITH told AS (
            SELECT DISTINCT ON (w.email_id, p.address) w.email_id, p.address, w.kind, w.state, w.code, w.text,
                w.proven AND p.among = 1 AND coalesce(nullif(w.final, ''), w.address) = p.address AS proven
            FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                    $8::boolean[], $9::boolean[])
                AS w (email_id, address, final, kind, state, code, text, alone, proven)
            JOIN crm.email AS e ON e.id = w.email_id AND e.direction = 'out'
            CROSS JOIN LATERAL (
                SELECT DISTINCT address, count(*) OVER () AS among FROM (
                    SELECT DISTINCT address FROM crm.party WHERE email_id = w.email_id AND role IN ('to', 'cc', 'bcc')
                ) AS r
            ) AS p
            WHERE p.address IN (w.address, w.final) OR (w.alone AND p.among = 1)
            ORDER BY w.email_id, p.address, w.state = 'refused' DESC NULLS LAST
        ), written AS (
            INSERT INTO crm.delivery (email_id, address, state, code, text)
            SELECT email_id, address, state, code, text FROM told WHERE state IS NOT NULL
            ON CONFLICT (email_id, address) DO UPDATE
                SET state = excluded.state, code = excluded.code, text = excluded.text, at = now()
                WHERE crm.delivery.state IN ('accepted', 'delayed', 'unknown')
                    -- As it is once it is locked: of several reports one tells it.
                    OR excluded.state = 'refused' AND crm.delivery.state <> 'refused'
            RETURNING email_id, address, state, code, text
        ), complained AS (
            INSERT INTO crm.complaint (email_id, address, kind)
            SELECT email_id, address, text FROM told WHERE state IS NULL
            ON CONFLICT DO NOTHING
            RETURNING email_id, address, kind
        ), event AS (
            INSERT INTO crm.event (kind, email_id, details)
            SELECT state, email_id, jsonb_build_object('address', address, 'code', code, 'reason', left(text, 1000))
            FROM written WHERE state <> 'refused'  -- of those, the trigger crm.tell_recipient tells
            UNION ALL
            SELECT 'complaint', email_id, jsonb_build_object('address', address, 'reason', kind) FROM complained
        )
        SELECT t.email_id, t.address, t.code, t.text, t.proven
        FROM told AS t JOIN written AS w ON w.email_id = t.email_id AND w.address = t.address
        WHERE w.state = 'refused'
        """,
        [email_id for email_id, *_ in told],
        [storable(one.address) for _, one, *_ in told],
        [storable(one.final) for _, one, *_ in told],
        [one.kind for _, one, *_ in told],
        [_STATES.get(one.kind) for _, one, *_ in told],
        [storable(one.code) for _, one, *_ in told],
        [storable(one.text) for _, one, *_ in told],
        [alone for _, _, alone, _ in told],
        [proven for *_, proven in told],
    )
    await tell_if_all_bounced(connection, {row["email_id"] for row in rows})
    await note_bounces(connection, [Failed(row["address"], row["code"], row["text"]) for row in rows if row["proven"]])
