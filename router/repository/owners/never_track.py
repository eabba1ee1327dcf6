"""Whose mail is never tracked: for the organization, or for one owner."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from router.repository.database import Connection, Database


@dataclass(frozen=True, slots=True)
class NeverTracked:
    """One pattern of addresses; `mailbox` is the owner's whose list it is on, None: the organization's."""

    pattern: str
    mailbox: str | None
    by: str
    at: datetime


async def list_patterns(database: Database, owner_id: UUID | None = None) -> list[NeverTracked]:
    """List all patterns, the organization's first, or those that count for one owner."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT n.pattern, coalesce(o.mailbox, n.owner_id::text) AS mailbox, n.by, n.at
            FROM router.never_track AS n LEFT JOIN crm.owner AS o ON o.record_id = n.owner_id
            WHERE $1::uuid IS NULL OR n.owner_id IS NULL OR n.owner_id = $1
            ORDER BY n.owner_id IS NOT NULL, o.mailbox, n.pattern
            """,
            owner_id,
        )
    return [NeverTracked(**row) for row in rows]


async def add(database: Database, pattern: str, owner_id: UUID | None, by: str) -> bool:
    """Add a normalized pattern; False: it is on that list already."""
    async with database.transaction() as connection:
        return await insert(connection, pattern, owner_id, by, None)


async def insert(connection: Connection, pattern: str, owner_id: UUID | None, by: str, ruling_id: int | None) -> bool:
    """Do so in a transaction, as a part of a ruling where there is one."""
    added = await connection.fetchval(
        """
        INSERT INTO router.never_track (pattern, owner_id, by, ruling_id) VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING RETURNING true
        """,
        pattern,
        owner_id,
        by,
        ruling_id,
    )
    return added is not None


async def remove(database: Database, pattern: str, owner_id: UUID | None) -> bool:
    """Remove a normalized pattern; False: it is not on that list."""
    async with database.transaction() as connection:
        removed = await connection.fetchval(
            "DELETE FROM router.never_track WHERE pattern = $1 AND owner_id IS NOT DISTINCT FROM $2 RETURNING true",
            pattern,
            owner_id,
        )
    return removed is not None
