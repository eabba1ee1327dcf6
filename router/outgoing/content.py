"""The message of one email, ready for its relay: whole where it is small, else around attachments that are streamed.

Streaming holds one block of an attachment for each connection, and no connection to the database between two blocks:
a relay that hangs keeps nothing that others want. So no budget is needed, nor a queue in which one would wait for it.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Final

from router.errors import ContentRefused, DatabaseError
from router.model import Attachment, Outgoing
from router.model.outgoing import Stored
from router.outgoing.compose import Hole, Piece, boundary_of, compose_around
from router.outgoing.compose.body import LINE_BYTES, base64_lines, base64_size, is_only_html
from router.outgoing.compose.seven_bit import SevenBit
from router.repository.database import Database
from router.repository.incoming.attachments import MOST_BYTES, read_attachments, read_content, too_much

_CHUNK: Final = 65_536
_GROUP: Final = 840 * LINE_BYTES  # with its line breaks, base64 makes less than a chunk of it

_QUICK: Final = 32 << 10
"""Bytes that are composed at once, in 0.3 ms. More goes to a thread: handing that over costs as much as 8 KB."""

_QUICK_NAMES: Final = 50
"""Names and addresses that are composed at once."""


class StreamedContent:
    """A content, as an `Envelope` takes it, whose attachments are read while it is sent, anew each time.

    Reading raises DatabaseError, also where an attachment is not any more what it was.
    """

    def __init__(self, database: Database, pieces: Sequence[Piece]) -> None:
        self._database = database
        self._pieces = pieces
        written = [piece for piece in pieces if isinstance(piece, bytes)]
        holes = [piece for piece in pieces if not isinstance(piece, bytes)]
        self.size = sum(map(len, written)) + sum(map(_size, holes))
        self.is_seven_bit = all(piece.isascii() for piece in written)
        self.headers_are_ascii = self.is_seven_bit  # all bodies are: only an address may be beyond ASCII

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, bytes):
                for start in range(0, len(piece), _CHUNK):
                    yield piece[start : start + _CHUNK]
            else:
                async for chunk in self._body(piece):
                    yield chunk

    async def _body(self, hole: Hole) -> AsyncIterator[bytes]:
        stored = hole.attachment
        size, rest, separator = 0, b"", b""
        async for block in read_content(self._database, stored):
            size += len(block)
            if hole.as_it_is:
                for start in range(0, len(block), _CHUNK):
                    yield block[start : start + _CHUNK]
                continue
            data = rest + block if rest else block
            lines = len(data) - len(data) % LINE_BYTES
            for start in range(0, lines, _GROUP):
                yield separator + base64_lines(data[start : min(start + _GROUP, lines)])
                separator = b"\r\n"
            rest = data[lines:]
        if rest:
            yield separator + base64_lines(rest)
        if size != stored.size:
            raise DatabaseError(f"the attachment {stored.filename} has changed since it was measured")


def _size(hole: Hole) -> int:
    return hole.attachment.size if hole.as_it_is else base64_size(hole.attachment.size)


async def write_content(database: Database, email: Outgoing) -> bytes | StreamedContent:
    """Read the attachments of an email, and compose it. Raises ContentRefused for what cannot be sent as it is."""
    if email.attached:
        email = replace(email, attachments=await _attachments(database, email))
    try:
        pieces = compose_around(email) if _is_quick(email) else await asyncio.to_thread(compose_around, email)
    except ContentRefused:
        raise
    except Exception as error:
        raise ContentRefused(f"it cannot be composed: {type(error).__name__}: {error}") from error
    [first, *others] = pieces
    return first if isinstance(first, bytes) and not others else StreamedContent(database, pieces)


def refuse_size(content: bytes | StreamedContent, most: int) -> None:
    """Raise ContentRefused for a message of more than `most` bytes; 0 is no limit."""
    size = len(content) if isinstance(content, bytes) else content.size
    if most and size > most:
        raise ContentRefused(f"the message has {size} bytes, and the profile lets {most} through (max_size)")


async def _attachments(database: Database, email: Outgoing) -> tuple[Attachment | Stored, ...]:
    """Read what is small, and measure the rest: once a relay has heard of an email, it is too late to refuse it."""
    found = await read_attachments(database, email.id)
    room = MOST_BYTES
    measured: list[Attachment | Stored] = []
    for attachment in found:
        if isinstance(attachment, Stored):
            attachment = await _measured(database, attachment, boundary_of(email), room)  # noqa: PLW2901
            room -= attachment.size
        else:
            room -= len(attachment.content)
        if room < 0:
            raise too_much()
        measured.append(attachment)
    return tuple(measured)


async def _measured(database: Database, stored: Stored, boundary: str, room: int) -> Stored:
    may_be_message = stored.media_type.lower() == "message/rfc822"
    if stored.size >= 0 and not may_be_message:
        return stored
    look, size = SevenBit(boundary), 0
    async for block in read_content(database, stored):
        size += len(block)
        if size > room:
            raise too_much()
        if may_be_message:
            await asyncio.to_thread(look.feed, block)
    return replace(stored, size=size, as_message=may_be_message and look.end())


def _is_quick(email: Outgoing) -> bool:
    """Whether composing takes so little that the loop waits for it: no text is to be made of HTML, and all is small."""
    if is_only_html(email) or len(email.mentions) > _QUICK_NAMES:
        return False
    attached = sum(len(one.content) for one in email.attachments if isinstance(one, Attachment))
    return len(email.text or "") + len(email.html or "") + attached <= _QUICK
