"""What a forward mailbox brings: each original becomes a copy in the mailbox that it was forwarded from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from router.incoming.copies import NOTHING, Addressee, Parsers, make_copy, why_unread
from router.incoming.read import Reading
from router.model import Copy, Disposition, Forward, Owner, Unwrapped
from router.profile import IncomingProfile
from router.repository.database import Database
from router.repository.owners import approved_owners
from router.unwrap import Trust
from transports.base import Place, Received

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
        answer = next(answers) if one.fault is None else None
        unwrapped = answer if isinstance(answer, Unwrapped) else Unwrapped()
        opened.append((unwrapped, why_unread(one, answer)))
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
    whose = _whose(unwrapped, owners)
    if unwrapped.form is None or not whose:
        predecided = None if fault else _predecided(unwrapped)
        nobody = Addressee(None, received, received.place)
        yield make_copy(nobody, NOTHING, source_id, profile.tracking_rule, fault=fault, predecided=predecided)
        return
    forward = Forward(received.place, unwrapped.form, unwrapped.forwarder, unwrapped.message_id, unwrapped.date)
    arrived = [(original, owner, sent) for original in unwrapped.originals for owner, sent in whose]
    for number, (original, owner, sent) in enumerate(arrived, 1):
        place = Place(received.place.validity, f"{received.place.id}:{number}")
        addressee = Addressee(owner, replace(received, content=original.content), place, sent)
        reading = Reading(original.message, original.classification, original.key)
        yield make_copy(addressee, reading, source_id, profile.tracking_rule, forward=forward)


def _whose(unwrapped: Unwrapped, owners: Mapping[str, Owner]) -> list[tuple[Owner, bool]]:
    """Each owner once, and whether the mail is one that the owner sent."""
    received = {owner.id: (owner, False) for address in unwrapped.mailboxes if (owner := owners.get(address))}
    sender = owners.get(unwrapped.sender)
    return list((received if sender is None else {sender.id: (sender, True)} | received).values())


def _predecided(unwrapped: Unwrapped) -> tuple[Disposition, str]:
    if unwrapped.held is not None:
        return Disposition.HELD, unwrapped.held
    if unwrapped.form == "journal":
        # A journal holds everybody's mail: that of people who are no owners is none of ours, and is not kept.
        return Disposition.IGNORED, _NOBODY_NAMED
    return Disposition.HELD, _NOBODY
