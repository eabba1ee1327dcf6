"""Attachments and their contents: each content is stored once, under its SHA-256, compressed where that pays."""

import asyncio
import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from asyncpg import Record

from router.errors import ContentRefused
from router.model import Attachment, Copy
from router.repository.database import Connection, Database

MOST_BYTES = 100 << 20
"""What the attachments of one outgoing email may be together, decoded; relays take far less."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An attachment as it will be stored; `content` in its `encoding`."""

    attachment: Attachment
    sha256: bytes
    encoding: Literal["identity", "zlib"]
    content: bytes


def prepare(copies: Sequence[Copy]) -> dict[UUID, list[Stored]]:
    """Hash and compress, by the copies' ids; for a thread, before a transaction: PostgreSQL's compression is slow."""
    return {copy.id: [_stored(attachment) for attachment in copy.message.attachments] for copy in copies if copy.judged}


def _stored(attachment: Attachment) -> Stored:
    content = attachment.content
    digest = hashlib.sha256(content).digest()
    # Most large attachments are compressed already; a sample tells, without the work for the whole.
    sample = content[:65536]
    if len(zlib.compress(sample, 1)) > 0.9 * len(sample):
        return Stored(attachment, digest, "identity", content)
    return Stored(attachment, digest, "zlib", zlib.compress(content, 1))


async def write_attachments(connection: Connection, attached: Mapping[UUID, Sequence[Stored]]) -> None:
    """Store the attachments of new emails; a content that is there already is not sent again."""
    blobs = {stored.sha256: stored for of_email in attached.values() for stored in of_email}
    if not blobs:
        return
    rows = await connection.fetch("SELECT sha256 FROM crm.blob WHERE sha256 = ANY($1::bytea[])", list(blobs))
    missing = [blobs[digest] for digest in sorted(blobs.keys() - {row["sha256"] for row in rows})]
    if missing:
        await connection.execute(
            """
            INSERT INTO crm.blob (sha256, encoding, content)
            SELECT * FROM unnest($1::bytea[], $2::text[], $3::bytea[]) ON CONFLICT DO NOTHING
            """,
            [stored.sha256 for stored in missing],
            [stored.encoding for stored in missing],
            [stored.content for stored in missing],
        )
    await connection.copy_records_to_table(
        "attachment",
        schema_name="crm",
        columns=[
            "email_id", "position", "filename", "original_filename", "media_type", "size", "content_id", "inline",
            "sha256",
        ],
        records=[
            (
                email_id, position, stored.attachment.filename, stored.attachment.original_filename,
                stored.attachment.media_type, len(stored.attachment.content), stored.attachment.content_id,
                stored.attachment.inline, stored.sha256,
            )
            for email_id, of_email in attached.items()
            for position, stored in enumerate(of_email)
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
