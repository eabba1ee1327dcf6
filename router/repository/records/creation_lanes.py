"""Which of the records that rules want is begun next, in a quick lane and in a slow one; and when each is tried again.

    promotion ─▶ quick ─begin─▶ (made) ─▶ done, or put_off
                   │                         │
              park ▼                         │ it took too long, or was lost
                 slow ◀──────────────────────┘
                   └─begin_apart─▶ (made) ─▶ done, or put_off

What is refused at once is tried again in its lane, and keeps nobody waiting. What took too long waits in the slow lane,
and so do the others of its owner, since the same triggers may wait for each: they are tried first there, and owners
have their turns.

An attempt is counted, and committed, before it begins. One that has no end after `_LEASE` was lost with the router or
with PostgreSQL, and what is made of an email may be the cause.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from asyncpg import Record

from router.repository.database import Database, storable
from router.repository.records.creation_ends import tell

ATTEMPTS: Final = 12
"""Times that a record is tried to be made, over two hours and more, before a person has to say `crm.make_again`."""

LOST: Final = 3
"""Times of these that may end with the router or with PostgreSQL: all who work with the database may feel each."""

AT_ONCE: Final = 20
"""Records that `begin` looks at."""

_LEASE: Final = timedelta(minutes=1)
_FIRST_PAUSE: Final = timedelta(seconds=5)
_LONGEST_PAUSE: Final = timedelta(hours=1)
_LOST: Final = "the router or PostgreSQL ended while it was being made, again and again"
_NO_OWNER: Final = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Begun:
    """A record that is to be made now; `attempt` tells who began it last. `lost`: it is given up instead."""

    id: int
    owner_id: UUID
    rule: str
    attempt: int
    lost: bool


_BEGIN: Final = f"""
    UPDATE router.creation AS c SET attempts = c.attempts + 1, lost = c.lost + (c.begun_at IS NOT NULL)::int,
        begun_at = now(), due_at = now() + greatest($1::interval, least($2::interval * 2 ^ c.attempts, $3::interval))
    FROM picked AS p WHERE c.id = p.id
    RETURNING c.id, c.owner_id, c.rule, c.attempts AS attempt, c.lost >= {LOST} OR c.attempts > {ATTEMPTS} AS lost
"""  # noqa: S608  # constants
_PAUSES: Final = (_LEASE, _FIRST_PAUSE, _LONGEST_PAUSE)


async def begin(database: Database) -> tuple[Begun | None, bool]:
    """Begin what is due first in the quick lane; and say whether more may be due.

    What was lost is parked in the slow lane, and so is what is of an owner of whom something waits there.
    """
    async with database.connection() as connection:
        row = await connection.fetchrow(
            f"""
            WITH due AS MATERIALIZED (
                SELECT c.id, c.owner_id, c.due_at, c.begun_at FROM router.creation AS c
                WHERE c.state = 'wanted' AND NOT c.slow AND c.due_at <= now()
                ORDER BY c.due_at, c.id LIMIT {AT_ONCE} FOR UPDATE SKIP LOCKED
            ), judged AS MATERIALIZED (
                SELECT d.*, d.begun_at IS NOT NULL OR EXISTS (
                    SELECT FROM router.creation AS s WHERE s.owner_id = d.owner_id AND s.state = 'wanted' AND s.slow
                ) AS is_slow FROM due AS d
            ), parked AS (
                UPDATE router.creation AS c SET slow = true FROM judged AS j WHERE c.id = j.id AND j.is_slow
            ), picked AS MATERIALIZED (
                SELECT id FROM judged WHERE NOT is_slow ORDER BY due_at, id LIMIT 1
            ), begun AS ({_BEGIN})
            SELECT (SELECT count(*) FROM due) AS due, b.* FROM (SELECT) AS one LEFT JOIN begun AS b ON true
            """,  # noqa: S608  # constants
            *_PAUSES,
        )
    assert row is not None
    begun = _begun(row) if row["id"] is not None else None
    return begun, begun is not None or row["due"] == AT_ONCE


async def begin_apart(database: Database, after: UUID = _NO_OWNER, *, failed_first: bool = False) -> Begun | None:
    """Begin one of the slow lane, of the owner whose turn it is `after` that one; None where nothing is due.

    What was never tried comes before what failed, or with `failed_first` after it.
    """
    async with database.connection() as connection:
        row = await connection.fetchrow(
            f"""
            WITH RECURSIVE owners AS (
                (SELECT c.owner_id FROM router.creation AS c WHERE c.state = 'wanted' AND c.slow
                 ORDER BY c.owner_id LIMIT 1)
                UNION ALL
                SELECT (SELECT c.owner_id FROM router.creation AS c
                        WHERE c.state = 'wanted' AND c.slow AND c.owner_id > o.owner_id ORDER BY c.owner_id LIMIT 1)
                FROM owners AS o WHERE o.owner_id IS NOT NULL
            ), turns AS MATERIALIZED (
                SELECT o.owner_id FROM owners AS o
                WHERE o.owner_id IS NOT NULL ORDER BY o.owner_id > $4 DESC, o.owner_id
            ), picked AS MATERIALIZED (
                SELECT d.id FROM turns AS t CROSS JOIN LATERAL (
                    SELECT * FROM ({_due_apart("$5::boolean")}) AS first
                    UNION ALL
                    SELECT * FROM ({_due_apart("NOT $5::boolean")}) AS second
                    LIMIT 1
                ) AS d LIMIT 1
            )
            {_BEGIN}
            """,  # noqa: S608  # constants
            *_PAUSES,
            after,
            failed_first,
        )
    return _begun(row) if row is not None else None


def _due_apart(failed: str) -> str:
    return f"""
        SELECT c.id FROM router.creation AS c
        WHERE c.state = 'wanted' AND c.slow AND c.owner_id = t.owner_id AND (c.attempts > 0) = ({failed})
            AND c.due_at <= now()
        ORDER BY c.due_at LIMIT 1 FOR UPDATE SKIP LOCKED
    """  # noqa: S608  # constants


def _begun(row: Record) -> Begun:
    return Begun(row["id"], row["owner_id"], row["rule"], row["attempt"], row["lost"])


async def put_off(database: Database, begun: Begun, fault: str, *, slow: bool, lost: bool) -> bool:
    """Note why it could not be made, and try it later, or never again; return whether it is that.

    `slow`: it took too long. `lost`: PostgreSQL ended, or the connection to it.
    """
    async with database.transaction() as connection:
        row = await connection.fetchrow(
            f"""
            UPDATE router.creation AS c SET fault = $3, begun_at = NULL, slow = c.slow OR $4 OR $5,
                lost = c.lost + $5::int,
                state = CASE WHEN c.attempts >= {ATTEMPTS} OR c.lost + $5::int >= {LOST} THEN 'failed'
                    ELSE 'wanted' END,
                due_at = now() + greatest(
                    least($6::interval * 2 ^ (c.attempts - 1), $7::interval), CASE WHEN $5 THEN $8::interval END)
            WHERE c.id = $1 AND c.attempts = $2 AND c.state = 'wanted'
            RETURNING c.id, c.email_id, c.owner_id, c.rule, c.state
            """,  # noqa: S608  # constants
            begun.id,
            begun.attempt,
            (storable(fault) or "")[:1000],
            slow,
            lost,
            _FIRST_PAUSE,
            _LONGEST_PAUSE,
            _LEASE,
        )
        if row is None or row["state"] != "failed":
            return False
        await tell(connection, "record_not_made", row, fault=storable(fault))
    return True


async def give_up(database: Database, begun: Begun) -> str | None:
    """Give up what was lost too often, and return why; None where it is another's by now."""
    async with database.transaction() as connection:
        row = await connection.fetchrow(
            """
            UPDATE router.creation SET state = 'failed', attempts = attempts - 1, begun_at = NULL,
                fault = coalesce(fault || '; ', '') || $3
            WHERE id = $1 AND attempts = $2 AND state = 'wanted' RETURNING id, email_id, owner_id, rule, fault
            """,
            begun.id,
            begun.attempt,
            _LOST,
        )
        if row is None:
            return None
        await tell(connection, "record_not_made", row, fault=row["fault"])
    fault: str = row["fault"]
    return fault
