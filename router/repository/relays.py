"""What is wrong with the relays, for an admin."""

from collections.abc import Sequence
from datetime import datetime

from router.repository.database import Database, storable


async def note_fault(database: Database, profile: str, fault: str | None, next_try_at: datetime | None = None) -> None:
    """Say why an outgoing profile's relay cannot be used, and when it is tried again; or that it can."""
    async with database.connection() as connection:
        if fault is None:
            await connection.execute("DELETE FROM router.relay WHERE profile = $1", profile)
            return
        await connection.execute(
            """
            INSERT INTO router.relay (profile, fault, next_try_at, fault_since) VALUES ($1, $2, $3, clock_timestamp())
            ON CONFLICT (profile) DO UPDATE SET fault = excluded.fault, next_try_at = excluded.next_try_at
            """,
            profile,
            storable(fault),
            next_try_at,
        )


async def forget_others(database: Database, profiles: Sequence[str]) -> None:
    """Forget the relays of outgoing profiles that there are no more."""
    async with database.connection() as connection:
        await connection.execute("DELETE FROM router.relay WHERE profile <> ALL ($1::text[])", list(profiles))


async def faults(database: Database) -> Sequence[str]:
    """What is wrong with relays now, or was when the process that knew ended."""
    async with database.connection() as connection:
        return [row["fault"] for row in await connection.fetch("SELECT DISTINCT fault FROM router.relay")]
