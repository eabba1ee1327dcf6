"""What processes that died had claimed: pending again, or unknown."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from router.repository.database import Connection, Database
from router.repository.halves import by_halves

# The attempt's outcome is not kept: what is known is recorded, and nothing else becomes of it.
_NOTHING_KEPT: Final = "NOT EXISTS (SELECT FROM router.unrecorded AS u WHERE u.attempt_id = o.attempt_id)"


async def recover(database: Database, process_id: UUID, lease: timedelta) -> int:
    """Take over what other processes, which died, had claimed; returns how many emails that were.

    Not started: pending again. Started without an outcome: unknown, or pending again if its profile says `resend`.
    What somebody else has locked, such as the CRM, is passed over until the next look. An email that the database
    refuses to have taken over keeps no other from it; the error is raised only where nothing could be taken over.
    """
    return await _take_over(
        database,
        """
        o.process_id <> $2 AND NOT EXISTS (SELECT FROM router.process AS p
            WHERE p.id = o.process_id AND p.seen_at > clock_timestamp() - $3::interval)
        """,
        process_id,
        lease,
    )


async def recover_lost_claims(
    database: Database,
    process_id: UUID,
    under_way: Sequence[UUID],
    lease: timedelta,
    unheard: Collection[UUID] = (),
) -> int:
    """Take over, as `recover` does, what this process claimed and does not know of any more.

    Its claim is older than the lease, and not among the attempts that are `under_way`: the connection was lost while it
    was committed, it could not be given back, or a mistake of ours ended what had started. What was claimed `unheard`
    has started in the database only, and no relay has heard of it: it is pending again.
    """
    return await _take_over(
        database,
        """
        o.process_id = $2 AND o.attempt_id <> ALL ($3::uuid[]) AND EXISTS (SELECT FROM router.attempt AS a
            WHERE a.id = o.attempt_id AND a.claimed_at < clock_timestamp() - $4::interval)
        """,
        process_id,
        list(under_way),
        lease,
        unheard=unheard,
    )


async def _take_over(database: Database, which: str, *arguments: Any, unheard: Collection[UUID] = ()) -> int:
    """Take over emails; `which` is a condition on the row `o` of the outbox, with the `arguments` $2 and so on."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""
            -- What is claimed is few, and has an index; what waits may be a million, which no planner need know of.
            SELECT o.email_id FROM (
                SELECT * FROM router.outbox AS q WHERE q.process_id IS NOT NULL ORDER BY q.process_id OFFSET 0
            ) AS o
            WHERE coalesce(o.email_id = ANY($1::uuid[]), true) AND {which} AND {_NOTHING_KEPT}
            ORDER BY o.email_id LIMIT 1000
            """,  # noqa: S608  # constants
            None,
            *arguments,
        )
    taken = 0

    async def take(email_ids: Sequence[UUID]) -> None:
        nonlocal taken
        async with database.transaction() as connection:
            locked = await connection.fetch(
                f"""
                SELECT o.email_id FROM router.outbox AS o JOIN crm.email AS e ON e.id = o.email_id
                WHERE o.email_id = ANY($1::uuid[]) AND {which}
                ORDER BY o.email_id FOR UPDATE OF o, e SKIP LOCKED
                """,  # noqa: S608  # constants
                email_ids,
                *arguments,
            )
            count = await _free(connection, [row["email_id"] for row in locked], unheard)
        taken += count

    for error in await by_halves([row["email_id"] for row in rows], take):
        if error is not None and not taken:
            raise error
    return taken


async def _free(connection: Connection, locked: Sequence[UUID], unheard: Collection[UUID]) -> int:
    """Make pending or unknown what is locked now.

    Their attempts are read by a query of its own: the one that locks sees attempts as they were when it began, and one
    may start, or its outcome may be kept, until then.
    """
    if not locked:
        return 0
    rows = await connection.fetch(
        f"""
        SELECT o.email_id, a.started_at IS NULL OR a.resend OR a.id = ANY($2::uuid[]) AS again
        FROM router.outbox AS o JOIN router.attempt AS a ON a.id = o.attempt_id
        WHERE o.email_id = ANY($1::uuid[]) AND {_NOTHING_KEPT} ORDER BY o.email_id
        """,  # noqa: S608  # constants
        locked,
        list(unheard),
    )
    if again := [row["email_id"] for row in rows if row["again"]]:
        await _make_pending(connection, again)
    if unknown := [row["email_id"] for row in rows if not row["again"]]:
        await _make_unknown(connection, unknown)
    return len(rows)


async def _make_unknown(connection: Connection, email_ids: Sequence[UUID]) -> None:
    await connection.execute("DELETE FROM router.outbox WHERE email_id = ANY($1::uuid[])", email_ids)
    await connection.execute(
        """
        UPDATE crm.email SET status = 'unknown', status_reason =
            'the router ended while the relay had the message, before it answered: '
            'look whether it arrived, then set the status to sent, failed or pending_send'
        WHERE id = ANY($1::uuid[])
        """,
        email_ids,
    )
    await connection.execute(
        """
        INSERT INTO crm.delivery (email_id, address, state, text)
        SELECT DISTINCT p.email_id, p.address, 'unknown', 'the relay''s answer was not heard'
        FROM crm.party AS p WHERE p.email_id = ANY($1::uuid[]) AND p.role IN ('to', 'cc', 'bcc')
        ON CONFLICT (email_id, address) DO UPDATE SET state = excluded.state, text = excluded.text, at = now()
            WHERE crm.delivery.state NOT IN ('accepted', 'delayed', 'refused')
        """,
        email_ids,
    )


async def _make_pending(connection: Connection, email_ids: Sequence[UUID]) -> None:
    await connection.execute(
        "UPDATE router.outbox SET process_id = NULL, attempt_id = NULL, ready = true, next_at = now() "
        "WHERE email_id = ANY($1::uuid[])",
        email_ids,
    )
    await connection.execute("UPDATE crm.email SET status = 'pending_send' WHERE id = ANY($1::uuid[])", email_ids)
