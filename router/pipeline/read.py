"""Bytes to what is judged: all the work for the processor that one message is, whoever it is for."""

from collections.abc import Sequence
from typing import NamedTuple

from router.model import Classification, Message
from router.pipeline.classify import classify
from router.pipeline.parse import parse


class Reading(NamedTuple):
    """A message as it was read, its kind, and its key, for which it may have to be hashed as a whole."""

    message: Message
    classification: Classification
    key: bytes


def read(content: bytes, recipients: Sequence[str], authserv: str | None) -> Reading:
    """Read a message. `recipients` are those of its envelope; the Authentication-Results of `authserv` are believed."""
    message = parse(content, recipients)
    return Reading(message, classify(message, authserv), message.key)
