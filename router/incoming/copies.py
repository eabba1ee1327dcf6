"""Readings become copies: one of each message for each owner in whose mailbox it lies."""

from collections.abc import Sequence
from dataclasses import dataclass

from router.incoming.forward import Parsers
from router.incoming.read import Reading
from router.model import Classification, Copy, Message, Owner, uuid7
from router.profile import IncomingProfile
from router.workers.pool import Fault
from transports.base import Part, Place, Received


@dataclass(frozen=True, slots=True)
class Addressee:
    """One owner's copy of something received, or of what the owner `sent`."""

    owner: Owner
    received: Received
    place: Place
    sent: bool = False


_NOTHING = Reading(Message(), Classification(), b"")


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
        received = one.received
        reading, fault = _NOTHING, None
        match readings.get(id(received)):
            case None:
                fault = f"the message could not be fetched: {received.fault}"
            case Fault(words):
                fault = f"it could not be read: {words}"
            case Reading() as found:
                reading = found
            case _:
                raise AssertionError("only a forward mailbox's mail is unwrapped")
        copies.append(
            Copy(
                id=uuid7(),
                source_id=source_id,
                place=one.place,
                owner_id=one.owner.id,
                default_rule=profile.tracking_rule,
                received_at=received.received_at,
                message=reading.message,
                content=received.content,
                fault=fault,
                sent=one.sent,
                headers_only=part == "headers",
                classification=reading.classification,
                key=reading.key,
            )
        )
    return copies
