"""Who takes care of a sender, who is put off for a while, and who looks at whom now.

All of it is about the sender, for all who work in the queue. It is gone with the last email of the sender that waits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from router.repository.database import Connection, Database
from router.repository.senders.fold import CHANGED, tell
from router.repository.senders.seen import is_seen, owners_seen

LOOKS: Final = 90
"""Seconds that a look lasts: the page says again that it is open, well within them."""

PIECE: Final = 1000
"""Looks that `forget_looks` deletes at most."""


@dataclass(frozen=True, slots=True)
class Care:
    """Who takes care of a sender, and until when the sender is put off; None: nobody, not at all."""

    assigned_to: str | None = None
    assigned_by: str | None = None
    assigned_at: datetime | None = None
    snoozed_until: datetime | None = None
    snoozed_by: str | None = None


async def care_of(database: Database, seen: frozenset[UUID] | None, address: str) -> Care | None:
    """Find who takes care of a sender; None where nothing of theirs waits that is seen."""
    async with database.connection() as connection:
        if not await is_seen(connection, seen, address):
            return None
        return await _care(connection, address)


async def assign(
    database: Database, seen: frozenset[UUID] | None, address: str, to: str | None, by: str, expected: str | None
) -> Care | None:
    """Give a sender to a person, None: to nobody; and tell who has the sender then.

    Only where `expected` has the sender so far: who finds another name in the answer was not first. None as `care_of`.
    """
    async with database.transaction() as connection:
        if not await is_seen(connection, seen, address):
            return None
        await connection.execute(
            """
            INSERT INTO router.sender_care AS c (address, assigned_to, assigned_by, assigned_at)
            SELECT $1, $2::text, $3::text, now() WHERE $4::text IS NULL OR EXISTS (
                SELECT FROM router.sender_care WHERE address = $1
            )
            ON CONFLICT (address) DO UPDATE SET assigned_to = excluded.assigned_to,
                assigned_by = CASE WHEN excluded.assigned_to IS NOT NULL THEN excluded.assigned_by END,
                assigned_at = CASE WHEN excluded.assigned_to IS NOT NULL THEN now() END
            WHERE c.assigned_to IS NOT DISTINCT FROM $4
            """,
            address,
            to,
            by,
            expected,
        )
        await _tell_of(connection, address)
        return await _care(connection, address)


async def snooze(
    database: Database, seen: frozenset[UUID] | None, address: str, until: datetime | None, by: str
) -> Care | None:
    """Put a sender off until then, with mail that comes meanwhile; None: call the sender back. None as `care_of`."""
    async with database.transaction() as connection:
        if not await is_seen(connection, seen, address):
            return None
        await connection.execute(
            """
            INSERT INTO router.sender_care AS c (address, snoozed_until, snoozed_by)
            VALUES ($1, $2::timestamptz, CASE WHEN $2::timestamptz IS NOT NULL THEN $3::text END)
            ON CONFLICT (address) DO UPDATE
                SET snoozed_until = excluded.snoozed_until, snoozed_by = excluded.snoozed_by
            """,
            address,
            until,
            by,
        )
        await connection.execute("INSERT INTO router.sender_change (address) VALUES ($1)", address)
        await connection.execute("SELECT pg_notify($1, '')", CHANGED)
        return await _care(connection, address)


async def look(database: Database, seen: frozenset[UUID] | None, address: str, by: str, *, away: bool) -> bool:
    """Note that a person looks at a sender, or does no more; False where nothing of theirs waits that is seen."""
    async with database.transaction() as connection:
        if not await is_seen(connection, seen, address):
            return False
        if away:
            changed = await connection.fetchval(
                "DELETE FROM router.sender_look WHERE address = $1 AND by = $2 RETURNING true", address, by
            )
        else:
            changed = await connection.fetchval(
                """
                WITH before AS (
                    SELECT seen_at > now() - $3 * interval '1 second' AS looked FROM router.sender_look
                    WHERE address = $1 AND by = $2
                ), noted AS (
                    INSERT INTO router.sender_look (address, by) VALUES ($1, $2)
                    ON CONFLICT (address, by) DO UPDATE SET seen_at = now()
                )
                SELECT NOT coalesce((SELECT looked FROM before), false)
                """,
                address,
                by,
                LOOKS,
            )
        if changed:
            await _tell_of(connection, address)
    return True


async def lookers(database: Database, seen: frozenset[UUID] | None, addresses: Sequence[str]) -> dict[str, list[str]]:
    """Tell who looks at these senders now; of those of whom nothing waits that is seen, nothing."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT l.address, l.by FROM router.sender_look AS l
            WHERE l.address = ANY($2::text[]) AND l.seen_at > now() - $3 * interval '1 second' AND EXISTS (
                SELECT FROM router.sender_waiting AS s WHERE s.owner_id = ANY($1::uuid[]) AND s.address = l.address
            )
            ORDER BY l.address, l.by
            """,
            owners_seen(seen),
            list(addresses),
            LOOKS,
        )
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["address"], []).append(row["by"])
    return found


async def forget_looks(database: Database) -> int:
    """Forget who looked long ago; return how many looks that were in this piece."""
    async with database.connection() as connection:
        forgotten: int = await connection.fetchval(
            """
            WITH forgotten AS (
                DELETE FROM router.sender_look WHERE (address, by) IN (
                    SELECT address, by FROM router.sender_look WHERE seen_at < now() - $2 * interval '1 second'
                    ORDER BY seen_at LIMIT $1 FOR UPDATE SKIP LOCKED
                ) RETURNING 1
            )
            SELECT count(*) FROM forgotten
            """,
            PIECE,
            LOOKS,
        )
    return forgotten


async def _care(connection: Connection, address: str) -> Care:
    row = await connection.fetchrow(
        """
        SELECT assigned_to, assigned_by, assigned_at, snoozed_until, snoozed_by FROM router.sender_care
        WHERE address = $1
        """,
        address,
    )
    return Care(**row) if row else Care()


async def _tell_of(connection: Connection, address: str) -> None:
    rows = await connection.fetch("SELECT owner_id FROM router.sender_waiting WHERE address = $1", address)
    await tell(connection, [(row["owner_id"], address) for row in rows])
