"""What tells whether two messages with one key say the same: whoever knows a Message-ID and a Date can send another.

The content is compared strictly, since a copy that says the same may be deleted: sender, subject, texts and attachments
as they were read, and no header that transport changes. The gist leaves out what lists and mail servers change on the
way: the sender, a tag in the subject, a footer, blanks, the HTML, and attached lines of text.
"""

import hashlib
import re
from collections.abc import Iterable

from router.model import Likeness, Message

_WORD = re.compile(r"\w+")
_TAG = re.compile(r"\[[^\[\]]*\]")
_RULE = "_" * 10
_LENGTH = 16


def likeness_of(message: Message) -> Likeness:
    """Work both out (16 bytes each)."""
    attachments = [(one, hashlib.sha256(one.content).hexdigest()) for one in message.attachments]
    return Likeness(
        _digest(
            [
                message.sender or "", message.subject, message.text or "", message.html or "",
                *(f"{one.media_type} {digest}" for one, digest in attachments),
            ]
        ),
        _digest(
            [
                *_words(_TAG.sub("", message.subject)), "",
                *_words(_without_footer(message.text)), "",
                *(digest for one, digest in attachments if one.media_type != "text/plain"),
            ]
        ),
    )  # fmt: skip


def _digest(parts: Iterable[str]) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8) + raw)
    return digest.digest()[:_LENGTH]


def _words(text: str) -> Iterable[str]:
    return (match[0].casefold() for match in _WORD.finditer(text))


def _without_footer(text: str | None) -> str:
    lines = (text or "").splitlines()
    end = next((number for number, line in enumerate(lines) if line.startswith(_RULE)), len(lines))
    return "\n".join(lines[:end])
