"""The relays of the outgoing profiles: which of them carries an email, its slots, its back-off and its health."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import structlog

from router.backoff import Backoff
from router.errors import DatabaseError
from router.health import Health
from router.profile import OutgoingProfile, Profiles
from router.repository import relays
from router.repository.database import Database
from transports.base import Relay

_log = structlog.get_logger(__name__)


class NoRelay(Exception):
    """No outgoing profile carries what this mailbox sends; the words are for the email's status."""


class RelayPool:
    """The relay of one outgoing profile: `slots` are its connections. It backs off as a whole while it is at fault."""

    def __init__(self, profile: OutgoingProfile, relay: Relay, database: Database) -> None:
        self.profile = profile
        self.relay = relay
        self.slots = asyncio.Semaphore(profile.settings.connections)
        self.backoff = Backoff()
        note = partial(relays.note_fault, database, profile.name)
        self.health = Health("a relay cannot be used now", note, _log.bind(profile=profile.name))


class Relays:
    """All relays of this process, open for as long as it is entered."""

    def __init__(self, database: Database, profiles: Profiles) -> None:
        self._database = database
        self._profiles = profiles
        self._pools: dict[str, RelayPool] = {}

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Open every relay, and close them in the end."""
        async with AsyncExitStack() as stack:
            for profile in self._profiles.outgoing:
                relay = await stack.enter_async_context(profile.open())
                self._pools[profile.name] = RelayPool(profile, relay, self._database)
            try:
                await relays.forget_others(self._database, list(self._pools))
            except DatabaseError as error:
                _log.debug("relays of before could not be forgotten", reason=str(error))
            yield

    @property
    def room(self) -> int:
        """How many emails may be claimed at once: as many as there are slots, and as many again that wait for one."""
        return 2 * sum(pool.profile.settings.connections for pool in self._pools.values())

    @asynccontextmanager
    async def slot(self, mailbox: str) -> AsyncIterator[RelayPool]:
        """Wait for a slot of the relay that carries what this mailbox sends. Raises NoRelay."""
        profile = self._profiles.outgoing_for(mailbox)
        if profile is None:
            raise NoRelay(f"no outgoing profile has {mailbox} among its senders")
        pool = self._pools[profile.name]
        async with pool.slots:
            yield pool
