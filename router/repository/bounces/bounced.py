"""Emails of which every recipient bounced after they were sent: they stay `sent`, and say so.

Whether a recipient that bounced was the last one is looked at in the transaction of the report. The CRM may have the
email locked then, or a relay may have it still: it is noted in `router.bounced`, and looked at again.
"""

from collections.abc import Collection
from typing import Final
from uuid import UUID

from router.repository.database import Connection, Database

PIECE: Final = 100
"""Emails that are looked at together, at most, of those that were left."""

_TELL: Final = """
    WITH looked AS MATERIALIZED (
        SELECT e.id, e.status FROM router.bounced AS b JOIN crm.email AS e ON e.id = b.email_id
        WHERE ($1::uuid[] IS NULL OR b.email_id = ANY($1)) AND e.status <> 'sending'
        ORDER BY e.id LIMIT $2 FOR UPDATE OF e SKIP LOCKED
    ), told AS (
        UPDATE crm.email AS e SET status_reason = 'no recipient got it: ' || (
            SELECT string_agg(t.address || ': ' || t.words, '; ') FROM (
                SELECT d.address, left(concat_ws(' ', nullif(d.code, ''), d.text), 200) AS words FROM crm.delivery AS d
                WHERE d.email_id = e.id ORDER BY d.address LIMIT 10
            ) AS t)
        FROM looked AS l WHERE e.id = l.id AND l.status = 'sent' AND NOT EXISTS (
            SELECT FROM crm.party AS p
            LEFT JOIN crm.delivery AS d ON d.email_id = p.email_id AND d.address = p.address
            WHERE p.email_id = l.id AND p.role IN ('to', 'cc', 'bcc')
                AND coalesce(d.state NOT IN ('refused', 'given_up'), true))
        RETURNING e.id, e.status_reason
    ), done AS (
        DELETE FROM router.bounced AS b USING looked AS l WHERE b.email_id = l.id
    ), event AS (
        INSERT INTO crm.event (kind, email_id, details)
        SELECT 'bounced', id, jsonb_build_object('reason', left(status_reason, 1000)) FROM told
    )
    SELECT count(*) FROM looked
"""


async def tell_if_all_bounced(connection: Connection, email_ids: Collection[UUID]) -> None:
    """Say of emails, of each of which a recipient has just bounced, if that was the last one."""
    if not email_ids:
        return
    ids = sorted(email_ids)
    # Who has noted the same email is waited for: then both know of both recipients.
    await connection.execute("INSERT INTO router.bounced SELECT unnest($1::uuid[]) ON CONFLICT DO NOTHING", ids)
    await connection.fetchval(_TELL, ids, len(ids))


async def tell_left(database: Database) -> int:
    """Say it of emails that were left, a piece of them; return how many were looked at."""
    async with database.transaction() as connection:
        looked: int = await connection.fetchval(_TELL, None, PIECE)
    return looked
