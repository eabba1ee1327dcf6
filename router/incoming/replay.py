"""Dead and held mail is read again: from the bytes that were kept, or where it lies on its server.

A connection of its own only fetches, so it needs no lease. A running router never looks again at what has a
disposition; by its new decision the place becomes unsettled, and then that router settles it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from router.incoming.copies import Delivered, make_copy, read_each, read_messages
from router.incoming.forward import copies_of, trust_of
from router.incoming.reader import destroys, settles_of
from router.model import Copy, Disposition, Forward, Owner, Rule, Ruling, Unwrapped
from router.profile import IncomingProfile, Profiles
from router.read import read
from router.repository.database import Database
from router.repository.incoming.batch import Batch
from router.repository.incoming.letters import Kept, Letter, LetterSource, read_kept
from router.repository.owners.owners import approved_owners
from router.unwrap import Trust, unwrap
from router.workers.pool import Workers
from transports.base import Part, Place, Received
from transports.errors import CursorLost, TransportError

_HANDED: Final = "its bytes are not kept, or no longer, and no server has it: it was handed to a listener"
_GONE: Final = "its bytes are not kept, and it is no longer where it lay on the server"
_GIVEN_UP: Final = "its bytes are not kept, and no profile reads the account in which it lay"
_NO_PROFILE: Final = "there is no profile any more that brought it"
_NOT_APPROVED: Final = "its owner has no approved mailbox"
_ANOTHER: Final = "the mail that brought it holds something else by now"

_WHOEVER: Final = Trust(("*",), None)  # forwarded it: a person vouches for what is released


@dataclass(frozen=True, slots=True)
class ReadAgain:
    """A letter that was read again: its copies, of a mail in a forward mailbox perhaps several; or why it cannot be."""

    letter: Letter
    copies: Sequence[Copy] = ()
    fault: str | None = None


class LetterReader:
    """Reads the letters of one source again. `ruling` is what a person ruled on them."""

    def __init__(
        self, database: Database, workers: Workers, profiles: Profiles, source: LetterSource, ruling: Ruling
    ) -> None:
        self._database = database
        self._workers = workers
        self._source = source
        self._ruling = ruling
        self._profile = profile_of(profiles, source)
        self._owners: dict[UUID, Owner] = {}

    def batch_of(self, read_again: Sequence[ReadAgain]) -> Batch:
        """Make the batch in which letters that could be read are decided on again."""
        return Batch(
            [copy for one in read_again for copy in one.copies],
            settles=settles(self._profile, self._source),
            destroys=self._profile is not None and destroys(self._profile),
            keeps=self._source.listens or not self._source.mailbox,
            again=True,
        )

    async def read(self, letters: Sequence[Letter]) -> list[ReadAgain]:
        """Read letters again, each from its bytes or, where these are not kept, from its server; in their order.

        Raises DatabaseError. What the server says instead is a fault of each letter.
        """
        mailboxes = sorted({letter.owner for letter in letters if letter.owner})
        self._owners = {owner.id: owner for owner in (await approved_owners(self._database, mailboxes)).values()}
        kept = await read_kept(self._database, [letter.id for letter in letters])
        orphans = [letter for letter in letters if letter.owner_id is not None and letter.owner_id not in self._owners]
        rest = [letter for letter in letters if letter not in orphans]
        found = [
            *(ReadAgain(letter, fault=_NOT_APPROVED) for letter in orphans),
            *await self._of_bytes([letter for letter in rest if letter.id in kept], kept),
            *await self._of_server([letter for letter in rest if letter.id not in kept]),
        ]
        by_id = {one.letter.id: one for one in found}
        return [by_id[letter.id] for letter in letters]

    async def _of_bytes(self, letters: Sequence[Letter], kept: Mapping[int, Kept]) -> list[ReadAgain]:
        received = {letter.id: _received(letter, kept[letter.id]) for letter in letters}
        whole = [letter for letter in letters if letter.owner_id is None]
        copies = [letter for letter in letters if letter.owner_id is not None]
        # Nobody vouches for what was forwarded: its sender may have written any Authentication-Results in it.
        forwarded = self._profile is None or self._profile.has_forwards_alone
        authserv = None if self._profile is None or forwarded else self._profile.authserv
        readings = await read_each(
            self._workers,
            read,
            [received[letter.id] for letter in copies],
            lambda one: (one.content, one.recipients, authserv),
        )
        found = await self._unwrapped([(letter, received[letter.id]) for letter in whole])
        for letter, reading in zip(copies, readings, strict=True):
            rule = self._profile.tracking_rule if self._profile else letter.rule
            delivered = Delivered(self._owner(letter), received[letter.id], letter.place, sent=kept[letter.id].sent)
            choices = self._profile.choices if self._profile else {}
            copy = make_copy(
                delivered,
                reading,
                self._source.id,
                rule,
                choices,
                forward=_forward_of(letter),
                creation_rules=self._profile.creation_rules if self._profile else (),
            )
            found.append(self._found(letter, [copy]))
        return found

    async def _of_server(self, letters: Sequence[Letter]) -> list[ReadAgain]:
        if not letters:
            return []
        profile, source = self._profile, self._source
        fault = None
        if source.listens:
            fault = _HANDED
        elif profile is None or not source.is_read or profile.account_of(source.mailbox) != source.account:
            fault = _GIVEN_UP
        else:
            try:
                return await self._fetched(profile, letters)
            except CursorLost:
                fault = _GONE
            except TransportError as error:
                fault = f"its bytes are not kept, and its server does not give them now: {error}"
        return [ReadAgain(letter, fault=fault) for letter in letters]

    async def _fetched(self, profile: IncomingProfile, letters: Sequence[Letter]) -> list[ReadAgain]:
        wanted = {outer_place_of(letter): letter for letter in letters}
        part: Part = "whole"
        if not profile.forwards and self._rule(letters[0], profile) is Rule.NONE:
            part = "headers"
        async with profile.open(self._source.mailbox) as account:
            sent = any(one.use == "sent" for one in await account.folders() if one.name == self._source.folder)
            mailbox = account.folder(self._source.folder)
            # Only a listing tells which places mean another message by now.
            await mailbox.list(self._source.cursor, 1)
            received = {one.place: one async for one in mailbox.fetch(list(wanted), part)}
        there = [letter for letter in letters if outer_place_of(letter) in received]
        gone = [ReadAgain(letter, fault=_GONE) for letter in letters if outer_place_of(letter) not in received]
        if profile.forwards:
            return gone + await self._unwrapped([(letter, received[outer_place_of(letter)]) for letter in there])
        delivered = [
            Delivered(self._owner(letter), received[letter.place], letter.place, sent=sent) for letter in there
        ]
        copies = await read_messages(self._workers, delivered, self._source.id, profile, part)
        return gone + [self._found(letter, [copy]) for letter, copy in zip(there, copies, strict=True)]

    async def _unwrapped(self, mails: Sequence[tuple[Letter, Received]]) -> list[ReadAgain]:
        """Read mail of a forward mailbox again."""
        profile = self._profile
        if profile is None or not profile.forwards:
            return [ReadAgain(letter, fault=_NO_PROFILE) for letter, _ in mails]
        vouched = {
            received.place
            for letter, received in mails
            if self._ruling.kind == "released" and letter.outer_place is None
        }
        opened = await read_each(
            self._workers,
            unwrap,
            [received for _, received in mails],
            lambda one: (one.content, _WHOEVER if one.place in vouched else trust_of(profile)),
        )
        named = {address for one in opened if isinstance(one, Unwrapped) for address in (*one.mailboxes, one.sender)}
        owners = await approved_owners(self._database, sorted(named))
        found = []
        for (letter, received), one in zip(mails, opened, strict=True):
            copies = list(copies_of(received, one, owners, self._source.id, profile))
            if letter.outer_place is not None:
                copies = [copy for copy in copies if (copy.place, copy.owner_id) == (letter.place, letter.owner_id)]
            found.append(self._found(letter, copies) if copies else ReadAgain(letter, fault=_ANOTHER))
        return found

    def _found(self, letter: Letter, copies: Sequence[Copy]) -> ReadAgain:
        """Give the copies the time at which they came, and the ruling."""
        ruling = replace(self._ruling, decision_id=letter.id)
        return ReadAgain(letter, [replace(copy, received_at=letter.received_at, ruling=ruling) for copy in copies])

    def _owner(self, letter: Letter) -> Owner | None:
        return self._owners[letter.owner_id] if letter.owner_id else None

    def _rule(self, letter: Letter, profile: IncomingProfile) -> Rule:
        owner = self._owner(letter)
        return (owner and owner.rule) or profile.tracking_rule


def profile_of(profiles: Profiles, source: LetterSource) -> IncomingProfile | None:
    """Find the profile that brings the mail of a source now."""
    if source.mailbox:
        return profiles.routes_of(source.mailbox).reads
    return next((one for one in profiles.incoming if one.name == source.profile), None)


def settles(profile: IncomingProfile | None, source: LetterSource) -> frozenset[Disposition]:
    """Tell which dispositions are still to be told to the mail server of a source."""
    return settles_of(profile) if profile and not source.listens else frozenset()


def outer_place_of(letter: Letter) -> Place:
    """Return the place of the mail on its server that is, or brought, the letter."""
    return replace(letter.place, id=letter.outer_place) if letter.outer_place else letter.place


def _received(letter: Letter, kept: Kept) -> Received:
    return Received(letter.place, kept.content, letter.received_at, recipients=kept.recipients)


def _forward_of(letter: Letter) -> Forward | None:
    if letter.forward is None or letter.outer_place is None:
        return None
    envelope = json.loads(letter.forward)
    date = datetime.fromisoformat(envelope["date"]) if envelope["date"] else None
    place = outer_place_of(letter)
    return Forward(place, envelope["form"], envelope["forwarder"], envelope["message_id"], date)
