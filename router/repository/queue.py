"""How much is due to be sent, for the metrics: looked at every few seconds, so never by a scan."""

from dataclasses import dataclass

from router.repository.database import Database

MOST = 10_000
"""The most emails that are counted."""


@dataclass(frozen=True, slots=True)
class Queue:
    """What is due and not being sent, of approved owners: how many (up to MOST), and for how many seconds the first."""

    due: int
    oldest: float


async def read_queue(database: Database) -> Queue:
    """Look at the head of every owner's queue: its cost grows with the owners that wait and MOST, and not beyond."""
    async with database.connection() as connection:
        row = await connection.fetchrow(
            """
            WITH RECURSIVE waiting AS (  -- one step through the index for each owner that has something pending
                (SELECT owner_id FROM router.outbox WHERE process_id IS NULL ORDER BY owner_id LIMIT 1)
                UNION ALL
                SELECT (SELECT o.owner_id FROM router.outbox AS o
                        WHERE o.process_id IS NULL AND o.owner_id > w.owner_id ORDER BY o.owner_id LIMIT 1)
                FROM waiting AS w WHERE w.owner_id IS NOT NULL
            ), heads AS MATERIALIZED (
                SELECT w.owner_id, head.next_at FROM waiting AS w
                JOIN crm.owner AS o ON o.record_id = w.owner_id AND o.approved AND o.mailbox IS NOT NULL
                CROSS JOIN LATERAL (
                    SELECT q.next_at FROM router.outbox AS q
                    WHERE q.process_id IS NULL AND q.owner_id = w.owner_id AND q.next_at <= now()
                    ORDER BY q.next_at LIMIT 1
                ) AS head
            )
            SELECT
                (SELECT count(*) FROM (
                    SELECT FROM heads AS h CROSS JOIN LATERAL (
                        SELECT FROM router.outbox AS q
                        WHERE q.process_id IS NULL AND q.owner_id = h.owner_id AND q.next_at <= now()
                        LIMIT $1  -- no more of one owner than of all, so that an index is the way
                    ) AS due LIMIT $1
                ) AS counted) AS due,
                (SELECT coalesce(extract(epoch FROM now() - min(next_at)), 0) FROM heads) AS oldest
            """,
            MOST,
        )
    assert row is not None
    return Queue(row["due"], float(row["oldest"]))
