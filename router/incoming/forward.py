"""What a forward mailbox brings: each original becomes a copy in the mailbox that it was forwarded from."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from router.incoming.read import Reading
from router.model import Copy, Disposition, Forward, Message, Owner, Unwrapped, uuid7
from router.profile import IncomingProfile
from router.repository.database import Database
from router.repository.owners import approved_owners
from router.unwrap import Trust
from router.workers.pool import Fault, Workers
from transports.base import Place, Received

Parsers = Workers[Reading | Unwrapped, bytes, Sequence[str], str | Trust | None]
"""Processes that apply `pipeline.read`."""

_NOBODY = "who forwarded it has no approved owner's mailbox"
_NOBODY_NAMED = "nobody whom the journal report names is an approved owner"


def trust_of(profile: IncomingProfile) -> Trust:
    """Whose forwards the profile believes."""
    return Trust(profile.forwarders, profile.authserv)


async def read_forwards(
    database: Database, parsers: Parsers, received: Sequence[Received], source_id: int, profile: IncomingProfile
) -> list[Copy]:
    """Unwrap the mails and find whose the originals are. What nothing came of is one copy too, and nobody's."""
    whole = [one for one in received if one.fault is None]
    answers = iter(await parsers.map([(one.content, (), trust_of(profile)) for one in whole]))
    opened: list[tuple[Unwrapped, str | None]] = []
    for one in received:
        if one.fault is not None:
            opened.append((Unwrapped(), f"the message could not be fetched: {one.fault}"))
            continue
        match next(answers):
            case Fault(words):
                opened.append((Unwrapped(), f"it could not be read: {words}"))
            case Unwrapped() as unwrapped:
                opened.append((unwrapped, None))
            case _:
                raise AssertionError("a forward mailbox's mail is unwrapped")
    named = {address for unwrapped, _ in opened for address in (*unwrapped.mailboxes, unwrapped.sender)}
    owners = await approved_owners(database, sorted(named))
    return [
        copy
        for one, (unwrapped, fault) in zip(received, opened, strict=True)
        for copy in copies_of(one, unwrapped, fault, owners, source_id, profile)
    ]


def copies_of(
    received: Received,
    unwrapped: Unwrapped,
    fault: str | None,
    owners: Mapping[str, Owner],
    source_id: int,
    profile: IncomingProfile,
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
            fault=fault,
            foregone=None if fault else _foregone(unwrapped),
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
            key=original.key,
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
