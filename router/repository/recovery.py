"""What processes that died had claimed: pending again, or unknown."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from asyncpg import Record

from router.repository.database import Connection, Database


async def recover(database: Database, process_id: UUID, lease: timedelta) -> int:
    """Take over what other processes, which died, had claimed; returns how many emails that were.

    Not started: pending again. Started without an outcome: unknown, or pending again if its profile says `resend`.
    What somebody else has locked, the CRM say, is passed over until the next look.
    """
    async with database.transaction() as connection:
        locked = await connection.fetch(
            """
            SELECT o.email_id
            FROM router.outbox AS o JOIN crm.email AS e ON e.id = o.email_id
            WHERE o.process_id <> $1 AND NOT EXISTS (SELECT FROM router.process AS p
                WHERE p.id = o.process_id AND p.seen_at > clock_timestamp() - $2::interval)
            ORDER BY o.email_id LIMIT 1000 FOR UPDATE OF o, e SKIP LOCKED
            """,
            process_id,
            lease,
        )
        rows = await _attempts_of(connection, [row["email_id"] for row in locked])
        again = [row["email_id"] for row in rows if row["again"]]
        unknown = [row["email_id"] for row in rows if not row["again"]]
        if again:
            await _make_pending(connection, again)
        if unknown:
            await connection.execute("DELETE FROM router.outbox WHERE email_id = ANY($1::uuid[])", unknown)
            await connection.execute(
                """
                UPDATE crm.email SET status = 'unknown', status_reason =
                    'the router ended while the relay had the message, before it answered: '
                    'look whether it arrived, then set the status to sent, failed or pending_send'
                WHERE id = ANY($1::uuid[])
                """,
                unknown,
            )
            await connection.execute(
                """
                INSERT INTO crm.delivery (email_id, address, state, text)
                SELECT DISTINCT p.email_id, p.address, 'unknown', 'the relay''s answer was not heard'
                FROM crm.party AS p WHERE p.email_id = ANY($1::uuid[]) AND p.role IN ('to', 'cc', 'bcc')
                ON CONFLICT (email_id, address) DO UPDATE SET state = excluded.state, text = excluded.text, at = now()
                    WHERE crm.delivery.state NOT IN ('accepted', 'delayed', 'refused')
                """,
                unknown,
            )
            await connection.execute(
                "INSERT INTO crm.event (kind, email_id) SELECT 'unknown', * FROM unnest($1::uuid[])", unknown
            )
    return len(rows)


async def recover_lost_claims(database: Database, process_id: UUID, under_way: Sequence[UUID], lease: timedelta) -> int:
    """Make pending again what this process claimed without hearing of it; returns how many emails that were.

    So it goes when the connection to the database is lost in that moment: the claim is committed, is older than the
    lease, and is not among the attempts that are `under_way`. The caller claims nothing meanwhile.
    """
    async with database.transaction() as connection:
        locked = await connection.fetch(
            """
            SELECT o.email_id FROM router.outbox AS o JOIN router.attempt AS a ON a.id = o.attempt_id
            JOIN crm.email AS e ON e.id = o.email_id
            WHERE o.process_id = $1 AND a.started_at IS NULL AND a.id <> ALL ($2::uuid[])
                AND a.claimed_at < clock_timestamp() - $3::interval
            ORDER BY o.email_id LIMIT 1000 FOR UPDATE OF o, e SKIP LOCKED
            """,
            process_id,
            list(under_way),
            lease,
        )
        rows = await _attempts_of(connection, [row["email_id"] for row in locked])
        lost = [row["email_id"] for row in rows if not row["started"]]
        if lost:
            await _make_pending(connection, lost)
    return len(lost)


async def _attempts_of(connection: Connection, locked: Sequence[UUID]) -> list[Record]:
    """Tell of emails whose outbox rows are locked now: whether their attempts have started, and are made `again`.

    A query of its own: the one that locks sees attempts as they were when it began, and one may start until then.
    """
    if not locked:
        return []
    rows: list[Record] = await connection.fetch(
        """
        SELECT o.email_id, a.started_at IS NOT NULL AS started, a.started_at IS NULL OR a.resend AS again
        FROM router.outbox AS o JOIN router.attempt AS a ON a.id = o.attempt_id
        WHERE o.email_id = ANY($1::uuid[]) ORDER BY o.email_id
        """,
        locked,
    )
    return rows


async def _make_pending(connection: Connection, email_ids: Sequence[UUID]) -> None:
    await connection.execute(
        "UPDATE router.outbox SET process_id = NULL, attempt_id = NULL WHERE email_id = ANY($1::uuid[])", email_ids
    )
    await connection.execute("UPDATE crm.email SET status = 'pending_send' WHERE id = ANY($1::uuid[])", email_ids)
