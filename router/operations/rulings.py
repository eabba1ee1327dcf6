"""Rulings as they are listed and undone later: a person's own, or those of anybody for who administers."""

from collections.abc import Sequence
from typing import Final

from router.errors import UnknownName
from router.model.viewer import StaffRole, Viewer
from router.operations import unresolved
from router.operations.queue import ruling
from router.operations.queue.ruling import Ruling
from router.repository.database import Database

__all__ = ["PAGE", "Ruling", "find", "list_page", "undo"]

PAGE: Final = 50
"""Rulings of one page."""


async def list_page(
    database: Database, viewer: Viewer, by: str | None, before: int | None
) -> tuple[Sequence[Ruling], int | None]:
    """List rulings before this one, the latest first, and tell before which the next page begins.

    `by` names whose; None: of all. Who does not administer sees own ones, whatever is asked.
    """
    whose = by if viewer.administers else viewer.name
    found = await ruling.recent(database, whose, before=before, limit=PAGE + 1)
    return found[:PAGE], found[PAGE - 1].id if len(found) > PAGE else None


async def find(database: Database, viewer: Viewer, ruling_id: int) -> Ruling:
    """Find a ruling of the person's own, or of anybody for who administers. Raises UnknownName."""
    found = await unresolved.find(database, ruling_id)
    if not viewer.administers and not (found.by == viewer.name and viewer.has_anywhere(StaffRole.DECIDE)):
        raise UnknownName(f"there is no ruling {ruling_id} of yours")
    return found


async def undo(database: Database, viewer: Viewer, ruling_id: int) -> Ruling:
    """Undo a ruling of the person's own, or of anybody for who administers. Raises UnknownName, Refused."""
    await find(database, viewer, ruling_id)
    return await ruling.undo(database, ruling_id, viewer.name)
