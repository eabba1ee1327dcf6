"""Which mail a report is about: its Message-ID, our token, or our id anywhere in it."""

import re
from collections.abc import Iterator

from router.model import Attachment, normalize
from router.model.token import find_tokens
from router.parse.addresses import read_addresses
from router.parse.headers import Fields, decode_words, raw_text, read_fields, read_message_id, unfold

_ORIGINALS = frozenset(
    {
        "message/rfc822",
        "message/global",
        "message/rfc822-headers",
        "message/global-headers",
        "text/rfc822-headers",
        "text/rfc822-header",
    }
)
_ID = re.compile(r"^[ \t>]*(?:message-id|x-crm-email-router)[ \t]*:\s*<?([^\s<>]{3,500})", re.IGNORECASE | re.MULTILINE)
_LIKE_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}@[\w.-]{1,255}\w", re.IGNORECASE)
_MOST_BYTES = 200_000
_MOST_IDS = 32


def is_original(attachment: Attachment) -> bool:
    """Whether a part of a report is the mail it is about, or its headers."""
    return attachment.media_type in _ORIGINALS


def headers_of_part(content: bytes) -> Fields:
    """The headers of the mail in a part."""
    return read_fields(content[:_MOST_BYTES].lstrip())[0]


def ids_of_part(content: bytes) -> Iterator[str]:
    """Yield the ids of the mail in a part: our private header's first, since a relay may have changed the other."""
    fields = headers_of_part(content)
    for name in ("x-crm-email-router", "message-id"):
        for raw in fields.get(name, ())[:3]:
            if message_id := read_message_id(raw):
                yield message_id


def recipients_of_part(content: bytes) -> list[str]:
    """The addresses that the mail in a part was sent to."""
    fields = headers_of_part(content)
    return [
        normalize(address)
        for name in ("x-original-to", "to", "cc")
        for raw in fields.get(name, ())[:3]
        for _, address in read_addresses(raw)[0]
        if "@" in address
    ]


def sender_of_part(content: bytes) -> str:
    """Who sent the mail in a part; empty if it does not say so."""
    written = headers_of_part(content).get("from", [b""])[0]
    return next((normalize(address) for _, address in read_addresses(written)[0] if "@" in address), "")


def subject_of_part(content: bytes) -> str:
    """The subject of the mail in a part."""
    fields = headers_of_part(content)
    return decode_words(unfold(raw_text(fields["subject"][0]))) if "subject" in fields else ""


def ids_of_text(text: str) -> tuple[str, ...]:
    """Find ids in a text: those after their header's name, then whatever looks like one of ours."""
    found = [*_ID.findall(text[:_MOST_BYTES]), *_LIKE_ID.findall(text[:_MOST_BYTES])]
    return tuple(dict.fromkeys(found))[:_MOST_IDS]


def tokens_of_text(text: str) -> tuple[str, ...]:
    """Find our tokens in a text."""
    return find_tokens(text[:_MOST_BYTES])
