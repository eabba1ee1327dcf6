"""The way in for a listener: what mail servers hand over is promoted, and only then answered."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime
from itertools import chain
from typing import Final

import structlog

from router.backoff import Backoff
from router.errors import DatabaseError, MessageWaits, OwnerGone
from router.group import Group
from router.health import Health
from router.incoming.budget import Budget
from router.incoming.copies import Delivered, read_messages
from router.incoming.forward import read_forwards
from router.incoming.lanes import Lanes
from router.incoming.promote import Promoter
from router.model import Decision, normalize
from router.model.return_path import find_mailbox, mailbox_of, without_detail
from router.profile import IncomingProfile, Profiles
from router.repository.database import Database
from router.repository.incoming import sources
from router.repository.incoming.registry import Source, note_profiles, register
from router.repository.owners.owners import ListedOwner, find_owners
from router.supervise import end_if_told
from router.workers.pool import Workers
from transports import ListenerSettings
from transports.base import Acceptance, Received
from transports.errors import Temporary, TransportError

_log = structlog.get_logger(__name__)

FAULT: Final = "a listener is at fault, and tried again"
"""The log's line for a listener that cannot listen, or cannot take the mail that is handed to it."""

_MOMENT = 1.0  # seconds between RCPT and the end of DATA in which an owner need not be looked up again

_TAKEN = Acceptance(250, "2.1.5 OK")
_WAITING = Acceptance(450, "4.2.1 The owner of this mailbox is not approved yet")
_BROKEN = Acceptance(450, "4.3.5 The profile of this mailbox is broken")
_LATER = Acceptance(451, "4.3.0 Please try again later")
_NOBODY = Acceptance(550, "5.1.1 Nobody here has this address")


class ListenerIntake:
    """One listener of ours. The messages of many connections are committed together (`Lanes`)."""

    def __init__(
        self,
        database: Database,
        workers: Workers,
        profiles: Callable[[], Profiles],
        profile: IncomingProfile,
        settings: ListenerSettings,
        budget: Budget,
    ) -> None:
        """`profiles` tells the current ones: they say whose mail this listener takes."""
        self._database = database
        self._workers = workers
        self._profiles = profiles
        self._profile = profile
        self._settings = settings
        self._budget = budget
        self._source_id = 0
        self._lookups: Group[Sequence[str], Mapping[str, ListedOwner]] = Group(self._find)
        self._admitted: dict[str, tuple[float, ListedOwner]] = {}
        self._log = _log.bind(profile=profile.name)
        self._lanes = Lanes(Promoter(database), profile.name, self._log)
        self.health = Health(FAULT, self._note, self._log, kind="listener", profile=profile.name)

    async def run(self) -> None:
        """Serve until canceled. Where the address is taken (another process of ours, say), try until it is free."""
        backoff = Backoff(longest=5)
        served = False
        while True:
            try:
                source = Source(self._profile.name, "", self._profile.account_of(""), "", None, "all")
                ids = await register(self._database, [source], self._profiles().shared_accounts)
                self._source_id = ids[source]
                async with self._profile.listen() as listener:
                    await self._note_profile()
                    await self.health.works()
                    self._log.info("listening", address=self._settings.listen)
                    backoff.reset()
                    served = False
                    await listener.serve(self.accept, self.admit)
            except (TransportError, DatabaseError) as error:
                end_if_told(error)
                pause = backoff.next()
                if isinstance(error, TransportError) and await self._is_served():
                    if not served:
                        self._log.info("another process listens; this one waits for the address", reason=str(error))
                    served = True
                    await self.health.works()
                else:
                    served = False
                    with suppress(DatabaseError):
                        await self._note_profile()
                    await self.health.fails(str(error), pause)
                await asyncio.sleep(pause)

    async def _is_served(self) -> bool:
        """Whether mail is taken at the address all the same: another process of ours may listen there."""
        return not [found async for found in self._profile.probe(None) if found.state == "failed"]

    async def _note_profile(self) -> None:
        former = await note_profiles(self._database, {self._source_id: self._profile.name})
        if former:
            self._log.info("takes mail where another profile did", former=former[self._source_id])

    async def _note(self, fault: str | None, next_try_at: datetime | None) -> None:
        await sources.note_fault(self._database, self._source_id, fault, next_try_at)

    async def admit(self, address: str) -> Acceptance:
        """Answer whether an envelope recipient is the mailbox of an approved owner whom this listener serves.

        For a forward mailbox, whether it is its address.
        """
        if self._profile.forwards:
            return _TAKEN if normalize(address) == self._profile.address else _NOBODY
        async with self._tried_later():
            owner = (await self._owners([address])).get(mailbox_of(address))
        if owner is None or not owner.approved:
            return self._refusal(address, owner)
        self._admitted[mailbox_of(address)] = asyncio.get_running_loop().time(), owner
        return _TAKEN

    async def accept(self, received: Received) -> list[Acceptance]:
        """Promote one message for each of its recipients; answers only after the commit, one per recipient.

        A recipient whose copy could not be committed is answered 4xx. Raises Temporary when nothing was promised: the
        mail server keeps the mail.
        """
        held = self._budget.count(len(received.content))
        try:
            async with self._tried_later():
                accepted = await self._accept(received)
            await self.health.works()
            return accepted
        finally:
            held.release()

    @asynccontextmanager
    async def _tried_later(self) -> AsyncIterator[None]:
        """Have the mail server try again what the database does not take now, and tell of it until a message is in."""
        try:
            yield
        except DatabaseError as error:
            if not isinstance(error, MessageWaits | OwnerGone):  # all others get in
                await self.health.fails(str(error))
            raise Temporary(str(error)) from error

    async def _accept(self, received: Received) -> list[Acceptance]:
        if self._profile.forwards:
            return await self._accept_forward(received)
        owners = self._just_admitted(received.recipients) or await self._owners(received.recipients)
        delivered = {
            recipient: Delivered(found.owner, received, replace(received.place, id=f"{received.place.id}:{number}"))
            for number, recipient in enumerate(received.recipients)
            if (found := owners.get(mailbox_of(recipient))) is not None and found.approved
        }
        copies = await read_messages(self._workers, list(delivered.values()), self._source_id, self._profile)
        results = dict(zip(delivered, await self._lanes.promote(copies), strict=True)) if copies else {}
        failed = [one for one in results.values() if isinstance(one, DatabaseError)]
        if failed and len(failed) == len(results):
            raise failed[0]
        return [
            _answer(results[recipient])
            if recipient in results
            else self._refusal(recipient, owners.get(mailbox_of(recipient)))
            for recipient in received.recipients
        ]

    async def _accept_forward(self, received: Received) -> list[Acceptance]:
        copies = await read_forwards(self._database, self._workers, [received], self._source_id, self._profile)
        results = await self._lanes.promote(copies)  # all or none
        dispositions = []
        for one in results:
            if isinstance(one, DatabaseError):
                raise one
            dispositions.append(one.disposition)
        accepted = Acceptance(250, f"2.0.0 {', '.join(dispositions[:10])}")
        return [
            accepted if normalize(recipient) == self._profile.address else _NOBODY for recipient in received.recipients
        ]

    def _just_admitted(self, addresses: Sequence[str]) -> Mapping[str, ListedOwner]:
        """Return the owners of all these mailboxes as they were found a moment ago; nothing if one was not.

        Whether they are still approved, the transaction looks again.
        """
        now = asyncio.get_running_loop().time()
        self._admitted = {mailbox: one for mailbox, one in self._admitted.items() if now - one[0] < _MOMENT}
        mailboxes = {mailbox_of(address) for address in addresses}
        if not mailboxes <= self._admitted.keys():
            return {}
        return {mailbox: self._admitted[mailbox][1] for mailbox in mailboxes}

    async def _owners(self, addresses: Sequence[str]) -> Mapping[str, ListedOwner]:
        return await self._lookups.add([mailbox_of(address) for address in addresses])

    async def _find(self, groups: Sequence[Sequence[str]]) -> list[Mapping[str, ListedOwner]]:
        served = {
            mailbox
            for address in chain.from_iterable(groups)
            for mailbox in (address, without_detail(address))
            if mailbox
            and (listener := self._profiles().listener_for(mailbox)) is not None
            and listener.name == self._profile.name
        }
        found = await find_owners(self._database, list(served))
        by_address = {address: found.get(find_mailbox(address, found)) for address in chain.from_iterable(groups)}
        return [{address: owner for address, owner in by_address.items() if owner is not None}] * len(groups)

    def _refusal(self, recipient: str, owner: ListedOwner | None) -> Acceptance:
        """Nobody, for good; or an owner who waits for approval, or whose profile is broken: the mail server waits."""
        if owner is not None:
            return _WAITING
        mailboxes = mailbox_of(recipient), without_detail(mailbox_of(recipient))
        broken = [one for mailbox in mailboxes if mailbox for one in self._profiles().routes_of(mailbox).broken]
        return _BROKEN if any(one.listens for one in broken) else _NOBODY


def _answer(result: Decision | DatabaseError) -> Acceptance:
    return _LATER if isinstance(result, DatabaseError) else Acceptance(250, f"2.0.0 {result.disposition}")
