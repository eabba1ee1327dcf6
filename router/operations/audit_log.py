"""The audit log: who did what, when, and about which email."""

from collections.abc import Sequence
from typing import Unpack

from router.repository.database import Database
from router.repository.people import audit_log
from router.repository.people.audit_log import About, Entry

__all__ = ["COMMAND_LINE", "Entry", "list_before", "note"]

COMMAND_LINE = "command line"
"""Who did it, where a command did."""


async def note(database: Database, by: str, action: str, subject: str = "", **about: Unpack[About]) -> None:
    """Note that a person, or a program by its token, did or looked at something; before it is shown.

    `action` is in lower case with hyphens, such as raw-viewed; `subject` whom or what it was done to.
    """
    async with database.connection() as connection:
        await audit_log.note(connection, by, action, subject, **about)


async def list_before(
    database: Database, before: int | None = None, limit: int = 100, by: str | None = None
) -> Sequence[Entry]:
    """List entries, the latest first: those before the one with this id, with `by` those of one person."""
    return await audit_log.list_before(database, before, limit, by)
