"""Which mailboxes this process follows: its fair share of all that the profiles and the owners call for.

Every process looks by itself, every few seconds: a new owner is served, one that was removed is let go, what a dead
process held is taken over, and who has more than a fair share gives some back.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

import structlog

from router.errors import DatabaseError
from router.incoming.follow import Follower, Turns, primary_source
from router.incoming.forward import Parsers
from router.model import Owner
from router.profile import IncomingProfile, Profiles
from router.repository import sources
from router.repository.database import Database
from router.repository.owners import list_owners
from router.repository.sources import Lease, Source
from transports import MailboxSettings

_log = structlog.get_logger(__name__)


class Share:
    """The followers of this process, one task for each mailbox that it holds, by the source that stands for it."""

    def __init__(
        self, database: Database, parsers: Parsers, profiles: Profiles, process_id: UUID, lease: timedelta
    ) -> None:
        self._database = database
        self._parsers = parsers
        self._profiles = profiles
        self._process_id = process_id
        self._lease = lease
        self._followers: dict[int, tuple[Follower, Lease, asyncio.Task[None]]] = {}
        self._turns: dict[str, Turns] = {}

    async def run(self) -> None:
        """Look, and look again, until canceled; then every follower has ended."""
        try:
            while True:
                try:
                    await self._look()
                except DatabaseError as error:
                    _log.warning("the sources cannot be looked at now", reason=str(error))
                await asyncio.sleep(self._lease.total_seconds() / 5)
        finally:
            await self._stop(list(self._followers))

    async def _look(self) -> None:
        owners = [listed.owner for listed in await list_owners(self._database) if listed.approved]
        wanted = dict(self._wanted(owners))
        ids = await sources.ensure(self._database, list(wanted))
        by_id = {source_id: (source, *wanted[source]) for source, source_id in ids.items()}
        held, fair = await sources.held(self._database, self._process_id, list(by_id), self._lease)
        # Taken, and then the connection failed before we knew: free for all again.
        await sources.release(
            self._database, self._process_id, {id_: epoch for id_, epoch in held.items() if id_ not in self._followers}
        )
        # One that we were thought too dead to hold is another's now, and reading on would only be refused.
        lost = [
            source_id
            for source_id, (_, lease, task) in self._followers.items()
            if task.done() or held.get(source_id) != lease.epoch
        ]
        await self._let_go(lost)
        for source_id, (follower, *_) in self._followers.items():
            follower.owner = by_id[source_id][2]
        await self._let_go(list(self._followers)[fair:])
        for lease in await sources.acquire(self._database, self._process_id, list(by_id), self._lease):
            self._start(lease, *by_id[lease.source_id])
        listeners = {(profile.name, "") for profile in self._profiles.incoming if profile.listens}
        read = {(source.profile, source.mailbox) for source in wanted}
        await sources.forget_faults(self._database, listeners | read)

    def _wanted(self, owners: list[Owner]) -> Mapping[Source, tuple[IncomingProfile, Owner | None]]:
        wanted: dict[Source, tuple[IncomingProfile, Owner | None]] = {
            primary_source(profile, profile.settings, None): (profile, None)
            for profile in self._profiles.incoming
            if profile.forwards and isinstance(profile.settings, MailboxSettings)
        }
        for owner in owners:
            profile = self._profiles.incoming_for(owner.mailbox)
            if profile is None or not isinstance(profile.settings, MailboxSettings):
                continue
            wanted[primary_source(profile, profile.settings, owner)] = (profile, owner)
        return wanted

    def _start(self, lease: Lease, source: Source, profile: IncomingProfile, owner: Owner | None) -> None:
        assert isinstance(profile.settings, MailboxSettings)
        turns = self._turns.setdefault(profile.name, Turns(profile.settings.at_once))
        follower = Follower(self._database, self._parsers, profile, profile.settings, owner, lease, turns)
        task = asyncio.create_task(follower.run(), name=f"{profile.name} {source.mailbox}")
        self._followers[lease.source_id] = (follower, lease, task)

    async def _let_go(self, source_ids: Sequence[int]) -> None:
        if source_ids:
            epochs = {source_id: self._followers[source_id][1].epoch for source_id in source_ids}
            await self._stop(source_ids)
            await sources.release(self._database, self._process_id, epochs)

    async def _stop(self, source_ids: Sequence[int]) -> None:
        tasks = [self._followers.pop(source_id)[2] for source_id in source_ids]
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                _log.error("a follower ended by a mistake of ours", exc_info=result)
