"""Attachments and their contents: each content is stored once, under its SHA-256, packed as it comes."""

import asyncio
import zlib
from collections.abc import Mapping, Sequence
from uuid import UUID

from asyncpg import Record

from router.errors import ContentRefused
from router.model import Attachment, Packed
from router.repository.database import Connection, Database
from router.repository.round_trip import Writes

MOST_BYTES = 100 << 20
"""What the attachments of one outgoing email may be together, decoded; relays take far less."""


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


async def read_attachments(database: Database, email_id: UUID) -> tuple[Attachment, ...]:
    """Read the attachments of an email with their contents, decoded.

    Raises ContentRefused where one is not what its encoding says, or all are too much to be sent: the CRM writes them.
    """
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT a.filename, a.original_filename, a.media_type, a.content_id, a.inline, b.encoding,
                CASE WHEN sum(octet_length(b.content)) OVER () <= $2 THEN b.content END AS content
            FROM crm.attachment AS a JOIN crm.blob AS b USING (sha256)
            WHERE a.email_id = $1 ORDER BY a.position
            """,
            email_id,
            MOST_BYTES,
        )
    return await asyncio.to_thread(_decoded, rows)


def _decoded(rows: Sequence[Record]) -> tuple[Attachment, ...]:
    attachments = []
    room = MOST_BYTES
    for row in rows:
        content = row["content"]
        if content is not None and row["encoding"] == "zlib":
            content = _unpacked(row["filename"], content, room)
        if content is None or len(content) > room:
            raise ContentRefused(f"its attachments are more than {MOST_BYTES >> 20} MB")
        room -= len(content)
        attachments.append(
            Attachment(
                row["filename"], row["media_type"], content, row["content_id"], row["inline"], row["original_filename"]
            )
        )
    return tuple(attachments)


def _unpacked(filename: str, content: bytes, room: int) -> bytes:
    # Never more than there is room for: a few kilobytes can be told to unpack to gigabytes.
    unpacking = zlib.decompressobj()
    try:
        unpacked = unpacking.decompress(content, room + 1)
    except zlib.error as error:
        raise ContentRefused(f"the attachment {filename} is not zlib, as its encoding says: {error}") from error
    if len(unpacked) <= room and not unpacking.eof:
        raise ContentRefused(f"the attachment {filename} is not zlib to its end, as its encoding says")
    return unpacked
