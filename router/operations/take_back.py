"""Taking back: an owner's mail that became the CRM's by mistake leaves it, undoably for a while.

Each email is a transaction of its own. A command that was stopped can be given again: what is done says so.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from router.errors import DatabaseAway, DatabaseError, UnknownName
from router.model import normalize
from router.repository.database import Database
from router.repository.erasure import taken_back as repository
from router.repository.erasure.taken_back import Outcome

__all__ = ["Outcome", "Ruled", "find", "find_owner", "rule"]

_TRIES: Final = 3  # the database waits for a lock in each
_PAUSE: Final = 0.5  # seconds, between two


@dataclass(frozen=True, slots=True)
class Ruled:
    """What became of one email."""

    email_id: UUID
    outcome: Outcome


async def find(database: Database, names: Sequence[str]) -> list[UUID]:
    """Find emails by their ids or Message-IDs, each once, in or out of the CRM. Raises UnknownName."""
    ids = {name: _uuid(name) for name in names}
    by_message_id = [name.strip("<>") for name, id_ in ids.items() if id_ is None]
    known = await repository.find_emails(database, by_message_id) if by_message_id else {}
    found = {name: id_ or known.get(name.strip("<>")) for name, id_ in ids.items()}
    if wrong := [name for name, id_ in found.items() if id_ is None]:
        raise UnknownName(f"there is no email {', '.join(wrong)}")
    return list(dict.fromkeys(id_ for id_ in found.values() if id_ is not None))


async def find_owner(database: Database, address: str) -> UUID:
    """Find the owner of a mailbox. Raises UnknownName."""
    owner_id = await repository.find_owner(database, normalize(address))
    if owner_id is None:
        raise UnknownName(f"no owner has the mailbox {address}: email-router owners list names them")
    return owner_id


async def rule(
    database: Database, emails: Sequence[UUID], owner_id: UUID, by: str, *, undo: bool
) -> AsyncIterator[Ruled]:
    """Take emails back for an owner, or undo that; each is told as soon as it is committed."""
    for email_id in emails:
        yield Ruled(email_id, await _rule(database, email_id, owner_id, by, undo=undo))


async def _rule(database: Database, email_id: UUID, owner_id: UUID, by: str, *, undo: bool) -> Outcome:
    do = repository.restore if undo else repository.take_back
    for last in range(1, _TRIES + 1):
        try:
            return await do(database, email_id, owner_id, by)
        except DatabaseAway as error:
            await database.ping()
            if last == _TRIES:
                return Outcome(fault=f"{error}: try again")
        except DatabaseError as error:  # such as a table of the CRM's whose rows need the email
            return Outcome(fault=f"the database refuses it: {error}")
        await asyncio.sleep(_PAUSE)
    raise AssertionError("the last try returns")


def _uuid(name: str) -> UUID | None:
    try:
        return UUID(name)
    except ValueError:
        return None
