"""Records of the CRM and their addresses, as a client of the API finds, makes and changes them."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from router.errors import DatabaseError, UnknownName
from router.operations.backing import Changed, Refused
from router.repository.database import Database
from router.repository.faults import refusal_of
from router.repository.records import records
from router.repository.records.records import CrmRecord, RecordChange
from router.repository.senders import search

__all__ = ["MOST_FOUND", "CrmRecord", "RecordChange", "change", "list_page", "make", "read", "search_all"]

MOST_FOUND: Final = 200
"""Records that a search finds at most."""

_ELSEWHERE: Final = "the CRM keeps its records elsewhere, and shows them by views: they can be changed there alone"


async def search_all(database: Database, text: str, kind: str | None, limit: int) -> Sequence[CrmRecord]:
    """Find records by the beginnings of words in a name or an address, as the pages do; the likeliest first."""
    found = await search.search_records(database, text, None if kind is None else [kind], limit)
    return await records.find(database, [one.record_id for one in found])


async def list_page(
    database: Database, kind: str | None, address: str | None, after: UUID | None, limit: int
) -> tuple[Sequence[CrmRecord], UUID | None]:
    """List records by id, of a kind, or with an address; and tell where the next page begins."""
    return await records.list_page(database, kind, address, after, limit)


async def read(database: Database, record_id: UUID) -> CrmRecord:
    """Read a record with its addresses. Raises UnknownName."""
    found = await records.read(database, record_id)
    if found is None:
        raise UnknownName(f"there is no record {record_id}")
    return found


async def make(database: Database, made: RecordChange, by: str) -> CrmRecord:
    """Make a record with its addresses. Raises Refused, in the schema's words."""
    try:
        found = await records.make(database, made, by)
    except DatabaseError as error:
        raise _refused(error) from error
    if found is None:
        raise Refused(_ELSEWHERE)
    return found


async def change(
    database: Database, record_id: UUID, versions: Sequence[str] | None, wanted: RecordChange, by: str
) -> CrmRecord:
    """Change a record that is at one of these versions, None: at any.

    Raises UnknownName, Changed where somebody was quicker, and Refused, in the schema's words.
    """
    try:
        found, done = await records.change(database, record_id, versions, wanted, by)
    except DatabaseError as error:
        raise _refused(error) from error
    if found is None:
        raise UnknownName(f"there is no record {record_id}")
    if done:
        return found
    if versions is None or found.version in versions:
        raise Refused(_ELSEWHERE)
    raise Changed(f"record {record_id} is another by now: read it, and try again with its ETag")


def _refused(error: DatabaseError) -> Exception:
    words = refusal_of(error)
    return Refused(words) if words else error
