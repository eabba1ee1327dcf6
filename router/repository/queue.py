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
    """Look at what a profile carries and is due, through an index by the time: its cost does not grow beyond MOST."""
    async with database.connection() as connection:
        row = await connection.fetchrow(
            """
            WITH head AS MATERIALIZED (
                (SELECT q.owner_id, q.next_at FROM router.outbox AS q
                 WHERE q.process_id IS NULL AND q.profile IS NOT NULL AND q.ready ORDER BY q.next_at LIMIT $1)
                UNION ALL
                (SELECT q.owner_id, q.next_at FROM router.outbox AS q
                 WHERE q.process_id IS NULL AND q.profile IS NOT NULL AND NOT q.ready AND q.next_at <= now()
                 ORDER BY q.next_at LIMIT $1)
            )
            SELECT least(count(*), $1) AS due,
                coalesce(extract(epoch FROM now() - min(greatest(h.next_at, '2000-01-01')))::float8, 0) AS oldest
            FROM head AS h JOIN crm.owner AS o ON o.record_id = h.owner_id
            WHERE o.approved AND h.next_at <= now()
            """,
            MOST,
        )
    assert row is not None
    return Queue(row["due"], float(row["oldest"]))
