"""What the database needs from time to time, in pieces that are small enough that nobody waits for them."""

from router.repository.database import Database
from router.repository.incoming.waiting import find_answers

PIECE = 1000
"""Rows that one piece concerns at most."""


async def move_known_ids(database: Database) -> int:
    """Move Message-IDs that the CRM made known to where all are looked up; return how many there were in this piece.

    Until it is moved, an id costs a second look-up. The first email of an id keeps it, for as long as there is that
    email. The answers that wait for these emails are found, and to be linked.
    """
    async with database.transaction() as connection:
        hashes: list[bytes] = await connection.fetchval(
            """
            WITH moved AS (
                DELETE FROM router.known_id WHERE id IN (
                    SELECT id FROM router.known_id ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED
                ) RETURNING id, hash, email_id
            ), known AS (
                INSERT INTO router.message_id AS m (hash, email_id)
                -- Sorted, as everywhere, so that nobody deadlocks.
                SELECT DISTINCT ON (hash) hash, email_id
                FROM moved JOIN crm.email AS living ON living.id = email_id
                ORDER BY hash, moved.id
                ON CONFLICT (hash) DO UPDATE SET email_id = excluded.email_id
                    WHERE m.email_id IS NULL OR NOT EXISTS (SELECT FROM crm.email AS e WHERE e.id = m.email_id)
            )
            SELECT coalesce(array_agg(hash), '{}') FROM moved
            """,
            PIECE,
        )
        if hashes:
            await find_answers(connection, hashes)  # another statement, since it must see what the first one waited for
        return len(hashes)
