"""Reading one message: all work for the processor that does not depend on its owner.

Worker processes import this file, so it imports little. A mail of a forward mailbox is read by `router.unwrap`.
"""

from collections.abc import Sequence

from router.classify import classify
from router.model import Reading
from router.parse.message import parse
from router.parse.reading import reading_of


def read(content: bytes, recipients: Sequence[str], authserv: str | None) -> Reading:
    """Read a message. `recipients` are those of its envelope; the Authentication-Results of `authserv` are believed."""
    message = parse(content, recipients)
    return reading_of(message, classify(message, authserv))
