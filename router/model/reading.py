"""What reading a message came to: its contents and kind, or why there is nothing to judge."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from router.model.classification import Classification
from router.model.message import Mark, Message
from router.model.tracking import Disposition


@dataclass(frozen=True, slots=True)
class Packed:
    """An attachment as it will be stored: `content` in its `encoding`, under the `sha256` of what it is decoded.

    `size` is that of the decoded content, in bytes. The rest is as in `Attachment`.
    """

    filename: str
    media_type: str
    size: int
    sha256: bytes
    encoding: Literal["identity", "zlib"]
    content: bytes
    content_id: str | None = None
    inline: bool = False
    original_filename: str | None = None


GIST_VERSION = 3
"""To be raised when the gist is worked out in another way: what is stored of older ones is then as good as unknown."""


class Likeness(NamedTuple):
    """Hashes (16 bytes each) of what a message says, and of that without what is changed on the way; empty: unknown.

    `sender_gist` is the gist, who sent it, and whether that is doubted (`Classification.doubted`): whether a message is
    wanted depends on its sender above all.
    """

    content: bytes = b""
    gist: bytes = b""
    sender_gist: bytes = b""


class Reading(NamedTuple):
    """A message as it was read, its kind, its `Message.key` (32 bytes), the marks of its text, and its likeness.

    It holds all that takes a processor's time, worked out once for all copies. The `message` in it has no attachments:
    they are packed.
    """

    message: Message
    classification: Classification
    key: bytes
    text_marks: tuple[Mark, ...] = ()
    attachments: tuple[Packed, ...] = ()
    likeness: Likeness = Likeness()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message that could not be fetched, read, stored or judged; `fault` says why, without any of its content."""

    fault: str


@dataclass(frozen=True, slots=True)
class Predecided:
    """A mail of a forward mailbox that is not judged: its forwarder is not believed, or no owner received it."""

    disposition: Disposition
    reason: str
