"""What is wrong with the relays, for an admin."""

from collections.abc import Sequence

from router.repository.database import Database, storable


async def note_fault(database: Database, profile: str, fault: str | None) -> None:
    """Say why an outgoing profile's relay cannot be used, in words for an admin, or that it can."""
    async with database.connection() as connection:
        if fault is None:
            await connection.execute("DELETE FROM router.relay WHERE profile = $1", profile)
            return
        await connection.execute(
            """
            INSERT INTO router.relay (profile, fault) VALUES ($1, $2)
            ON CONFLICT (profile) DO UPDATE SET fault = excluded.fault, changed_at = now()
                WHERE router.relay.fault <> excluded.fault
            """,
            profile,
            storable(fault),
        )


async def forget_others(database: Database, profiles: Sequence[str]) -> None:
    """Forget the relays of outgoing profiles that there are no more."""
    async with database.connection() as connection:
        await connection.execute("DELETE FROM router.relay WHERE profile <> ALL ($1::text[])", list(profiles))
