"""Splitting an email off its thread, as where an answer is about something else; and undoing that."""

from uuid import UUID

from router.repository.database import Database
from router.repository.rulings import splits
from router.repository.rulings.splits import Split

__all__ = ["Split", "split", "undo"]


async def split(database: Database, email_id: UUID, by: str) -> Split:
    """Let an email, with all that answers it, be a thread of its own. Raises UnknownName, DatabaseError."""
    return await splits.split(database, email_id, by)


async def undo(database: Database, email_id: UUID, by: str) -> Split:
    """Put an email that was split off back on its thread. Raises UnknownName, DatabaseError."""
    return await splits.undo(database, email_id, by)
