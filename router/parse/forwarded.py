"""Whether a person passes mail on: as the subject says, or may say where the rest of the message says so, too."""

from router.model import Message
from router.parse import subject
from router.parse.marks import forwards


def is_forward(message: Message) -> bool:
    """Whether the message is a forward."""
    if subject.is_forward(message.subject):
        return True
    if not subject.may_forward(message.subject):
        return False
    return any(one.media_type in subject.MESSAGES for one in message.attachments) or forwards(message.text or "")
