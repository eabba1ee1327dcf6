"""Reading one message: parse, classify, and all work for the processor that does not depend on its owner.

Worker processes import this file, so it imports little. A mail of a forward mailbox is read by `router.unwrap`, which
reads the originals in it by this, too.
"""

from collections.abc import Sequence

from router.classify import classify
from router.model import Message, Reading
from router.parse.message import parse
from router.parse.reading import reading_of


def read(content: bytes, recipients: Sequence[str], authserv: str | None) -> Reading:
    """Read a message. `recipients` are those of its envelope; the Authentication-Results of `authserv` are believed."""
    return read_parsed(parse(content, recipients), authserv)


def read_parsed(message: Message, authserv: str | None = None) -> Reading:
    """Read a message that is parsed already; without `authserv`, nobody vouches for its sender."""
    return reading_of(message, classify(message, authserv))
