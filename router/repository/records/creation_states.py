"""What rules want made of emails, as status, metrics and explain tell it."""

from dataclasses import dataclass
from uuid import UUID

from router.repository.database import Connection, Database
from router.repository.outgoing.queue import MOST


@dataclass(frozen=True, slots=True)
class OpenRecords:
    """How many are not made yet: `waiting` for a sender to be resolved, `asked` of the CRM, `retried`, `failed`.

    Of each at most MOST are counted. `error` is why the newest that failed was not made, or else the newest that is
    retried.
    """

    waiting: int = 0
    asked: int = 0
    retried: int = 0
    failed: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class WantedRecord:
    """What a rule wanted of an email, and what became of it; `name` is that of the record."""

    rule: str
    makes: str
    state: str
    outcome: str | None
    fault: str | None
    record_id: UUID | None
    name: str | None


async def made_of(connection: Connection, email_id: UUID) -> list[WantedRecord]:
    """Tell what rules wanted of an email, and what became of it."""
    rows = await connection.fetch(
        """
        SELECT c.rule, c.makes, c.state, c.outcome, c.fault, c.record_id, r.name FROM router.creation AS c
        LEFT JOIN LATERAL (SELECT r.name::text FROM crm.record AS r WHERE r.id = c.record_id LIMIT 1) AS r ON true
        WHERE c.email_id = $1 ORDER BY c.id
        """,
        email_id,
    )
    return [WantedRecord(**row) for row in rows]


async def open_ones(connection: Connection) -> OpenRecords:
    """Count what is not made, through indexes."""
    row = await connection.fetchrow(
        """
        SELECT
            (SELECT count(*) FROM (SELECT FROM router.creation WHERE state = 'waiting' LIMIT $1) AS c)::int AS waiting,
            (SELECT count(*) FROM (SELECT FROM router.creation WHERE state = 'asked' LIMIT $1) AS c)::int AS asked,
            (SELECT count(*) FROM (
                SELECT FROM router.creation WHERE state = 'wanted' AND attempts > 0 LIMIT $1) AS c)::int AS retried,
            (SELECT count(*) FROM (SELECT FROM router.creation WHERE state = 'failed' LIMIT $1) AS c)::int AS failed,
            coalesce(
                (SELECT fault FROM router.creation WHERE state = 'failed' ORDER BY id DESC LIMIT 1),
                (SELECT fault FROM router.creation WHERE state = 'wanted' AND attempts > 0 AND fault IS NOT NULL
                 ORDER BY id DESC LIMIT 1)
            ) AS error
        """,
        MOST,
    )
    assert row is not None
    return OpenRecords(**row)


async def read_open(database: Database) -> OpenRecords:
    """Count what is not made."""
    async with database.connection() as connection:
        return await open_ones(connection)
