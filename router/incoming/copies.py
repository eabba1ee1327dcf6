"""Readings become copies: one of each message for each owner in whose mailbox it lies."""

from collections.abc import Sequence
from dataclasses import dataclass

from router.incoming.read import Reading
from router.model import Classification, Copy, Disposition, Forward, Message, Owner, Rule, Unwrapped, uuid7
from router.profile import IncomingProfile
from router.unwrap import Trust
from router.workers.pool import Fault, Workers
from transports.base import Part, Place, Received

Parsers = Workers[Reading | Unwrapped, bytes, Sequence[str], str | Trust | None]
"""Processes that apply `incoming.read.read`."""

NOTHING = Reading(Message(), Classification(), b"")
"""What is read where nothing could be read."""


@dataclass(frozen=True, slots=True)
class Addressee:
    """One owner's copy of something received, or of what the owner `sent`; nobody's where there is no owner."""

    owner: Owner | None
    received: Received
    place: Place
    sent: bool = False


async def read_messages(
    parsers: Parsers,
    addressees: Sequence[Addressee],
    source_id: int,
    profile: IncomingProfile,
    part: Part = "whole",
) -> list[Copy]:
    """Read the messages, each once however many owners it is for; one copy per addressee."""
    whole = {id(one.received): one.received for one in addressees if one.received.fault is None}
    answers = await parsers.map(
        [(received.content, received.recipients, profile.authserv) for received in whole.values()]
    )
    readings = dict(zip(whole, answers, strict=True))
    copies = []
    for one in addressees:
        answer = readings.get(id(one.received))
        copies.append(
            make_copy(
                one,
                answer if isinstance(answer, Reading) else NOTHING,
                source_id,
                profile.tracking_rule,
                fault=why_unread(one.received, answer),
                headers_only=part == "headers",
            )
        )
    return copies


def make_copy(
    addressee: Addressee,
    reading: Reading,
    source_id: int,
    default_rule: Rule,
    *,
    fault: str | None = None,
    headers_only: bool = False,
    forward: Forward | None = None,
    predecided: tuple[Disposition, str] | None = None,
) -> Copy:
    """Make the copy of what was read; `default_rule` is that of an owner who has none."""
    received = addressee.received
    return Copy(
        id=uuid7(),
        source_id=source_id,
        place=addressee.place,
        owner_id=addressee.owner.id if addressee.owner else None,
        default_rule=default_rule,
        received_at=received.received_at,
        message=reading.message,
        content=received.content,
        fault=fault,
        sent=addressee.sent,
        headers_only=headers_only,
        classification=reading.classification,
        key=reading.key,
        forward=forward,
        predecided=predecided,
    )


def why_unread(received: Received, answer: object) -> str | None:
    """Say why something received has no message to judge; `answer` is what the parsers made of it. None: it has."""
    if received.fault is not None:
        return f"the message could not be fetched: {received.fault}"
    return f"it could not be read: {answer.words}" if isinstance(answer, Fault) else None
