"""Simulations of other tracking rules, as they stand in the database: any process can be asked for them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from router.repository.database import Database, storable

PIECE: Final = 100
"""Rows that are forgotten at once, at most."""

SILENT: Final = timedelta(seconds=30)
"""A process that was not heard of for so long, of a simulation that is not done, has ended."""

_KEPT: Final = timedelta(days=1)
_LOCK: Final = 0x53494D554C  # of those who begin, so that none begins one too many


@dataclass(frozen=True, slots=True)
class Kept:
    """A simulation. `found` is JSON, None before anything is known; `silent`: its process ended before it was done."""

    id: str
    mailbox: str
    rule: str
    by: str
    begun_at: datetime
    done: bool
    fault: str | None
    found: str | None
    silent: bool


async def begin(database: Database, id_: str, mailbox: str, rule: str, by: str, begun_at: datetime, most: int) -> bool:
    """Note that one is begun; False where this person has `most` under way already, in whatever process."""
    async with database.transaction() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        under_way: int = await connection.fetchval(
            """
            SELECT count(*) FROM router.simulation
            WHERE by = $1 AND NOT done AND seen_at > clock_timestamp() - $2::interval
            """,
            by,
            SILENT,
        )
        if under_way >= most:
            return False
        await connection.execute(
            "INSERT INTO router.simulation (id, mailbox, rule, by, begun_at) VALUES ($1, $2, $3, $4, $5)",
            id_,
            storable(mailbox),
            rule,
            by,
            begun_at,
        )
    return True


async def tell(database: Database, id_: str, found: str | None, *, done: bool, fault: str | None) -> None:
    """Note how far one is, and that its process lives; `found` is None where nothing more was found."""
    async with database.connection() as connection:
        await connection.execute(
            """
            UPDATE router.simulation
            SET found = coalesce($2::jsonb, found), done = $3, fault = $4, seen_at = clock_timestamp()
            WHERE id = $1
            """,
            id_,
            found,
            done,
            storable(fault),
        )


async def find(database: Database, id_: str) -> Kept | None:
    """Find one; None where there is none, or none any more."""
    async with database.connection() as connection:
        row = await connection.fetchrow(
            """
            SELECT id, mailbox, rule, by, begun_at, done, fault, found::text AS found,
                NOT done AND seen_at <= clock_timestamp() - $2::interval AS silent
            FROM router.simulation WHERE id = $1
            """,
            id_,
            SILENT,
        )
    return Kept(**row) if row else None


async def forget_old(database: Database) -> int:
    """Forget those that were begun more than a day ago; return how many that were, PIECE at most."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            DELETE FROM router.simulation WHERE id IN (
                SELECT s.id FROM router.simulation AS s WHERE s.begun_at < now() - $2::interval
                ORDER BY s.begun_at LIMIT $1 FOR UPDATE SKIP LOCKED
            ) RETURNING id
            """,
            PIECE,
            _KEPT,
        )
    return len(rows)
