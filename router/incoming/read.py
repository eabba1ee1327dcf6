"""Bytes to what is judged: all the work for the processor that one message is, whoever it is for."""

from collections.abc import Sequence
from typing import NamedTuple

from router.classify import classify
from router.model import Classification, Message, Unwrapped
from router.parse.message import parse
from router.unwrap import Trust, unwrap


class Reading(NamedTuple):
    """A message as it was read, its kind, and its key, for which it may have to be hashed as a whole."""

    message: Message
    classification: Classification
    key: bytes


def read(content: bytes, recipients: Sequence[str], believed: str | Trust | None) -> Reading | Unwrapped:
    """Read a message. `recipients` are those of its envelope; the Authentication-Results of `believed` are believed.

    With a `Trust` it is a mail of a forward mailbox, and unwrapped.
    """
    if isinstance(believed, Trust):
        return unwrap(content, believed)
    message = parse(content, recipients)
    return Reading(message, classify(message, believed), message.key)
