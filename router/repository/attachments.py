"""Attachments and their contents: each content is stored once, under its SHA-256, packed as it comes."""

import asyncio
import zlib
from collections.abc import Mapping, Sequence
from uuid import UUID

from asyncpg import Record

from router.errors import ContentRefused
from router.model import Attachment, Packed
from router.repository.database import Connection, Database

MOST_BYTES = 100 << 20
"""What the attachments of one outgoing email may be together, decoded; relays take far less."""


async def write_attachments(connection: Connection, attached: Mapping[UUID, Sequence[Packed]]) -> None:
    """Store the attachments of new emails; a content that is there already is not sent again."""
    blobs = {packed.sha256: packed for of_email in attached.values() for packed in of_email}
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
            [packed.sha256 for packed in missing],
            [packed.encoding for packed in missing],
            [packed.content for packed in missing],
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
