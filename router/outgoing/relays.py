"""The relays of the outgoing profiles: each with its connections, its state and its health.

The profiles may change while email is under way. A relay whose settings stay the same keeps its connections. One that
is not wanted any more (`retired`) is closed when the last email on it has its outcome.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID

import structlog

from router import metrics
from router.errors import DatabaseError
from router.health import Health
from router.profile import Key, OutgoingProfile, Profiles
from router.repository.database import Database
from router.repository.outgoing import relays
from router.repository.outgoing.claim import RelayFault
from router.supervise import end_if_told
from transports.base import Begin, Envelope, Outcome, Relay
from transports.errors import Temporary, TransportError, Unauthorized

_log = structlog.get_logger(__name__)

_WORDS: Final = 1000  # characters that are told of what a relay says


async def _nowhere(*_: object) -> None:
    """Note nothing: what is wrong with a relay is written down for all processes together."""


class RelayPool:
    """The relay of one outgoing profile: what is under way there, and whether it can be used.

    The state is shared by all processes (router.repository.outgoing.relays). This process knows whether a connection
    has `proven` the relay since it last failed: until then one email at a time is risked.
    """

    def __init__(self, profile: OutgoingProfile, database: Database, process_id: UUID, lease: timedelta) -> None:
        self.profile = profile
        self.wake = asyncio.Event()
        self.retired = False
        self.proven = False
        self.under_way: dict[UUID, asyncio.Task[None]] = {}
        self.bulk_under_way: set[UUID] = set()  # those of them that are of the lane `bulk`
        self.health = Health(
            "a relay cannot be used now",
            _nowhere,
            _log.bind(profile=profile.name),
            kind="relay",
            profile=profile.name,
        )
        self._database = database
        self._process_id = process_id
        self._lease = lease
        self._failures = 0  # that were noted since it last took an email
        self._relay: Relay | None = None
        self._opening = asyncio.Lock()
        self._stack = AsyncExitStack()

    @property
    def connections(self) -> int:
        """How many emails may be under way at once."""
        return self.profile.settings.connections

    @property
    def free(self) -> int:
        """How many emails may begin now."""
        return max(0, (self.connections if self.proven else 1) - len(self.under_way))

    @property
    def free_for_bulk(self) -> int:
        """How many of them may be of the lane `bulk`: some connections are always left for what is normal."""
        return max(0, max(1, self.connections * 3 // 4) - len(self.bulk_under_way))

    @property
    def warm(self) -> int:
        """How many connections are open and free, so that an email begins at once."""
        return self._relay.warm if self._relay is not None and self.proven else 0

    async def run(self, serve: "Callable[[RelayPool], Awaitable[None]]") -> None:
        """Open the relay, send through it until it is retired and nothing is under way any more, and close it."""
        with self.health:
            try:
                await self._begin()
                await serve(self)
            finally:
                await self._stack.aclose()

    async def _begin(self) -> None:
        """Open the relay for the first time. Where that fails, by a bug even, the next email tries again."""
        try:
            await self._open()
        except TransportError as error:
            await self.fails(error)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # it is used, and to be closed, all the same
            end_if_told(error)
            profile = self.profile.name
            _log.error("a relay could not be opened, by a mistake of ours", profile=profile, exc_info=error)

    def retire(self) -> None:
        """Claim nothing more, and close the relay as soon as what is under way has its outcome."""
        self.retired = True
        self.health.close()
        self.wake.set()

    async def send(self, envelope: Envelope, begin: Begin) -> Sequence[Outcome]:
        """Hand over one message. See `Relay.send`."""
        relay = await self._open()
        return await relay.send(envelope, begin)

    async def fails(self, error: TransportError) -> None:
        """Note for all processes why the relay cannot be used; nothing is claimed for it until it was tried."""
        self.proven = False
        if self.retired:
            return  # another relay has the next try, and the profile's name
        words = str(error)[:_WORDS]
        state: relays.State = "login_refused" if isinstance(error, Unauthorized) else "paused"
        at_least = (error.retry_after or 0) if isinstance(error, Temporary) else 0
        try:
            pause = await relays.note_fault(
                self._database, self.profile.name, self._process_id, state, words, self._failures + 1, at_least
            )
        except DatabaseError as unnoted:
            _log.debug("the fault of a relay could not be noted", profile=self.profile.name, reason=str(unnoted))
            pause = 0
        if pause:  # all connections that one fault ends are one failure: the next pause must not grow with each
            self._failures += 1
        await self.health.fails(words, pause or None)
        self.wake.set()

    def opened(self) -> None:
        """Note that there is a connection, ready for a message: others may be opened beside it."""
        if not self.proven:
            self.proven = True
            self.wake.set()

    def works(self) -> None:
        """Note that the relay has taken a message, or refused it for the message's own sake."""
        self._failures = 0

    async def wait_out(self, fault: RelayFault) -> None:
        """Try a relay at fault, if it is time and nobody else does; all may claim for it again once that has worked."""
        self.proven = False
        if self.health.fault != fault.words:
            await self.health.fails(fault.words, fault.seconds)
        if fault.seconds > 0 or not await relays.take_probe(
            self._database, self.profile.name, self._process_id, self._lease
        ):
            return
        try:
            relay = await self._open()
            await relay.connect()
        except TransportError as error:
            await self.fails(error)
        except Exception as error:  # noqa: BLE001  # it is tried again
            _log.error("a relay could not be tried, by a mistake of ours", profile=self.profile.name, exc_info=error)
            await self.fails(Temporary(f"a mistake of the router's own: {type(error).__name__}"))
        else:
            await relays.works(self._database, self.profile.name, self._process_id)
            self.opened()
            await self.health.works()

    async def _open(self) -> Relay:
        async with self._opening:
            if self._relay is None:
                self._relay = await self._stack.enter_async_context(self.profile.open())
            return self._relay


class Relays:
    """All relays of this process; none before the first `use`."""

    def __init__(
        self,
        database: Database,
        process_id: UUID,
        lease: timedelta,
        serve: Callable[[RelayPool], Awaitable[None]],
    ) -> None:
        """`serve` sends through a relay until it is retired."""
        self._database = database
        self._process_id = process_id
        self._lease = lease
        self._serve = serve
        self._pools: dict[str, RelayPool] = {}
        self._running: dict[RelayPool, asyncio.Task[None]] = {}  # those that are retired, too, until they have closed

    def use(self, profiles: Profiles, retry: Collection[Key] = ()) -> Sequence[str]:
        """Send through these profiles from now on. Relays open and close in the background.

        Returns the names of the profiles whose relays are to be tried at once, if they are at fault: those that are
        new, or have changed, and those to `retry`.
        """
        before, self._pools = self._pools, {}
        new = []
        for profile in profiles.outgoing:
            pool = before.get(profile.name)
            if pool is not None and pool.profile.as_opened == profile.as_opened:
                del before[profile.name]
                pool.profile = profile
                pool.wake.set()
            else:
                pool = self._start(profile)
                new.append(profile.name)
            self._pools[profile.name] = pool
            metrics.relay_opened(profile.name, pool.connections)
        for pool in before.values():
            pool.retire()
        return [*new, *(name for name, pool in self._pools.items() if pool.profile.key in retry and name not in new)]

    @property
    def names(self) -> Sequence[str]:
        """The names of the profiles."""
        return list(self._pools)

    @property
    def under_way(self) -> dict[UUID, asyncio.Task[None]]:
        """What is under way, at relays that are retired too, by the attempts' ids."""
        return {attempt_id: task for pool in self._running for attempt_id, task in pool.under_way.items()}

    def wake(self, name: str) -> None:
        """Let the relay of a profile look for what is ready; all of them, if none is named."""
        for pool in self._pools.values() if not name else filter(None, [self._pools.get(name)]):
            pool.wake.set()

    def wake_all(self) -> None:
        """Let all relays look whether they have to end."""
        for pool in self._running:
            pool.wake.set()

    def _start(self, profile: OutgoingProfile) -> RelayPool:
        pool = RelayPool(profile, self._database, self._process_id, self._lease)
        self._running[pool] = task = asyncio.create_task(pool.run(self._serve), name=f"relay {profile.name}")
        task.add_done_callback(partial(self._closed, pool))
        return pool

    def _closed(self, pool: RelayPool, task: asyncio.Task[None]) -> None:
        del self._running[pool]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a relay could not be opened or closed, by a mistake of ours", exc_info=error)

    async def close(self) -> None:
        """Close all relays, whatever is under way."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
