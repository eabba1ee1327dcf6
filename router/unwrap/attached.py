"""Mail that is forwarded as an attachment: message/rfc822 (RFC 2046 §5.2.1), or a file of that kind."""

from router.model import Attachment, Message
from router.parse.headers import read_fields
from router.parse.subject import MESSAGES
from router.unwrap.found import Found

MOST = 100
"""Originals in one mail: no honest forward has more."""

_MOST_HEADER_BYTES = 65_536


def find_attached(outer: Message, content: bytes) -> Found | None:  # noqa: ARG001  # as every form is looked for
    """Find the messages among the attachments. Their own attachments stay closed: only the outer layer is opened."""
    attached = messages_of(outer)
    if not attached:
        return None
    forwarder = outer.sender or ""
    fault = f"more than {MOST} messages are attached to one" if len(attached) > MOST else None
    return Found("attached", forwarder, (forwarder,), attached[:MOST], fault=fault)


def messages_of(outer: Message) -> tuple[bytes, ...]:
    """The attachments that are messages, as they came, in their order."""
    return tuple(attachment.content for attachment in outer.attachments if _is_message(attachment))


def _is_message(attachment: Attachment) -> bool:
    if attachment.media_type in MESSAGES:
        return bool(attachment.content.strip())
    # Some programs know the file name only, and send it as application/octet-stream.
    if not attachment.filename.lower().endswith(".eml"):
        return False
    fields, _, _ = read_fields(attachment.content[:_MOST_HEADER_BYTES].lstrip())
    return "from" in fields and not fields.keys().isdisjoint({"date", "message-id", "received", "subject"})
