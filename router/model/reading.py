"""What reading a message came to: its contents and kind, or why there is nothing to judge."""

from dataclasses import dataclass
from typing import NamedTuple

from router.model.classification import Classification
from router.model.message import Message
from router.model.tracking import Disposition


class Reading(NamedTuple):
    """A message as it was read, its kind, and its `Message.key` (32 bytes).

    Whoever reads the message computes the key too, since that can take as long as hashing all of it.
    """

    message: Message
    classification: Classification
    key: bytes


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message that could not be fetched, read, stored or judged; `fault` says why, without any of its content."""

    fault: str


@dataclass(frozen=True, slots=True)
class Predecided:
    """A mail of a forward mailbox that is not judged: its forwarder is not believed, or no owner received it."""

    disposition: Disposition
    reason: str
