"""Records of the CRM: one is merged into another.

A merge is in force at once, and carried out in pieces by whoever comes first: who asked for it, or a router. Whoever
was stopped in between is followed by another.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from router.errors import RouterError, UnknownName
from router.repository.database import Database
from router.repository.records import merge_attempts, merges
from router.repository.records.merges import Merge, Named

__all__ = ["Asked", "Merge", "Named", "Refused", "ask", "carry_out", "find", "merge"]

_PAUSE: Final = 0.05  # seconds between two looks at what another process carries out


class Refused(RouterError):
    """Why two records are not merged."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is named of the record that goes, and of the other that stays."""

    goes: Named
    stays: Named


async def ask(database: Database, from_id: UUID, into_id: UUID) -> Asked:
    """Say what merging would move. Raises UnknownName where one of the two is nowhere to be found."""
    goes, stays = await merges.count_named(database, from_id), await merges.count_named(database, into_id)
    # Of a record that was merged before, the words of the refusal say into which.
    if stays.kind is None and await merges.find(database, into_id) is None:
        raise UnknownName(f"there is no active record {into_id} to merge into")
    # The CRM may have deleted the record already; what names it can be merged all the same.
    is_named = goes.kind is not None or goes.parties > 0 or goes.emails > 0
    if not is_named and await merges.find(database, from_id) is None:
        raise UnknownName(f"there is no record {from_id}")
    return Asked(goes, stays)


async def merge(database: Database, from_id: UUID, into_id: UUID, by: str) -> Merge:
    """Merge a record into another, or go on with that. Raises Refused."""
    refused = await merges.merge(database, from_id, into_id, by)
    if refused is not None:
        raise Refused(refused)
    return await find(database, from_id)


async def carry_out(database: Database, merge: Merge) -> AsyncIterator[Merge]:
    """Move what names the merged record, piece by piece; after each, what was moved so far.

    Ends where all is done, or where what is left is put off: something has it locked, and a router does it later.
    """
    while True:
        if await merges.carry_out(database, merge.from_id):
            yield await find(database, merge.from_id)
        elif await merge_attempts.is_due(database, merge.from_id):
            await asyncio.sleep(_PAUSE)  # another process has it at this moment
        else:
            return


async def find(database: Database, from_id: UUID) -> Merge:
    """Find the merge of a record. Raises UnknownName."""
    found = await merges.find(database, from_id)
    if found is None:
        raise UnknownName(f"record {from_id} was not merged into another")
    return found
