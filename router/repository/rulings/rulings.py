"""Who a sender is, as persons ruled: made and undone by functions of the schema, as the CRM does, and listed.

`router/repository/rulings/ruling_walks.py` carries them out for the mail that waits.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from asyncpg import Record

from router.repository.database import Connection, Database
from router.repository.outgoing.queue import MOST
from router.repository.owners import never_track

Kind = Literal["resolve", "ignore-sender"]


@dataclass(frozen=True, slots=True)
class Made:
    """A ruling that was made, or why it was not."""

    ruling_id: int | None
    refused: str | None


@dataclass(frozen=True, slots=True)
class Ruling:
    """A ruling; `subject` is an address, or @ and a domain. `record` is the name of its record, as far as it has one.

    `is_done`: the mail that waited is in line with what is in force. `touched` counts the waiting parties that it
    resolved, `parties` those that are its record's by it now. `made_record` and `never_tracked`
    tell what was made together with it and goes with it, `kept` what its undoing left of that, in words.
    """

    id: int
    kind: Kind
    subject: str
    record_id: UUID | None
    record: str | None
    by: str
    at: datetime
    undone_by: str | None
    undone_at: datetime | None
    replaced_by: int | None
    in_force: bool
    is_done: bool
    touched: int
    parties: int
    made_record: bool
    never_tracked: bool
    kept: str | None


@dataclass(frozen=True, slots=True)
class Faulty:
    """Subjects of rulings of which some mail could not be changed, counted up to MOST; and one of them, and why.

    `failed` of them are not tried any more: that failed too often. `next_try_at` is None of such a one.
    """

    count: int = 0
    failed: int = 0
    subject: str | None = None
    fault: str | None = None
    next_try_at: datetime | None = None


async def rule(
    database: Database, kind: Kind, subject: str, record_id: UUID | None, by: str, expected: int | None
) -> Made:
    """Make a ruling; `expected` is the one that is in force on the subject so far, None if none is."""
    async with database.transaction() as connection:
        return await _rule(connection, kind, subject, record_id, by, expected)


async def rule_never(
    database: Database, subject: str, pattern: str, by: str, expected: int | None
) -> tuple[Made, bool]:
    """Rule that nobody has to say who a sender is, and have the pattern never tracked: both, or neither.

    The second value tells whether the pattern is new on the organization's list.
    """
    async with database.transaction() as connection:
        made = await _rule(connection, "ignore-sender", subject, None, by, expected)
        if made.ruling_id is None:
            return made, False
        return made, await never_track.insert(connection, pattern, None, by, made.ruling_id)


async def _rule(
    connection: Connection, kind: Kind, subject: str, record_id: UUID | None, by: str, expected: int | None
) -> Made:
    row = await connection.fetchrow(
        "SELECT ruling_id, refused FROM router.rule($1, $2, $3, $4, $5)", kind, subject, record_id, by, expected
    )
    assert row is not None
    return Made(row["ruling_id"], row["refused"])


async def undo(database: Database, ruling_id: int, by: str) -> str | None:
    """Undo a ruling; return why not, if it is refused."""
    async with database.transaction() as connection:
        refused: str | None = await connection.fetchval("SELECT refused FROM router.undo_ruling($1, $2)", ruling_id, by)
    return refused


_LISTED: Final = """
    SELECT r.id, r.kind, r.subject, r.record_id, x.name AS record, r.by, r.at, r.undone_by, r.undone_at, r.replaced_by,
        r.in_force, r.is_done, r.touched, r.parties, r.made_record, r.never_tracked, r.kept
    FROM crm.ruling AS r
    LEFT JOIN LATERAL (SELECT x.name::text FROM crm.record AS x WHERE x.id = r.record_id LIMIT 1) AS x ON true
"""


async def list_rulings(
    database: Database, *, limit: int, undone: bool = False, before: int | None = None, by: str | None = None
) -> list[Ruling]:
    """List rulings, the latest first; `undone` ones too, and those that were replaced, only where asked for.

    With `before` those that are older than this one, with `by` those of one person.
    """
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""
            {_LISTED} WHERE ($2 OR r.undone_at IS NULL AND r.replaced_by IS NULL)
                AND r.id < coalesce($3, 9223372036854775807) AND {"r.by = $4" if by is not None else "$4::text IS NULL"}
            ORDER BY r.id DESC LIMIT $1
            """,
            limit,
            undone,
            before,
            by,
        )
    return [_ruling(row) for row in rows]


async def find_ruling(database: Database, ruling_id: int) -> Ruling | None:
    """Find a ruling by its id."""
    async with database.connection() as connection:
        row = await connection.fetchrow(f"{_LISTED} WHERE r.id = $1", ruling_id)
    return _ruling(row) if row else None


async def touched(database: Database, ruling_id: int) -> int:
    """Tell how many waiting parties a ruling has resolved so far."""
    async with database.connection() as connection:
        number: int | None = await connection.fetchval("SELECT touched FROM router.ruling WHERE id = $1", ruling_id)
    return number or 0


async def rulings_in_force(database: Database, subject: str) -> list[Ruling]:
    """Find what is in force on an address, the ruling that counts first, or on @ and a domain."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""
            {_LISTED}
            WHERE r.subject = ANY(ARRAY[$1, '@' || router.domain_of($1)]) AND r.in_force
            ORDER BY r.subject = $1 DESC
            """,
            subject,
        )
    return [_ruling(row) for row in rows]


async def count_since(database: Database, since: datetime, limit: int) -> int:
    """Count the rulings that were made since and are not undone, as far as they are among the latest so many."""
    async with database.connection() as connection:
        number: int = await connection.fetchval(
            """
            SELECT count(*) FROM (SELECT at, undone_at FROM router.ruling ORDER BY id DESC LIMIT $2) AS r
            WHERE r.at >= $1 AND r.undone_at IS NULL
            """,
            since,
            limit,
        )
    return number


async def last_of(database: Database, by: str) -> int | None:
    """Find the last ruling of a person that is not undone."""
    async with database.connection() as connection:
        found: int | None = await connection.fetchval(
            "SELECT id FROM router.ruling WHERE by = $1 AND undone_at IS NULL ORDER BY id DESC LIMIT 1", by
        )
    return found


def _ruling(row: Record) -> Ruling:
    return Ruling(**row)


async def faulty_of(connection: Connection) -> Faulty:
    """Tell of which subjects the CRM's SQL does not let some mail be changed."""
    row = await connection.fetchrow(
        """
        SELECT
            (SELECT count(*) FROM (SELECT FROM router.ruling_work WHERE fault IS NOT NULL LIMIT $1) AS w)::int AS count,
            (
                SELECT count(*) FROM (
                    SELECT FROM router.ruling_work WHERE fault IS NOT NULL AND try_at = 'infinity' LIMIT $1
                ) AS w
            )::int AS failed,
            w.subject, w.fault, nullif(w.try_at, 'infinity') AS next_try_at
        FROM (SELECT) AS one
        LEFT JOIN (
            SELECT * FROM router.ruling_work WHERE fault IS NOT NULL ORDER BY try_at LIMIT 1
        ) AS w ON true
        """,
        MOST,
    )
    assert row is not None
    return Faulty(**row)


async def read_faulty(database: Database) -> Faulty:
    """Tell of which subjects the CRM's SQL does not let some mail be changed, over a connection of its own."""
    async with database.connection() as connection:
        return await faulty_of(connection)
