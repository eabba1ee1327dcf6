"""The raw bytes of a received email (.eml), which the CRM does not store."""

from dataclasses import dataclass
from uuid import UUID

from router.errors import RouterError
from router.incoming.original import Finder
from router.operations import take_back
from router.profile import Profiles
from router.repository.database import Database
from router.repository.trace.received import find_received
from router.workers.pool import Workers

__all__ = ["NotHad", "Original", "original"]


class NotHad(RouterError):
    """Why the bytes of an email cannot be had."""


@dataclass(frozen=True, slots=True)
class Original:
    """The bytes of an email as they came, and where they are from, in words."""

    email_id: UUID
    content: bytes
    whence: str


async def original(database: Database, workers: Workers, profiles: Profiles, name: str) -> Original:
    """Find the bytes of the email of this id, or Message-ID. Raises UnknownName, NotHad, DatabaseError."""
    (email_id,) = await take_back.find(database, [name])
    email = await find_received(database, email_id)
    if email is None:
        raise NotHad(
            f"the CRM does not have the email {email_id}: it was deleted, taken back or erased, or never there"
        )
    if not email.copies:
        raise NotHad(
            f"no copy of the email {email_id} was received: "
            + (
                "the CRM wrote it"
                if email.direction == "out"
                else "the CRM imported it, or nothing tells any more where"
            )
        )
    finder = Finder(database, workers, profiles, email)
    found = await finder.find()
    if found is None:
        raise NotHad(f"the bytes of the email {email_id} are gone: {'; '.join(dict.fromkeys(finder.faults))}")
    return Original(email_id, found.content, found.whence)
