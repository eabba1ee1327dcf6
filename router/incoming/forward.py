"""Forward mailboxes: each original becomes a copy in the mailbox that it was forwarded from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from router.incoming.copies import Delivered, make_copy, read_each
from router.model import Copy, Disposition, Forward, Owner, Predecided, Unreadable, Unwrapped
from router.model.return_path import find_mailbox, without_detail
from router.profile import IncomingProfile
from router.repository.database import Database
from router.repository.owners.owners import approved_owners
from router.unwrap import Trust, unwrap
from router.workers.pool import Workers
from transports.base import Place, Received

_NOBODY = "who forwarded it has no approved owner's mailbox"
_DELIVERED_TO_NOBODY = (
    "no {header} that our mail server wrote names an approved owner's mailbox whom the profile serves"
)
_OF_RECIPIENTS = ("delivered", "journal")  # these tell to which address it came
_NOBODY_NAMED = "nobody whom the journal report names is an approved owner"


def trust_of(profile: IncomingProfile) -> Trust:
    """Return whose forwards the profile believes."""
    return Trust(
        profile.forwarders,
        profile.authserv,
        profile.catches_all,
        profile.envelope_header.lower(),
        profile.envelope_below,
    )


async def read_forwards(
    database: Database, workers: Workers, received: Sequence[Received], source_id: int, profile: IncomingProfile
) -> list[Copy]:
    """Unwrap the mails and find whose the originals are. A mail of which nothing came is one copy, and nobody's."""
    trust = trust_of(profile)
    opened = await read_each(workers, unwrap, received, lambda one: (one.content, trust))
    named = {
        address
        for unwrapped in opened
        if isinstance(unwrapped, Unwrapped)
        for address in (*unwrapped.mailboxes, *map(without_detail, unwrapped.mailboxes), unwrapped.sender)
        if address
    }
    owners = await approved_owners(database, sorted(named))
    return [
        copy
        for one, unwrapped in zip(received, opened, strict=True)
        for copy in copies_of(one, unwrapped, owners, source_id, profile)
    ]


def copies_of(
    received: Received,
    unwrapped: Unwrapped | Unreadable,
    owners: Mapping[str, Owner],
    source_id: int,
    profile: IncomingProfile,
) -> Iterator[Copy]:
    """Yield a copy of each original for each owner to whom it came; `owners` by mailbox."""
    nobody = Delivered(None, received, received.place)
    if isinstance(unwrapped, Unreadable):
        yield make_copy(nobody, unwrapped, source_id, profile.tracking_rule, profile.choices)
        return
    if profile.catches_all:
        owners = {one: owner for one, owner in owners.items() if any(fnmatchcase(one, of) for of in profile.forwarders)}
    whose = _whose(unwrapped, owners)
    if unwrapped.form is None or not whose:
        yield make_copy(nobody, _predecided(unwrapped, profile), source_id, profile.tracking_rule, profile.choices)
        return
    forward = Forward(received.place, unwrapped.form, unwrapped.forwarder, unwrapped.message_id, unwrapped.date)
    arrived = [(original, owner, sent) for original in unwrapped.originals for owner, sent in whose]
    for number, (original, owner, sent) in enumerate(arrived, 1):
        place = Place(received.place.validity, f"{received.place.id}:{number}")
        delivered = Delivered(owner, replace(received, content=original.content), place, sent)
        yield make_copy(
            delivered,
            original.reading,
            source_id,
            profile.tracking_rule,
            profile.choices,
            forward=forward,
            creation_rules=profile.creation_rules,
        )


def _whose(unwrapped: Unwrapped, owners: Mapping[str, Owner]) -> list[tuple[Owner, bool]]:
    """Return each owner once, and whether that owner sent the mail."""
    named = unwrapped.mailboxes
    if unwrapped.form in _OF_RECIPIENTS:
        named = tuple(find_mailbox(address, owners) for address in named)
    received = {owner.id: (owner, False) for address in named if (owner := owners.get(address))}
    sender = owners.get(unwrapped.sender)
    return list((received if sender is None else {sender.id: (sender, True)} | received).values())


def _predecided(unwrapped: Unwrapped, profile: IncomingProfile) -> Predecided:
    if unwrapped.held is not None:
        return Predecided(Disposition.HELD, unwrapped.held)
    if unwrapped.form == "delivered":
        return Predecided(Disposition.IGNORED, _DELIVERED_TO_NOBODY.format(header=profile.envelope_header))
    if unwrapped.form == "journal":
        # A journal holds everybody's mail. Mail of people who are no owners is not kept.
        return Predecided(Disposition.IGNORED, _NOBODY_NAMED)
    return Predecided(Disposition.HELD, unwrapped.doubt or _NOBODY)
