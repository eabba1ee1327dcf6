"""The schema of the database, brought to the version of this program."""

from collections.abc import Sequence

from router.repository import migrate as migrations


async def migrate(dsn: str) -> Sequence[str]:
    """Apply what is missing and return its names. Raises MigrationError, or DatabaseError if it cannot be reached."""
    return await migrations.migrate(dsn)
