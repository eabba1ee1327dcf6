"""The bytes of a received email, as they came: from what is kept, or fetched from where its copies lie.

A connection of its own only fetches, and changes nothing. What is found counts only if it is that very message: by its
key, and by what it says, since whoever knows Message-ID and Date can send another one.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from router.incoming.copies import read_each
from router.incoming.forward import trust_of
from router.incoming.replay import profile_of
from router.model import Likeness, Reading, Rule, Unwrapped
from router.profile import IncomingProfile, Profiles
from router.read import read
from router.repository.database import Database
from router.repository.owners.owners import approved_owners
from router.repository.trace.received import CopyOf, ReceivedEmail
from router.unwrap import unwrap
from router.workers.pool import Workers
from transports.base import Account, Mailbox, Place, Received, Wanted
from transports.errors import CursorLost, Temporary, TransportError

_MOST: Final = 20  # messages of one folder that have the Message-ID


@dataclass(frozen=True, slots=True)
class Found:
    """The bytes, and where they are from, in words."""

    content: bytes
    whence: str


class Finder:
    """Finds the bytes of one email; `faults` say where they are not, and why."""

    def __init__(self, database: Database, workers: Workers, profiles: Profiles, email: ReceivedEmail) -> None:
        self._database = database
        self._workers = workers
        self._profiles = profiles
        self._email = email
        self.faults: list[str] = []

    async def find(self) -> Found | None:
        """Look into what is kept, and then into one mailbox after the other. Raises DatabaseError."""
        for kept in self._email.kept:
            if await self._is_it(kept.content, None):
                return Found(kept.content, "the bytes that are kept of held mail")
        looked: set[tuple[str, str]] = set()
        for copy in self._email.copies:
            if (found := await self._of_copy(copy, looked)) is not None:
                return found
        return None

    async def _of_copy(self, copy: CopyOf, looked: set[tuple[str, str]]) -> Found | None:
        source = copy.source
        where = f"{source.folder} of {source.mailbox or source.profile}"
        if source.listens:
            self.faults.append(f"it was handed to the listener {source.profile}, which keeps no bytes of promoted mail")
            return None
        profile = profile_of(self._profiles, source)
        if profile is None or profile.account_of(source.mailbox) != source.account:
            self.faults.append(f"{where}: no profile reads the account in which it lay")
            return None
        if source.mailbox and (fault := await self._forbidden(source.mailbox, profile)):
            self.faults.append(f"{where}: {fault}")
            return None
        again = (source.mailbox, source.folder) in looked
        looked.add((source.mailbox, source.folder))
        try:
            async with profile.open(source.mailbox) as account:
                async for received, folder in self._candidates(account, copy, everywhere=not again):
                    if (content := await self._original_in(received, profile)) is not None:
                        return Found(content, f"{folder} of {source.mailbox or source.profile}")
        except TransportError as error:
            self.faults.append(f"{where}: its server does not give it now: {error}")
            return None
        self.faults.append(f"{where}: it lies there no longer")
        return None

    async def _forbidden(self, mailbox: str, profile: IncomingProfile) -> str | None:
        owner = (await approved_owners(self._database, [mailbox])).get(mailbox)
        if owner is None:
            return "the mailbox is not approved"
        return "by the rule none, nobody looks into it" if (owner.rule or profile.tracking_rule) is Rule.NONE else None

    async def _candidates(
        self, account: Account, copy: CopyOf, *, everywhere: bool
    ) -> AsyncIterator[tuple[Received, str]]:
        """Yield what lies in its place; and then what has its Message-ID, in whatever folder."""
        mailbox = account.folder(copy.source.folder)
        async for received in _fetched(mailbox, [copy.place], copy):
            yield received, copy.source.folder
        if not everywhere or not self._email.message_id or not copy.source.mailbox:
            return
        for folder in await account.all_folders():
            view = account.folder(folder.name)
            try:
                found = await view.search(Wanted(message_id=self._email.message_id), _MOST)
                async for received in view.fetch([one.place for one in found.copies], "whole"):
                    yield received, folder.name
            except Temporary:
                raise
            except TransportError as error:  # such as a folder that may not be read
                self.faults.append(f"{folder.name} of {copy.source.mailbox} cannot be looked into: {error}")

    async def _original_in(self, received: Received, profile: IncomingProfile) -> bytes | None:
        if received.fault is not None:
            return None
        if not profile.forwards:
            return received.content if await self._is_it(received.content, profile.authserv) else None
        (opened,) = await read_each(self._workers, unwrap, [received], lambda one: (one.content, trust_of(profile)))
        if not isinstance(opened, Unwrapped):
            return None
        # An original that stood in a text has no bytes of its own.
        return next((one.content for one in opened.originals if one.content and self._same(one.reading)), None)

    async def _is_it(self, content: bytes, authserv: str | None) -> bool:
        received = Received(Place("", ""), content, datetime.now(UTC))
        (reading,) = await read_each(self._workers, read, [received], lambda one: (one.content, (), authserv))
        return isinstance(reading, Reading) and self._same(reading)

    def _same(self, reading: Reading) -> bool:
        known = self._email.known.get(reading.key)
        return known is not None and _says_the_same(known, reading.likeness)


async def _fetched(mailbox: Mailbox, places: Sequence[Place], copy: CopyOf) -> AsyncIterator[Received]:
    try:
        # Only a listing tells which places mean another message by now.
        await mailbox.list(copy.source.cursor, 1)
        async for received in mailbox.fetch(places, "whole"):
            yield received
    except CursorLost:
        return


def _says_the_same(known: Likeness, one: Likeness) -> bool:
    """Whether two messages of one key are the same, as who dedupes says: what was never known is not compared."""
    if not known.content or known.content == one.content:
        return True
    return not known.gist or known.gist == one.gist
