"""Attachments and their contents: each content is stored once, under its SHA-256, compressed where that pays."""

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from router.model import Attachment, Copy
from router.repository.database import Connection


@dataclass(frozen=True, slots=True)
class Stored:
    """An attachment as it will be stored; `content` in its `encoding`."""

    attachment: Attachment
    sha256: bytes
    encoding: Literal["identity", "zlib"]
    content: bytes


def prepare(copies: Sequence[Copy]) -> dict[UUID, list[Stored]]:
    """Hash and compress, by the copies' ids; for a thread, before a transaction: PostgreSQL's compression is slow."""
    return {copy.id: [_stored(attachment) for attachment in copy.message.attachments] for copy in copies}


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


async def read_attachments(connection: Connection, email_ids: Sequence[UUID]) -> dict[UUID, tuple[Attachment, ...]]:
    """Read the attachments of these emails with their contents, decoded."""
    rows = await connection.fetch(
        """
        SELECT a.email_id, a.filename, a.original_filename, a.media_type, a.content_id, a.inline, b.encoding, b.content
        FROM crm.attachment AS a JOIN crm.blob AS b USING (sha256)
        WHERE a.email_id = ANY($1::uuid[]) ORDER BY a.email_id, a.position
        """,
        list(email_ids),
    )
    attachments: dict[UUID, list[Attachment]] = {}
    for row in rows:
        content = zlib.decompress(row["content"]) if row["encoding"] == "zlib" else row["content"]
        attachments.setdefault(row["email_id"], []).append(
            Attachment(
                row["filename"], row["media_type"], content, row["content_id"], row["inline"], row["original_filename"]
            )
        )
    return {email_id: tuple(found) for email_id, found in attachments.items()}
