"""Which email a read receipt is of (a message disposition notification, RFC 8098)."""

from router.classify.headers import Headers
from router.model import Message
from router.parse.headers import read_fields, read_message_id

_PARTS = ("message/disposition-notification", "message/global-disposition-notification")
_MOST_BYTES = 20_000


def find_read_id(message: Message, headers: Headers) -> str | None:
    """Read the Message-ID of the email that was read, or deleted unread; None if the message is no such receipt."""
    if headers.parameters("content-type")[0] != "multipart/report":
        return None
    for attachment in message.attachments:
        if attachment.media_type in _PARTS:
            fields, _, _ = read_fields(attachment.content[:_MOST_BYTES].lstrip())
            if "original-message-id" in fields:
                return read_message_id(fields["original-message-id"][0])
    return None
