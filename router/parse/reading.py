"""What is worked out of a message once, for all its copies: its key, its text's marks, and its attachments packed.

It takes a processor's time, so a worker does it, before any transaction: PostgreSQL's own compression is slow, too.
"""

import hashlib
import zlib
from dataclasses import replace

from router.model import Attachment, Classification, Message, Packed, Reading
from router.parse.forwarded import is_forward
from router.parse.likeness import likeness_of
from router.parse.marks import find_marks

_SAMPLE = 4_096  # bytes


def reading_of(message: Message, classification: Classification) -> Reading:
    """Make the `Reading` of a message: find marks, hash and pack attachments."""
    attachments = tuple(_packed(attachment) for attachment in message.attachments)
    return Reading(
        replace(message, attachments=()),
        classification,
        message.key,
        find_marks(message.text or "", forwarded=is_forward(message)),
        attachments,
        likeness_of(message, [one.sha256 for one in attachments], doubted=classification.doubted),
    )


def _packed(attachment: Attachment) -> Packed:
    content = attachment.content
    pays = _is_compressible(content)
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


def _is_compressible(content: bytes) -> bool:
    # Most large attachments are compressed already: a sample tells, without the work for the whole. It is not from the
    # beginning or the end, where such files have tables that are not.
    middle = len(content) // 2 - _SAMPLE // 2
    sample = content[max(0, middle) : max(0, middle) + _SAMPLE]
    return len(zlib.compress(sample, 1)) <= 0.9 * len(sample)
