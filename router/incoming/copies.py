"""Messages are read and become copies: one of each message for each owner in whose mailbox it lies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, TypeVarTuple

from router.model import Copy, CreationRule, Forward, Owner, Predecided, Reading, Rule, Unreadable, uuid7
from router.model.creation import rules_of
from router.model.settings import Value
from router.profile import IncomingProfile
from router.read import read
from router.workers.pool import Fault, Workers
from transports.base import Part, Place, Received

Answer = TypeVar("Answer")
Arguments = TypeVarTuple("Arguments")


@dataclass(frozen=True, slots=True)
class Delivered:
    """One received message, the place it lies in, and its owner, if any; `sent`: it lies in their Sent folder."""

    owner: Owner | None
    received: Received
    place: Place
    sent: bool = False


async def read_messages(
    workers: Workers,
    delivered: Sequence[Delivered],
    source_id: int,
    profile: IncomingProfile,
    part: Part = "whole",
) -> list[Copy]:
    """Read each message once, however many owners received it; one copy for each of `delivered`, in their order."""
    distinct = {id(one.received): one.received for one in delivered}
    readings = await read_each(
        workers, read, list(distinct.values()), lambda one: (one.content, one.recipients, profile.authserv)
    )
    of_received = dict(zip(distinct, readings, strict=True))
    return [
        make_copy(
            one,
            of_received[id(one.received)],
            source_id,
            profile.tracking_rule,
            profile.choices,
            headers_only=part == "headers",
            creation_rules=profile.creation_rules,
        )
        for one in delivered
    ]


async def read_each(
    workers: Workers,
    function: Callable[[*Arguments], Answer],
    received: Sequence[Received],
    arguments: Callable[[Received], tuple[*Arguments]],
) -> list[Answer | Unreadable]:
    """Apply a function to all that was received; one answer for each, in their order, or why it cannot be read."""
    answers = iter(await workers.map(function, [arguments(one) for one in received if one.fault is None]))
    found: list[Answer | Unreadable] = []
    for one in received:
        if one.fault is not None:
            found.append(Unreadable(f"the message could not be fetched: {one.fault}"))
        elif isinstance(answer := next(answers), Fault):
            found.append(Unreadable(f"it could not be read: {answer.words}"))
        else:
            found.append(answer)
    return found


def make_copy(
    delivered: Delivered,
    reading: Reading | Unreadable | Predecided,
    source_id: int,
    default_rule: Rule,
    choices: Mapping[str, Value],
    *,
    headers_only: bool = False,
    forward: Forward | None = None,
    creation_rules: Sequence[CreationRule] = (),
) -> Copy:
    """Make the copy of what was read; `default_rule` is that of an owner who has none.

    `choices` and `creation_rules` are those of the profile.
    """
    return Copy(
        id=uuid7(),
        source_id=source_id,
        place=delivered.place,
        owner_id=delivered.owner.id if delivered.owner else None,
        default_rule=default_rule,
        received_at=delivered.received.received_at,
        reading=reading,
        content=delivered.received.content,
        sent=delivered.sent,
        headers_only=headers_only,
        forward=forward,
        recipients=delivered.received.recipients,
        null_sender=delivered.received.sender == "",
        profile_choices=choices,
        creation_rules=rules_of(creation_rules, delivered.owner.mailbox) if delivered.owner else (),
    )
