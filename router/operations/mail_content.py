"""The content of an email as a page shows it: HTML, pictures, attachments, and the source for administrators.

All of it is a stranger's. What is not the person's to see is not found; of private mail nothing is shown to anybody.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from router.errors import ContentRefused, RouterError, UnknownName
from router.html.frame import Framed, framed
from router.html.picture import picture_type
from router.html.sanitize import LONGEST
from router.model.outgoing import Stored
from router.model.viewer import Viewer
from router.operations import audit_log
from router.operations.backing import Backing
from router.operations.original import NotHad, Original, original
from router.parse.text import safe_filename
from router.repository.database import Database
from router.repository.incoming.attachments import read_content
from router.repository.people import mail_content
from router.workers.pool import Fault

__all__ = [
    "Body",
    "File",
    "Framed",
    "NotHad",
    "NotShown",
    "Original",
    "attachment",
    "body",
    "fetch_source",
    "picture",
    "private_source",
    "source",
]

_MOST_OF_PICTURE: Final = 20 << 20  # bytes
_SLOW: Final = 7.0  # seconds for a mail server to give a message: a page is given up after 9
_AT_ONCE: Final = asyncio.Semaphore(2)  # sources sought: each opens a mailbox, and servers count connections


class NotShown(RouterError):
    """Why something of an email is not shown, in words."""


@dataclass(frozen=True, slots=True)
class Body:
    """The HTML of an email for its frame; `framed` is None where the email has no HTML."""

    subject: str
    framed: Framed | None


@dataclass(frozen=True, slots=True)
class File:
    """A file that came with an email: `filename` is safe to write to disk, `size` in bytes if it is known.

    `media_type` is what its first bytes are, where these are of a picture, and else what mail calls it.
    """

    filename: str
    media_type: str
    size: int | None
    blocks: AsyncIterator[bytes]


async def body(backing: Backing, viewer: Viewer, email_id: UUID, picture_at: Callable[[int], str]) -> Body:
    """Make the HTML of an email safe for its frame; `picture_at` says where the picture of a position is.

    Raises UnknownName, NotShown where it is private or cannot be made safe.
    """
    found = await mail_content.read_html(backing.database, viewer.id, email_id, LONGEST + 1)
    if found is None:
        raise UnknownName("there is no such email that you may see")
    if found.private:
        raise private_source()
    if not found.html:
        return Body(found.subject, None)
    pictures = {content_id: picture_at(position) for content_id, position in found.parts.items()}
    # In a process: threads of ours would hold up the event loop, and whatever else the router does.
    async with backing.shared(_one_at_a_time):
        [made] = await backing.workers.map(framed, [(found.html, pictures)])
    if isinstance(made, Fault):
        raise NotShown(f"its HTML cannot be shown: {made.words}")
    return Body(found.subject, made)


def _one_at_a_time(_: Backing) -> asyncio.Semaphore:
    """Take turns: mail that comes in needs the same processes."""
    return asyncio.Semaphore(1)


async def picture(database: Database, viewer: Viewer, email_id: UUID, position: int) -> File:
    """Open a picture that came with an email. Raises UnknownName where there is none that may be shown."""
    stored = await mail_content.find_attachment(database, viewer.id, email_id, position)
    if stored is None or stored.packed > _MOST_OF_PICTURE:
        raise UnknownName("there is no such picture that you may see")
    file = await _opened(database, stored)
    if not file.media_type.startswith("image/"):
        raise UnknownName("it is no picture that a page may show")
    return file


async def attachment(database: Database, viewer: Viewer, email_id: UUID, position: int) -> File:
    """Open an attachment. Raises UnknownName, NotShown where what is stored cannot be read."""
    stored = await mail_content.find_attachment(database, viewer.id, email_id, position)
    if stored is None:
        raise UnknownName("there is no such attachment that you may see")
    return await _opened(database, stored)


async def _opened(database: Database, stored: Stored) -> File:
    """Read the first block, so that what is wrong is known before any of it is handed over."""
    blocks = read_content(database, stored)
    try:
        first = await anext(blocks, b"")
    except ContentRefused as error:
        raise NotShown(str(error)) from error

    async def rest() -> AsyncIterator[bytes]:
        yield first
        async for block in blocks:
            yield block

    name = safe_filename(stored.filename) or "attachment"
    kind = picture_type(first) or _not_picture(stored.media_type)
    return File(name, kind, stored.size if stored.size >= 0 else None, rest())


def _not_picture(media_type: str) -> str:
    return "application/octet-stream" if media_type.startswith("image/") else media_type


async def source(backing: Backing, viewer: Viewer, email_id: UUID, action: str, address: str | None) -> Original:
    """Find the bytes of an email as they came, for an administrator; and note who looked, before it is shown.

    `action` is how the audit log calls it. Raises UnknownName, NotHad, NotShown.
    """
    private = await mail_content.is_private(backing.database, viewer.id, email_id)
    if private is None or not viewer.administers:
        raise UnknownName("there is no such email that you may see")
    if private:
        raise private_source()
    return await fetch_source(backing, viewer.name, email_id, action, address)


async def fetch_source(
    backing: Backing, by: str, email_id: UUID, action: str = "source-saved", address: str | None = None
) -> Original:
    """Find them for who may see them, as the caller knows. Raises as `source` does."""
    if _AT_ONCE.locked():
        raise NotShown("others look for the sources of mail just now: try again in a few seconds")
    try:
        async with _AT_ONCE, asyncio.timeout(_SLOW):
            found = await original(backing.database, backing.workers, backing.profiles, str(email_id))
    except TimeoutError:
        raise NotShown(f"the mail server did not hand it over within {_SLOW:g} seconds: try again later") from None
    await audit_log.note(backing.database, by, action, email_id=email_id, address=address)
    return found


def private_source() -> NotShown:
    """Say why what a private email says is not shown."""
    return NotShown("this email is private: what it says is shown only in the CRM, to those whose mail it is")
