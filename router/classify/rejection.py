"""Mail that a recipient's rule refused after delivery: a disposition notification with the reason (RFC 5429 §2.1).

A mail program that deletes mail unread says the same in its fields. So the reason, in words, tells the two apart.
"""

from router.classify.codes import find_code
from router.classify.dialects import FAILED
from router.classify.status import read_recipient
from router.model import Message, RecipientReport
from router.parse.headers import raw_text, read_fields, unfold
from router.parse.text import clean_line

_PARTS = frozenset({"message/disposition-notification", "message/global-disposition-notification"})
_MOST_BYTES = 20_000
_MOST_WORDS = 1_000
_MOST_TEXT = 20_000


def read_rejection(message: Message) -> tuple[RecipientReport, ...]:
    """Read who refused the message, and why; nothing where it was only deleted, or read."""
    part = next((one.content for one in message.attachments if one.media_type in _PARTS), None)
    text = (message.text or "")[:_MOST_TEXT]
    if part is None or not (FAILED.search(message.subject) or FAILED.search(text)):
        return ()
    fields, _, _ = read_fields(part[:_MOST_BYTES].lstrip())
    disposition = unfold(raw_text(fields.get("disposition", [b""])[0])).lower()
    if "automatic-action" not in disposition or "deleted" not in disposition:
        return ()
    final, original = read_recipient(fields, "final-recipient"), read_recipient(fields, "original-recipient")
    words = " ".join(clean_line(text.replace("\n", " ")).split())[:_MOST_WORDS]
    address = original or final
    return (RecipientReport(address, "bounce", find_code(text), words, final if final != address else ""),)
