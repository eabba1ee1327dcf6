"""Emails as a client of the API posts, reads, cancels and releases them: the contract of docs/database.md."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from router.errors import DatabaseError, UnknownName
from router.model.new_email import NewAttachment, NewEmail, NewParty, Once
from router.operations import mail_content, outbox
from router.operations.backing import Backing, Conflict, Refused
from router.repository.api import posted
from router.repository.api.posted import Delivery, Email, Listed, Party
from router.repository.database import Database
from router.repository.faults import refusal_of

__all__ = [
    "MOST_IN_THREAD",
    "Delivery",
    "Email",
    "Listed",
    "NewAttachment",
    "NewEmail",
    "NewParty",
    "Once",
    "Party",
    "Sent",
    "cancel",
    "list_before",
    "once",
    "post",
    "raw",
    "read",
    "release",
    "retry",
    "thread",
]


MOST_IN_THREAD: Final = 1000
"""Emails of a thread that are listed."""


@dataclass(frozen=True, slots=True)
class Sent:
    """An email that was posted; `is_new`: by this request."""

    email: Email
    is_new: bool


def once(name: str, key: str, content: bytes) -> Once:
    """Tell one request from another: by whose key it is, and by what it asks for."""
    return Once(hashlib.sha256(f"{name}\0{key}".encode()).digest(), hashlib.sha256(content).digest())


async def post(database: Database, new: NewEmail, once: Once | None) -> Sent:
    """Have an email sent; with the same `once` again, find that one.

    Raises Refused for what cannot be sent as it is, and UnknownName where that one was deleted.
    """
    try:
        found = await posted.post(database, new, once)
    except DatabaseError as error:
        if words := refusal_of(error):
            raise Refused(words) from error
        raise
    if found.is_other:
        raise Refused("this Idempotency-Key was used for another email: take another key for each")
    email = await posted.read(database, found.email_id)
    if email is None:
        raise UnknownName("the email of this Idempotency-Key was deleted since")
    return Sent(email, found.is_new)


async def read(database: Database, email_id: UUID) -> Email:
    """Read an email. Raises UnknownName."""
    found = await posted.read(database, email_id)
    if found is None:
        raise UnknownName(f"there is no email {email_id}")
    return found


async def raw(backing: Backing, email_id: UUID, by: str) -> bytes:
    """Fetch a received email as it came; and note by whom, before it is handed over.

    Raises UnknownName where the CRM does not have it, or its bytes cannot be had; Conflict where it is private, or the
    mail server is too busy for now.
    """
    await _check_public(backing.database, email_id)
    try:
        found = await mail_content.fetch_source(backing, by, email_id)
    except mail_content.NotHad as error:
        raise UnknownName(str(error)) from None
    except mail_content.NotShown as error:
        raise Conflict(str(error)) from None
    await _check_public(backing.database, email_id)  # the mail server took a while
    return found.content


async def _check_public(database: Database, email_id: UUID) -> None:
    if (await read(database, email_id)).private:
        raise Conflict(str(mail_content.private_source()))


async def list_before(database: Database, before: tuple[datetime, UUID] | None, limit: int) -> Sequence[Listed]:
    """List emails, the newest first, those before a place."""
    return await posted.list_emails(database, before, limit)


async def thread(database: Database, email_id: UUID) -> Sequence[Listed]:
    """List the latest of an email's thread, the oldest first; of a private one only itself. Raises UnknownName."""
    email = await read(database, email_id)
    found = await posted.list_thread(database, email_id, MOST_IN_THREAD)
    return [one for one in found if one.id == email_id] if email.private else found


async def cancel(database: Database, by: str, email_id: UUID) -> Email:
    """Cancel what is pending or failed. Raises UnknownName, Conflict."""
    [ruled] = [one async for one in outbox.cancel(database, by, await outbox.find(database, [str(email_id)]))]
    if ruled.fault:
        raise Conflict(ruled.fault)
    return await read(database, email_id)


async def retry(database: Database, email_id: UUID) -> Email:
    """Try a failed email again, or a pending one now. Raises UnknownName, Conflict."""
    found = await outbox.find(database, [str(email_id)])
    if found[0].status not in ("pending_send", "failed"):
        raise Conflict(f"it is {found[0].status}: what is pending or failed can be tried again")
    [ruled] = [one async for one in outbox.retry(database, found)]
    if ruled.fault:
        raise Conflict(ruled.fault)
    return await read(database, email_id)


async def release(
    backing: Backing, by: str, email_id: UUID, as_: Literal["sent", "failed", "resend"], *, force: bool
) -> Email:
    """Say of an unknown email whether it was sent, or send it again. Raises UnknownName, Conflict."""
    database = backing.database
    found = await outbox.find(database, [str(email_id)])
    [ruled] = [one async for one in outbox.release(database, backing.profiles, by, as_, found, force=force)]
    if ruled.fault:
        raise Conflict(ruled.fault.replace("--force", "force"))
    return await read(database, email_id)
