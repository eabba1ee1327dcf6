"""What is worked out of a message once, for all its copies: its key, its text's marks, and its attachments packed.

It takes a processor's time, so a worker does it, before any transaction: PostgreSQL's own compression is slow, too.
"""

import hashlib
import zlib
from dataclasses import replace

from router.model import Attachment, Classification, Message, Packed, Reading
from router.parse.marks import find_marks
from router.parse.subject import is_forward

_SAMPLE = 65_536  # bytes


def reading_of(message: Message, classification: Classification) -> Reading:
    """Work it out of a message of this kind."""
    return Reading(
        replace(message, attachments=()),
        classification,
        message.key,
        find_marks(message.text or "", forwarded=is_forward(message.subject)),
        tuple(_packed(attachment) for attachment in message.attachments),
    )


def _packed(attachment: Attachment) -> Packed:
    content = attachment.content
    # Most large attachments are compressed already; a sample tells, without the work for the whole.
    sample = content[:_SAMPLE]
    pays = len(zlib.compress(sample, 1)) <= 0.9 * len(sample)
    return Packed(
        filename=attachment.filename,
        media_type=attachment.media_type,
        size=len(content),
        sha256=hashlib.sha256(content).digest(),
        encoding="zlib" if pays else "identity",
        content=zlib.compress(content, 1) if pays else content,
        content_id=attachment.content_id,
        inline=attachment.inline,
        original_filename=attachment.original_filename,
    )
