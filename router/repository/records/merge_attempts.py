"""Attempts to carry out a merge: which merge is due, and when it, or what was set aside of it, is tried again.

An attempt is counted, and committed, before it begins: a piece may end PostgreSQL, and the router with it. Attempts
that move nothing come ever later, and after some there is none any more, until somebody merges the two records again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from router.errors import DatabaseError
from router.repository.database import Connection, Database, storable
from router.repository.faults import is_locked, is_lost
from router.repository.records.merge_kinds import Kind

FIRST_PAUSE: Final = timedelta(seconds=5)  # until what was passed over, or could not be done, is tried again
_LONGEST_PAUSE: Final = timedelta(hours=1)  # the same, where it fails again and again
_LEASE: Final = timedelta(seconds=15)  # who began has it for so long: longer than a transaction takes by these limits
ATTEMPTS: Final = 12  # in a row, over two hours and more, that move nothing
_LOCKED: Final = 6  # the most that count where somebody else has locked it
LOST: Final = 3  # of these that may end with the router or with PostgreSQL: all who work with the database feel each
_NEVER: Final = "timestamptz 'infinity'"
_LOST_WORDS: Final = "the router or PostgreSQL ended while it was carried out, again and again"
MOST_REFUSED: Final = 3  # keys of a piece that the CRM's SQL may refuse, until the rest has to wait


@dataclass(frozen=True, slots=True)
class Begun:
    """A merge that is to be carried out now; `begun` tells who began last. `is_given_up`: it failed too often."""

    from_id: UUID
    begun: int
    is_given_up: bool


async def is_due(database: Database, from_id: UUID) -> bool:
    """Whether something of a merge is to be moved now, or is being moved by another process.

    Not where all is done, or the rest is put off.
    """
    async with database.connection() as connection:
        due: bool = await connection.fetchval(
            """
            SELECT EXISTS (
                SELECT FROM router.merge
                WHERE from_id = $1 AND done_at IS NULL AND (try_at <= now() OR begun_at IS NOT NULL)
            )
            """,
            from_id,
        )
    return due


async def begin(database: Database, from_id: UUID | None) -> Begun | None:
    """Find a merge that is due, count an attempt, and put it off: none other has it, or waits for it, meanwhile."""
    async with database.connection() as connection:
        row = await connection.fetchrow(
            f"""
            UPDATE router.merge AS m SET begun = m.begun + 1, begun_at = now(), attempts = m.attempts + 1,
                -- Somebody began it anew, or something was moved, where no attempt is counted.
                lost = CASE WHEN m.attempts = 0 THEN 0 ELSE m.lost + (m.begun_at IS NOT NULL)::int END,
                try_at = now() + greatest($2::interval, {_pause("m.attempts", "$3", "$4")})
            WHERE m.from_id = (
                SELECT from_id FROM router.merge
                WHERE done_at IS NULL AND try_at <= now() AND ($1::uuid IS NULL OR from_id = $1)
                ORDER BY try_at LIMIT 1 FOR UPDATE SKIP LOCKED
            )
            RETURNING m.from_id, m.begun, m.lost >= {LOST} AS is_given_up
            """,  # noqa: S608  # constants
            from_id,
            _LEASE,
            FIRST_PAUSE,
            _LONGEST_PAUSE,
        )
    return Begun(**row) if row is not None else None


def _pause(attempts: str, first: str, longest: str) -> str:
    """SQL for how long to wait after so many attempts before."""
    return f"least({first}::interval * power(2, least({attempts}, 20)), {longest}::interval)"


async def go_on(connection: Connection, begun: Begun) -> None:
    """Note that the attempt has an end, and that the next piece is due; other merges that are due come before."""
    await connection.execute(
        """
        UPDATE router.merge SET fault = NULL, attempts = 0, begun_at = NULL, try_at = now()
        WHERE from_id = $1 AND begun = $2 AND done_at IS NULL
        """,
        begun.from_id,
        begun.begun,
    )


async def keep(connection: Connection, begun: Begun) -> None:
    """Keep other processes away for one more transaction."""
    await connection.execute(
        """
        UPDATE router.merge SET try_at = greatest(try_at, now() + $3::interval)
        WHERE from_id = $1 AND begun = $2 AND done_at IS NULL
        """,
        begun.from_id,
        begun.begun,
        _LEASE,
    )


async def set_aside(database: Database, begun: Begun, kind: Kind, key: str, fault: DatabaseError) -> None:
    """Note what could not be moved: it is tried again, later each time, and at last no more."""
    async with database.connection() as connection:
        await connection.execute(
            f"""
            INSERT INTO router.merge_refused AS f (from_id, kind, key, try_at, fault)
            SELECT m.from_id, $2, $3, now() + $5::interval, $4 FROM router.merge AS m WHERE m.from_id = $1
            ON CONFLICT (from_id, kind, key) DO UPDATE SET fault = excluded.fault,
                attempts = CASE WHEN $7 THEN least(f.attempts + 1, {_LOCKED}) ELSE f.attempts + 1 END,
                try_at = CASE WHEN NOT $7 AND f.attempts + 1 >= {ATTEMPTS} THEN {_NEVER}
                    ELSE now() + {_pause("f.attempts", "$5", "$6")} END
            """,  # noqa: S608  # constants
            begun.from_id,
            kind.name,
            key,
            _words(fault),
            FIRST_PAUSE,
            _LONGEST_PAUSE,
            is_locked(fault),
        )


async def aside_and_due(database: Database, begun: Begun) -> Sequence[tuple[str, str]]:
    """List what was set aside and is to be tried again now: the names of kinds, each with a key."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT kind, key FROM router.merge_refused WHERE from_id = $1 AND try_at <= now() ORDER BY try_at LIMIT $2
            """,
            begun.from_id,
            MOST_REFUSED,
        )
    return [(row["kind"], row["key"]) for row in rows]


async def put_off(database: Database, begun: Begun, fault: DatabaseError) -> None:
    """Note why a merge does not go on: it is tried again, later each time that nothing was moved, and at last no more.

    What others have locked has an end of its own: it is tried as often as that takes.
    """
    async with database.connection() as connection:
        await connection.execute(
            f"""
            UPDATE router.merge SET fault = $3, begun_at = NULL, lost = lost + $4::int,
                attempts = CASE WHEN $5 THEN least(greatest(attempts, 1), {_LOCKED}) ELSE greatest(attempts, 1) END,
                try_at = CASE
                    WHEN NOT $5 AND (attempts >= {ATTEMPTS} OR lost + $4::int >= {LOST}) THEN {_NEVER}
                    ELSE now() + {_pause("greatest(attempts, 1) - 1", "$6", "$7")} END
            WHERE from_id = $1 AND begun = $2 AND done_at IS NULL
            """,  # noqa: S608  # constants
            begun.from_id,
            begun.begun,
            _words(fault),
            is_lost(fault),
            is_locked(fault),
            FIRST_PAUSE,
            _LONGEST_PAUSE,
        )


async def give_up(database: Database, begun: Begun) -> None:
    """Note that a merge was lost too often to be tried again."""
    async with database.connection() as connection:
        await connection.execute(
            f"""
            UPDATE router.merge SET fault = concat_ws('; ', fault, $3::text), begun_at = NULL, try_at = {_NEVER}
            WHERE from_id = $1 AND begun = $2 AND done_at IS NULL
            """,  # noqa: S608  # constants
            begun.from_id,
            begun.begun,
            _LOST_WORDS,
        )


def _words(fault: DatabaseError) -> str:
    return (storable(str(fault)) or "")[:1000]
