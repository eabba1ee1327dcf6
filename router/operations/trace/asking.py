"""Asks mail servers for a message, over connections of their own that change nothing, in all folders.

What a server finds is only a candidate: its headers are read here, and compared; all of it, where another message may
have its Message-ID and Date. Nothing is kept of it, and nothing is told but where it lies, when it came and what became
of it. Nobody finds out what somebody else's mail says.
"""

import asyncio
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from router.incoming.start import Start
from router.model import Disposition, Message, Reading, Rule, key_when_sent
from router.operations import explain
from router.operations.trace.found import Asked, Concerned, Lying, Role
from router.operations.words import moment
from router.profile import IncomingProfile, Profiles
from router.repository.database import Database
from router.repository.incoming.audit import AuditedSource, read_sources
from router.repository.incoming.sources import began_at
from router.repository.trace.trace import Sought
from router.repository.trace.unseen import Known, Reader, known_messages, known_places
from router.workers.pool import Workers
from transports.base import Account, Candidates, Folder, Mailbox, Place, Present, Wanted
from transports.errors import CursorLost, Temporary, TransportError

_ANSWER: Final = 60.0  # seconds that one mailbox's server may take
_AT_ONCE: Final = 4  # mailboxes
_WORD = re.compile(r"\w+")
_CANDIDATES: Final = 500  # messages of one folder whose headers are read
_SHOWN: Final = 20  # messages of one mailbox that are told

_NOT_APPROVED: Final = "the mailbox is not approved, so nothing of it is looked at"
_WHICH: Final = "say more of the message: a mailbox as a whole is nobody else's to look through"
_NO_PROFILE: Final = "the profile that reads the mailbox cannot be used from here"


class Asker:
    """Asks for what is sought; the profiles are those that can be used here."""

    def __init__(self, database: Database, workers: Workers, profiles: Profiles, sought: Sought) -> None:
        self._database = database
        self._workers = workers
        self._profiles = profiles
        self._sought = sought
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def ask(self, owners: Sequence[Concerned]) -> list[Concerned]:
        """Ask the server of each owner's mailbox, several at once; not of those that only have mail handed to us."""
        answers = await asyncio.gather(*(self._asked(owner) for owner in owners))
        return [replace(owner, asked=asked) for owner, asked in zip(owners, answers, strict=True)]

    async def _asked(self, owner: Concerned) -> Asked | None:
        profile = self._profiles.routes_of(owner.mailbox).reads
        if not owner.approved:
            return Asked(fault=_NOT_APPROVED)
        if not tells_apart(wanted_of(self._sought, owner.role)):
            return Asked(fault=_WHICH)
        if profile is None:
            return Asked(fault=_NO_PROFILE) if owner.profile else None
        search = _Search(self._database, self._workers, profile, owner, self._sought)
        async with self._turns:
            try:
                async with asyncio.timeout(_ANSWER), profile.open(owner.mailbox) as account:
                    await search.run(account)
            except TransportError as error:
                search.fault = str(error)
            except TimeoutError:
                search.fault = f"it did not answer within {_ANSWER:g} s"
        return search.asked


class _Search:
    """The search of one mailbox: what it has found so far, whatever ends it."""

    def __init__(
        self, database: Database, workers: Workers, profile: IncomingProfile, owner: Concerned, sought: Sought
    ) -> None:
        self._database = database
        self._workers = workers
        self._profile = profile
        self._owner = owner
        self._sought = sought
        self._wanted = wanted_of(sought, owner.role)
        self._folders: list[str] = []
        self._copies: list[Lying] = []
        self._certain = True
        self._sources: Mapping[str, AuditedSource] = {}
        self.fault: str | None = None

    @property
    def asked(self) -> Asked:
        """What was found."""
        copies = sorted(self._copies, key=lambda one: one.received_at, reverse=True)
        certain = self._certain and self.fault is None
        more = max(0, len(copies) - _SHOWN)
        return Asked(tuple(self._folders), tuple(copies[:_SHOWN]), more, certain, self.fault)

    async def run(self, account: Account) -> None:
        """Look into all folders, those that are read first."""
        if self._owner.readers:
            # Before the server is asked: what is behind the cursor by then was decided on before.
            self._sources = await read_sources(self._database, self._owner.mailbox)
        read = {one.name for one in await account.folders()}
        there = await account.all_folders()
        faults = []
        for folder in sorted(there, key=lambda one: one.name not in read):
            try:
                await self._look(account, folder, read)
            except Temporary:
                raise
            except TransportError as error:
                faults.append(str(error))
            else:
                self._folders.append(folder.name)
        self.fault = "; ".join(faults) or None

    async def _look(self, account: Account, folder: Folder, read: Collection[str]) -> None:
        view = account.folder(folder.name)
        reader = self._reader(folder.name)
        source = self._sources.get(folder.name) if reader else None
        cursor = source.cursor if source else None
        if cursor is not None:
            # Only a listing tells which places mean what they meant to the reader.
            try:
                await view.list(cursor, 1)
            except CursorLost:
                cursor = None
        wanted = self._wanted
        found = await view.search(wanted, _CANDIDATES)
        matching = await self._matching(found)
        if not matching and not found.certain and (wanted.since or wanted.until):
            # A server may understand addresses and subjects otherwise than people do.
            found = await view.search(Wanted(since=wanted.since, until=wanted.until), _CANDIDATES)
            matching = await self._matching(found)
        self._certain = self._certain and found.certain
        known = await self._known(view, folder, reader, matching)
        for place, received_at in matching:
            became = known.get(place)
            stands = view.compared(cursor, place) if cursor else Present(place, None, waits=True)
            stands = replace(stands, received_at=received_at)
            words = _became(became) if became else self._why_unread(folder.name, stands, reader, read)
            self._copies.append(Lying(folder.name, received_at, words, became))

    async def _matching(self, found: Candidates) -> dict[tuple[Place, datetime], Reading]:
        contents = {str(number): copy.content for number, copy in enumerate(found.copies)}
        explained = await explain.read_messages(self._workers, contents, None) if contents else []
        return {
            (copy.place, copy.received_at): one.reading
            for copy, one in zip(found.copies, explained, strict=True)
            if isinstance(one.reading, Reading) and matches(one.reading.message, self._wanted)
        }

    def _reader(self, folder: str) -> Reader | None:
        account = self._profile.account_of(self._owner.mailbox)
        return next((one for one in self._owner.readers if (one.folder, one.account) == (folder, account)), None)

    async def _known(
        self,
        view: Mailbox,
        folder: Folder,
        reader: Reader | None,
        matching: Mapping[tuple[Place, datetime], Reading],
    ) -> dict[Place, Known]:
        """Tell what became of each: of this very copy, else of another copy of the same message."""
        places = [place for place, _ in matching]
        known: dict[Place, Known | None] = {}
        if reader and places:
            known |= await known_places(self._database, reader.id, places)
        others = {place: one for (place, _), one in matching.items() if place not in known}
        keys = {place: _keys_of(one, folder) for place, one in others.items() if _has_key(one.message)}
        if others:
            found = await known_messages(self._database, self._owner.id, list(keys.values()), [None] * len(keys))
            by_key = {place: one for place, one in zip(keys, found, strict=True) if one}
            # The key of these is of their bodies, too.
            keyless = sorted((at, place) for place, at in matching if place in others and place not in keys)[-_SHOWN:]
            whole = [*by_key, *(place for _, place in keyless)]
            known |= by_key | await self._compared(view, folder, whole)
        return {place: one for place, one in known.items() if one}

    async def _compared(self, view: Mailbox, folder: Folder, places: Sequence[Place]) -> dict[Place, Known | None]:
        """Tell what became of each as far as it says the same: who knows Message-ID and Date can send another."""
        known: dict[Place, Known | None] = {}
        if places:
            async for received in view.fetch(places, "whole"):
                content = {received.place.id: received.content}
                (explained,) = await explain.read_messages(self._workers, content, self._profile.authserv)
                if isinstance(one := explained.reading, Reading):
                    known[received.place], *_ = await known_messages(
                        self._database, self._owner.id, [_keys_of(one, folder)], [one.likeness]
                    )
        return known

    def _why_unread(self, folder: str, stands: Present, reader: Reader | None, read: Collection[str]) -> str:
        """Say what keeps a message from being read, the gravest of it; or that nothing does."""
        if folder not in read:
            return f"{self._profile.title} does not read this folder; moved into one that is read, it is judged there"
        if reader is None or not reader.begun:
            return "it is not read yet: the folder was never opened"
        if passed := self._why_passed(folder, stands, reader):
            return passed
        if reader.reader is None:
            at_fault = f"; it was at fault when it was last read: {reader.fault}" if reader.fault else ""
            return f"it is not read yet: no process reads this folder now{at_fault}"
        if reader.fault is not None:
            return f"it is not read yet, since the folder is at fault: {reader.fault}"
        return (
            "it is not read yet; the next look into the folder brings it in, unless it was put there with an old date"
        )

    def _why_passed(self, folder: str, stands: Present, reader: Reader) -> str | None:
        """Say why reading is past a message; None: it is not. An audit says the same."""
        start = Start.of(self._profile, self._sources.get(folder), self._sources)
        if start.passes(stands) or (not stands.waits and start.may_pass(stands)):
            began = f", which was on {moment(began_at(reader.begins_at))}" if reader.begins_at else ""
            return f"it came before reading began{began}"
        if stands.waits or (self._owner.rule or self._profile.tracking_rule) is Rule.NONE:
            return None
        command = f"email-router audit {self._profile.name} --owner {self._owner.mailbox} --repair"
        return f'the router is past it and knows nothing of it: "{command}" brings it in'


def wanted_of(sought: Sought, role: Role) -> Wanted:
    """Tell what to look for in the mailbox of a recipient, whoever it is addressed to; or of a sender."""
    sender, recipient = (sought.sender, "") if role == "recipient" else ("", sought.recipient)
    return Wanted(sought.message_id, sender, recipient, sought.words, sought.since, sought.until)


def tells_apart(wanted: Wanted) -> bool:
    """Whether anything but a time is known of a message, so that it can be told from others."""
    return bool(wanted.message_id or wanted.sender or wanted.recipient or wanted.words)


def matches(message: Message, wanted: Wanted) -> bool:
    """Whether headers are those of what is wanted; of its time of arrival they tell nothing."""
    recipients = [one.address for one in message.mentions if one.role in ("to", "cc", "bcc")]
    # Whole words: by a letter or two, anybody's mail would be found.
    words = set(_WORD.findall(message.subject.casefold()))
    return (
        wanted.message_id in ("", message.message_id)
        and _names([one.address for one in message.of("from")], wanted.sender)
        and _names(recipients, wanted.recipient)
        and words.issuperset(_WORD.findall(" ".join(wanted.words).casefold()))
    )


def _names(addresses: Sequence[str], wanted: str) -> bool:
    if wanted.startswith("@"):
        return any(address.endswith(wanted) for address in addresses)
    return not wanted or wanted in addresses


def _has_key(message: Message) -> bool:
    """Whether headers alone tell the message's key."""
    return bool(message.message_id and message.date)


def _keys_of(reading: Reading, folder: Folder) -> tuple[bytes, bytes]:
    """Return the keys under which a message may be kept, the likeliest first: see `Facts.keyed`."""
    keys = reading.key, key_when_sent(reading.key)
    return keys[::-1] if folder.use == "sent" else keys


def _became(known: Known) -> str:
    reasons = f": {'; '.join(known.reasons)}" if known.reasons else ""
    match known.disposition:
        case Disposition.IGNORED:
            return f"it was ignored{reasons}"
        case Disposition.HELD:
            return f'it is held{reasons} ("email-router held show {known.letter}")'
        case Disposition.DEAD:
            return f'it is a dead letter{reasons} ("email-router dead-letters show {known.letter}")'
    if known.erased:
        return "it was in the CRM, and was erased or taken back there"
    return f"it is in the CRM as email {known.email_id}, which does not say what was sought"
