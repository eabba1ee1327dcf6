"""Attachments and their contents: each content is stored once, under its SHA-256, packed as it comes."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final
from uuid import UUID

from router.errors import ContentRefused
from router.model import Attachment, Packed
from router.model.outgoing import Stored
from router.repository.database import Connection, Database
from router.repository.round_trip import Writes

MOST_BYTES = 100 << 20
"""What the attachments of one outgoing email may be together, decoded; relays take far less."""

READ_AT_ONCE = 256 << 10
"""Bytes that all attachments of an email may be to be read with it, at once; others are read block by block."""

BLOCK: Final = 239_400
"""Bytes of a block, at most: a multiple of 57, which a line of base64 holds."""


Attached = Mapping[UUID, Sequence[Packed]]
"""The attachments of emails, by these emails' ids."""


async def missing_contents(connection: Connection, attached: Attached) -> list[Packed]:
    """Return those whose content is not stored yet, each content once; the others need not be sent again."""
    contents = {packed.sha256: packed for of_email in attached.values() for packed in of_email}
    rows = await connection.fetch(
        # Locked, so that no clean-up deletes it before the attachment is there; sorted, so that nobody deadlocks.
        "SELECT sha256 FROM crm.blob WHERE sha256 = ANY($1::bytea[]) ORDER BY sha256 FOR KEY SHARE",
        list(contents),
    )
    return [contents[digest] for digest in sorted(contents.keys() - {row["sha256"] for row in rows})]


def write_attachments(writes: Writes, attached: Attached, missing: Sequence[Packed]) -> None:
    """Store the attachments of new emails, and the contents that are missing."""
    writes.insert(
        "contents",
        "crm.blob",
        {"sha256": "bytea", "encoding": "text", "content": "bytea"},
        [(packed.sha256, packed.encoding, packed.content) for packed in missing],
        "ON CONFLICT DO NOTHING",
    )
    writes.insert(
        "attachments",
        "crm.attachment",
        {
            "email_id": "uuid", "position": "int", "filename": "text", "original_filename": "text",
            "media_type": "text", "size": "bigint", "content_id": "text", "inline": "boolean", "sha256": "bytea",
        },
        [
            (
                email_id, position, packed.filename, packed.original_filename, packed.media_type, packed.size,
                packed.content_id, packed.inline, packed.sha256,
            )
            for email_id, of_email in attached.items()
            for position, packed in enumerate(of_email)
        ],
    )  # fmt: skip


async def read_attachments(database: Database, email_id: UUID) -> tuple[Attachment | Stored, ...]:
    """Read the attachments of an email: with their contents, decoded, where these are small, else without.

    The `size` of one that is left in crm.blob is known if its encoding is identity, else -1. Raises ContentRefused
    where a content is not what its encoding says, or all are too much to be sent: the CRM writes them.
    """
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT a.filename, a.original_filename, a.media_type, a.content_id, a.inline, b.sha256, b.encoding,
                octet_length(b.content) AS packed,
                CASE WHEN sum(octet_length(b.content)) OVER () <= $2 THEN b.content END AS content
            FROM crm.attachment AS a JOIN crm.blob AS b USING (sha256)
            WHERE a.email_id = $1 ORDER BY a.position
            """,
            email_id,
            READ_AT_ONCE,
        )
    if sum(row["packed"] for row in rows if row["encoding"] == "identity") > MOST_BYTES:
        raise too_much()
    attachments: list[Attachment | Stored] = []
    room = READ_AT_ONCE
    for row in rows:
        stored = Stored(
            row["filename"], row["media_type"], row["sha256"], row["encoding"],
            row["packed"] if row["encoding"] == "identity" else -1, row["packed"], row["content_id"], row["inline"],
        )  # fmt: skip
        content = row["content"]
        if content is not None and stored.encoding == "zlib":
            content = _unpacked_if_small(stored.filename, content, room)
        if content is None:
            attachments.append(stored)
            continue
        room -= len(content)
        attachments.append(
            Attachment(
                row["filename"], row["media_type"], content, row["content_id"], row["inline"], row["original_filename"]
            )
        )
    return tuple(attachments)


async def read_content(database: Database, stored: Stored) -> AsyncIterator[bytes]:
    """Yield the content of an attachment, decoded, in blocks of at most `BLOCK` bytes.

    No connection is held between two. Raises ContentRefused where it is not what its encoding says, or is gone.
    """
    unpacking = zlib.decompressobj() if stored.encoding == "zlib" else None
    for start in range(0, stored.packed, BLOCK):
        block = await _read_block(database, stored, start)
        if unpacking is None:
            yield block
            continue
        while block and not unpacking.eof:
            try:
                unpacked = await asyncio.to_thread(unpacking.decompress, block, BLOCK)
            except zlib.error as error:
                raise _not_zlib(stored.filename, error) from error
            block = unpacking.unconsumed_tail
            if unpacked:
                yield unpacked
    if unpacking is not None and not unpacking.eof:
        # What it holds back is less than a block: `unconsumed_tail` was empty.
        rest = unpacking.flush()
        if not unpacking.eof:
            raise _cut_off(stored.filename)
        yield rest


async def _read_block(database: Database, stored: Stored, start: int) -> bytes:
    # Stored uncompressed and out of line: PostgreSQL reads only the pages of this piece.
    async with database.connection() as connection:
        block: bytes | None = await connection.fetchval(
            "SELECT substring(content FROM $2 FOR $3) FROM crm.blob WHERE sha256 = $1", stored.sha256, start + 1, BLOCK
        )
    if block is None:
        raise ContentRefused(f"the content of the attachment {stored.filename} is gone")
    return block


def _unpacked_if_small(filename: str, content: bytes, room: int) -> bytes | None:
    # Never more than there is room for: a few kilobytes can be told to unpack to gigabytes.
    unpacking = zlib.decompressobj()
    try:
        unpacked = unpacking.decompress(content, room + 1)
    except zlib.error as error:
        raise _not_zlib(filename, error) from error
    if len(unpacked) > room:
        return None
    if not unpacking.eof:
        raise _cut_off(filename)
    return unpacked


def too_much() -> ContentRefused:
    """Say that the attachments of an email are more than `MOST_BYTES`."""
    return ContentRefused(f"its attachments are more than {MOST_BYTES >> 20} MB")


def _not_zlib(filename: str, error: zlib.error) -> ContentRefused:
    return ContentRefused(f"the attachment {filename} is not zlib, as its encoding says: {error}")


def _cut_off(filename: str) -> ContentRefused:
    return ContentRefused(f"the attachment {filename} is not zlib to its end, as its encoding says")
