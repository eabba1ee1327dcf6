"""Which mailboxes this process follows: its fair share of all that the profiles and the owners call for.

Every process looks by itself, every few seconds and when the profiles change: a new owner is served, one that was
removed is let go, what a dead process held is taken over, and a process with more than a fair share gives some back.
"""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from uuid import UUID

import structlog

from router.errors import DatabaseError
from router.health import Health
from router.incoming.budget import Budget
from router.incoming.follow import FAULT, Follower, primary_source
from router.incoming.turns import Slots
from router.model import Owner
from router.profile import IncomingProfile, Key, Profiles
from router.repository import processes
from router.repository.database import Database
from router.repository.incoming import sources
from router.repository.incoming.registry import Source, note_profiles, profiles_of, register
from router.repository.incoming.sources import Lease
from router.repository.owners.owners import list_owners
from router.supervise import Job, Supervisor
from router.workers.pool import Workers
from transports import MailboxSettings

_SOME = 5  # mailboxes that are named; all of them are counted

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Holding:
    """A mailbox that this process reads: by which profile, whose, and the connections that it takes turns at."""

    profile: IncomingProfile
    owner: Owner | None
    slots: Slots


@dataclass(slots=True)
class _Held:
    """A mailbox that this process holds. `owner` is as of the last look; `follower` is None before it first runs."""

    profile: IncomingProfile
    owner: Owner | None
    lease: Lease
    follower: Follower | None = None


Wanted = dict[Source, tuple[IncomingProfile, Owner | None]]
"""What stands for a whole mailbox, the profile that reads it and, unless it is a forward mailbox, its owner."""


def wanted_mailboxes(profiles: Profiles, owners: Sequence[Owner]) -> Wanted:
    """Tell which mailboxes the profiles call for, given the approved owners."""
    wanted: Wanted = {
        primary_source(profile, profile.settings, None): (profile, None)
        for profile in profiles.incoming
        if profile.forwards and isinstance(profile.settings, MailboxSettings)
    }
    for owner in owners:
        profile = profiles.incoming_for(owner.mailbox)
        if profile is None or not isinstance(profile.settings, MailboxSettings):
            continue
        wanted[primary_source(profile, profile.settings, owner)] = (profile, owner)
    return wanted


class MailboxAssignment:
    """The followers of this process, one job for each mailbox that it holds, by the source that stands for it."""

    def __init__(
        self,
        database: Database,
        workers: Workers,
        profiles: Profiles,
        process_id: UUID,
        lease: timedelta,
        budget: Budget,
    ) -> None:
        """`lease` is how long a process counts as alive after it was last seen."""
        self._database = database
        self._workers = workers
        self._profiles = profiles
        self._process_id = process_id
        self._lease = lease
        self._budget = budget
        self._held: dict[int, _Held] = {}
        self._leaving: dict[int, int] = {}  # the epochs of those that are let go and not yet free for all
        self._followers: Supervisor[int] = Supervisor()
        self._slots: dict[str, tuple[int, Slots]] = {}
        self._changed = asyncio.Event()
        note = partial(processes.note_fault, database, process_id, "owners")
        self._left = Health("owners are not read", note, _log)

    def update(self, profiles: Profiles) -> None:
        """Go by these profiles from now on. Mailboxes whose profile stays the same keep their connections."""
        self._profiles = profiles
        self.look()

    def look(self) -> None:
        """Look now for mailboxes to take or to let go."""
        self._changed.set()

    def retry(self, keys: Collection[Key]) -> None:
        """Let the mailboxes of these profiles try again now what failed."""
        for held in self._held.values():
            if held.profile.key in keys and held.follower is not None:
                held.follower.retry()

    @property
    def held(self) -> dict[int, Holding]:
        """The mailboxes that this process reads now, by the source that stands for each."""
        return {
            source_id: Holding(one.profile, one.owner, self._slots_of(one.profile))
            for source_id, one in self._held.items()
        }

    async def run(self) -> None:
        """Look, and look again, until canceled; then every follower has ended. A bug in a look ends no follower."""
        looking: Supervisor[str] = Supervisor()
        note = partial(processes.note_fault, self._database, self._process_id, "mailboxes")
        health = Health("the mailboxes cannot be looked at, and it is tried again", note, _log)
        looking.start("look at the mailboxes", Job(partial(self._look_again, health), health))
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._held.clear()
            await asyncio.gather(looking.close(), self._followers.close())

    async def _look_again(self, health: Health) -> None:
        pause = processes.beat_of(self._lease)
        while True:
            self._changed.clear()
            try:
                await self._look()
            except DatabaseError as error:
                await health.fails(str(error), pause)
            else:
                await health.works()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._changed.wait()

    async def _look(self) -> None:
        owners = [listed.owner for listed in await list_owners(self._database) if listed.approved]
        wanted = await self._without_lost(wanted_mailboxes(self._profiles, owners))
        ids = await register(self._database, list(wanted), self._profiles.shared_accounts)
        by_id = {source_id: wanted[source] for source, source_id in ids.items()}
        epochs, fair = await sources.held_by(self._database, self._process_id, list(by_id), self._lease)
        await self._let_go(self._lost(by_id, epochs))
        for source_id, held in self._held.items():
            held.owner = by_id[source_id][1]
            if held.follower is not None:
                held.follower.owner = held.owner
        await self._let_go(list(self._held)[fair:])
        # `acquire` committed, but its answer was lost: free for all again.
        unused = {id_: epoch for id_, epoch in epochs.items() if id_ not in self._held}
        await self._release(self._leaving | unused)
        taken = await sources.acquire(self._database, self._process_id, list(by_id), self._lease)
        for process, number in Counter(lease.former for lease in taken if lease.former).items():
            words = "took over the mailboxes of a process that did not say that it ends"
            _log.warning(words, process=process, mailboxes=number)
        former = await note_profiles(self._database, {one.source_id: by_id[one.source_id][0].name for one in taken})
        for lease in taken:
            self._start(lease, *by_id[lease.source_id], former.get(lease.source_id))
        identities = {source.identity for source in wanted} | self._profiles.shared_accounts
        await sources.forget_faults(self._database, identities)

    async def _without_lost(self, wanted: Wanted) -> Wanted:
        """Leave out mailboxes whose former profile is not found, while it may be in a file that cannot be understood.

        Another profile that has them now, a less exact one most often, may have a rule that reads more of their mail.
        """
        if not self._profiles.obscure:
            await self._left.works()
            return wanted
        former = await profiles_of(self._database, [source.identity for source in wanted])
        there = {one.name for one in self._profiles.incoming}
        lost = {source for source in wanted if former.get(source.identity, source.profile) not in there}
        if lost:
            await self._left.fails(_words_for([source.identity for source in lost], former))
        else:
            await self._left.works()
        return {source: found for source, found in wanted.items() if source not in lost}

    def _lost(self, by_id: Mapping[int, tuple[IncomingProfile, Owner | None]], epochs: Mapping[int, int]) -> list[int]:
        """Which held mailboxes are to be let go: another process holds them by now, or their profile has changed."""
        return [
            source_id
            for source_id, held in self._held.items()
            if source_id not in self._followers.running
            or epochs.get(source_id) != held.lease.epoch
            or by_id[source_id][0].as_opened != held.profile.as_opened
        ]

    def _start(self, lease: Lease, profile: IncomingProfile, owner: Owner | None, former: str | None) -> None:
        held = self._held[lease.source_id] = _Held(profile, owner, lease)
        log = _log.bind(profile=profile.name, mailbox=owner.mailbox if owner else None)
        note = partial(sources.note_fault, self._database, lease.source_id, lease=lease)
        health = Health(FAULT, note, log, kind="mailbox", profile=profile.name)
        self._followers.start(lease.source_id, Job(partial(self._follow, held, health), health, may_return=True))
        if not lease.begun:
            log.info("reading begins")
        if former is not None:
            gone = all(one.name != former for one in self._profiles.incoming)
            # What another profile reads may be more than what the former did.
            tell = log.warning if gone else log.info
            rule = (owner.rule if owner else None) or profile.tracking_rule
            tell("reads on where another profile stopped", former=former, removed=gone, rule=str(rule))

    async def _follow(self, held: _Held, health: Health) -> None:
        profile = held.profile
        assert isinstance(profile.settings, MailboxSettings)
        lease = held.lease
        if held.follower is not None:
            # It ended by a bug: the next goes on from what is stored, and not from what that one had in mind.
            try:
                lease = await sources.renew(self._database, held.lease)
            except DatabaseError:
                return  # the next look takes the mailbox again, or leaves it to its new holder
        slots = self._slots_of(profile)
        held.follower = Follower(
            self._database, self._workers, profile, profile.settings, held.owner, lease, slots, health, self._budget
        )
        try:
            await held.follower.run()
        finally:
            if self._held.get(lease.source_id) is not held:
                self._changed.set()  # let go, and ended: the next look makes it free for all

    def _slots_of(self, profile: IncomingProfile) -> Slots:
        """The connections of a profile, shared by its mailboxes; others when their number has changed."""
        assert isinstance(profile.settings, MailboxSettings)
        name, size = profile.name, profile.settings.at_once
        if name not in self._slots or self._slots[name][0] != size:
            self._slots[name] = size, Slots(size)
        return self._slots[name][1]

    async def _let_go(self, source_ids: Collection[int]) -> None:
        """Let these followers end. None is waited for: a server that does not answer delays its own mailbox alone."""
        self._leaving |= {source_id: self._held.pop(source_id).lease.epoch for source_id in source_ids}
        await self._followers.stop(source_ids, patience=0)

    async def _release(self, epochs: Mapping[int, int]) -> None:
        """Make mailboxes free for all, except those whose followers have not ended yet."""
        ended = {source_id: epoch for source_id, epoch in epochs.items() if source_id not in self._followers.ending}
        await sources.release(self._database, self._process_id, ended)
        for source_id in ended:
            self._leaving.pop(source_id, None)


def _words_for(identities: Sequence[str], former: Mapping[str, str]) -> str:
    profiles = ", ".join(sorted({former[one] for one in identities}))
    some = ", ".join(sorted(identities)[:_SOME]) + (" …" if len(identities) > _SOME else "")
    return (
        f"{len(identities)} not read ({some}): last read by a profile that is not found ({profiles}), while a profile "
        "file cannot be understood; no other profile takes them before that is put right"
    )
