"""What a forward mailbox brings: each original becomes a copy in the mailbox that it was forwarded from."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from router.model import Copy, Disposition, Forward, Message, Owner, Unwrapped, uuid7
from router.pipeline.unwrap import Trust, unwrap
from router.profile import IncomingProfile
from router.repository.database import Database
from router.repository.owners import approved_owners
from transports.base import Place, Received

_NOBODY = "who forwarded it has no approved owner's mailbox"
_NOBODY_NAMED = "nobody whom the journal report names is an approved owner"


def trust_of(profile: IncomingProfile) -> Trust:
    """Whose forwards the profile believes."""
    return Trust(profile.forwarders, profile.authserv)


async def read_forwards(
    database: Database, received: Sequence[Received], source_id: int, profile: IncomingProfile
) -> list[Copy]:
    """Unwrap the mails and find whose the originals are. What nothing came of is one copy too, and nobody's."""
    opened = await asyncio.to_thread(unwrap_all, received, trust_of(profile))
    named = {address for one in opened for address in (*one.mailboxes, one.sender)}
    owners = await approved_owners(database, sorted(named))
    return [
        copy
        for one, unwrapped in zip(received, opened, strict=True)
        for copy in copies_of(one, unwrapped, owners, source_id, profile)
    ]


def unwrap_all(received: Sequence[Received], trust: Trust) -> list[Unwrapped]:
    """Unwrap mails; for a thread, since it is work for the processor."""
    return [Unwrapped() if one.fault else unwrap(one.content, trust) for one in received]


def copies_of(
    received: Received, unwrapped: Unwrapped, owners: Mapping[str, Owner], source_id: int, profile: IncomingProfile
) -> Iterator[Copy]:
    """Yield a copy of each original for each owner to whom it came; `owners` by mailbox."""
    common: dict[str, Any] = {
        "source_id": source_id,
        "default_rule": profile.tracking_rule,
        "received_at": received.received_at,
    }
    whose = _whose(unwrapped, owners)
    if unwrapped.form is None or not whose:
        yield Copy(
            id=uuid7(),
            place=received.place,
            owner_id=None,
            message=Message(),
            content=received.content,
            fault=received.fault,
            foregone=None if received.fault else _foregone(unwrapped),
            **common,
        )
        return
    forward = Forward(received.place, unwrapped.form, unwrapped.forwarder, unwrapped.message_id, unwrapped.date)
    arrived = [(original, owner, sent) for original in unwrapped.originals for owner, sent in whose]
    for number, (original, owner, sent) in enumerate(arrived, 1):
        yield Copy(
            id=uuid7(),
            place=Place(received.place.validity, f"{received.place.id}:{number}"),
            owner_id=owner.id,
            message=original.message,
            content=original.content,
            sent=sent,
            classification=original.classification,
            forward=forward,
            **common,
        )


def _whose(unwrapped: Unwrapped, owners: Mapping[str, Owner]) -> list[tuple[Owner, bool]]:
    """Each owner once, and whether the mail is one that the owner sent."""
    received = {owner.id: (owner, False) for address in unwrapped.mailboxes if (owner := owners.get(address))}
    sender = owners.get(unwrapped.sender)
    return list((received if sender is None else {sender.id: (sender, True)} | received).values())


def _foregone(unwrapped: Unwrapped) -> tuple[Disposition, str]:
    if unwrapped.held is not None:
        return Disposition.HELD, unwrapped.held
    if unwrapped.form == "journal":
        # A journal holds everybody's mail: that of people who are no owners is none of ours, and is not kept.
        return Disposition.IGNORED, _NOBODY_NAMED
    return Disposition.HELD, _NOBODY
