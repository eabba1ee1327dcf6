"""What tells whether two messages with one key say the same: whoever knows a Message-ID and a Date can send another.

The content is compared strictly, since a copy that says the same may be deleted: sender, subject, texts and attachments
as they were read, and no header that transport changes. The gist leaves out what lists and mail servers change on the
way: the sender, a tag in the subject, a short footer, blanks, the HTML, and attached lines of text. Who changes it
raises `GIST_VERSION`.
"""

import re
from collections.abc import Iterable, Sequence
from hashlib import blake2b

from router.model import Likeness, Message

_TAG = re.compile(r"\[[^\[\]]*\]")
_RULE = "_" * 10
_FOOTER = 10, 1_000  # lines and characters of a list's footer, at most: what is longer may be what somebody wrote
_LENGTH = 16


def likeness_of(message: Message, attached: Sequence[bytes], *, doubted: bool = False) -> Likeness:
    """Work all of it out; `attached` are the SHA-256 of the message's attachments.

    `doubted` as of the message's `Classification`: who sends a copy of a true mail must not have that one refused.
    """
    attachments = [(one.media_type, digest.hex()) for one, digest in zip(message.attachments, attached, strict=True)]
    content = [
        message.sender or "",
        message.subject,
        message.text or "",
        message.html or "",
        *(part for attachment in attachments for part in attachment),
    ]
    gist = [
        _words(_TAG.sub("", message.subject)),
        _words(_without_footer(message.text)),
        *(digest for media_type, digest in attachments if media_type != "text/plain"),
    ]
    who = [message.sender or "", *(["doubted"] if doubted else [])]
    return Likeness(_digest(content), _digest(gist), _digest([*who, *gist]))


def _digest(parts: Iterable[str]) -> bytes:
    # Each with its length before it, so that nothing can be moved from one part to the next.
    return blake2b(
        "".join(f"{len(part)}:{part}" for part in parts).encode("utf-8", "replace"), digest_size=_LENGTH
    ).digest()


def _words(text: str) -> str:
    return " ".join(text.casefold().split())


def _without_footer(text: str | None) -> str:
    lines = (text or "").rstrip().splitlines()
    most_lines, most_characters = _FOOTER
    first = max(0, len(lines) - most_lines)
    end = next((number for number, line in enumerate(lines[first:], first) if line.startswith(_RULE)), len(lines))
    is_short = sum(map(len, lines[end:])) <= most_characters
    return "\n".join(lines[:end] if is_short else lines)
