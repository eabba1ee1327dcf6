"""Who takes care of a sender, who is put off until when, and who looks at whom now; for all who see the mail."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from router.errors import UnknownName
from router.operations.queue import Seen
from router.operations.unresolved import Refused, subject_of
from router.repository.database import Database
from router.repository.senders import care, fold
from router.repository.senders.care import LOOKS, Care

__all__ = ["LOOKS", "Care", "assign", "look", "lookers", "snooze"]

_LONGEST: Final = timedelta(days=366)


async def assign(database: Database, seen: Seen, address: str, to: str | None, by: str, expected: str | None) -> Care:
    """Give a sender to a colleague, None: to nobody; `expected` is who has the sender so far.

    Raises Refused where somebody else was first, with who has the sender; UnknownName where nothing waits.
    """
    address = subject_of(address)
    found = await care.assign(database, seen, address, to, by, expected)
    if found is None:
        raise _unknown(address)
    if found.assigned_to != to:
        raise Refused(
            f"{found.assigned_by} has given {address} to {found.assigned_to}"
            if found.assigned_to
            else f"{address} is not with {expected} any more"
        )
    return found


async def snooze(database: Database, seen: Seen, address: str, until: datetime | None, by: str) -> Care:
    """Put a sender off, with the mail that comes meanwhile; None: call the sender back. Raises Refused, UnknownName."""
    now = datetime.now(UTC)
    if until is not None and not now < until <= now + _LONGEST:
        raise Refused("a sender is put off until a time within a year from now")
    address = subject_of(address)
    found = await care.snooze(database, seen, address, until, by)
    if found is None:
        raise _unknown(address)
    await fold.fold(database)
    return found


async def look(database: Database, seen: Seen, address: str, by: str, *, away: bool = False) -> None:
    """Say that a person looks at a sender, again within `LOOKS` seconds for as long as it is so; `away`: no more.

    Raises UnknownName.
    """
    address = subject_of(address)
    if not await care.look(database, seen, address, by, away=away):
        raise _unknown(address)


async def lookers(database: Database, seen: Seen, addresses: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Tell who looks at these senders now."""
    return await care.lookers(database, seen, addresses)


def _unknown(address: str) -> UnknownName:
    return UnknownName(f"no mail of {address} waits")
