"""Bytes to what is judged: all the work for the processor that one message is, whoever it is for."""

from typing import NamedTuple

from router.model import Classification, Message
from router.pipeline.classify import classify
from router.pipeline.parse import parse


class Reading(NamedTuple):
    """A message as it was read, its kind, and its key, for which it may have to be hashed as a whole."""

    message: Message
    classification: Classification
    key: bytes


def read(content: bytes, authserv: str | None) -> Reading:
    """Read a message. `authserv` names the server whose Authentication-Results are believed."""
    message = parse(content)
    return Reading(message, classify(message, authserv), message.key)
