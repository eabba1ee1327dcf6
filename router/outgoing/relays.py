"""The relays of the outgoing profiles: which of them carries an email, its slots, its back-off and its health.

The profiles may change while email is under way. A relay whose settings stay the same keeps its connections. One that
is not wanted any more (`retired`) is closed when the last email on it has its outcome; those that wait for a slot of it
choose again at once.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

import structlog

from router import metrics
from router.backoff import Backoff
from router.health import Health
from router.profile import Key, OutgoingProfile, Profiles
from router.repository import relays
from router.repository.database import Database
from router.supervise import end_if_told
from transports.base import Begin, Envelope, Outcome, Relay
from transports.errors import Temporary, TransportError

_log = structlog.get_logger(__name__)

_FAULTS: Final = 20  # different words for what is wrong with one relay, for which email may wait

NO_PROFILE: Final = "no outgoing profile has"
"""How the reason begins for which an email waits until a profile carries it.

`outbox.try_now` finds what waits by the beginning of its reason, so reasons are state: these words here, and the faults
of relays. Who changes the words lets email that waits in a database of an earlier version wait until it is due.
"""


class NoRelay(Exception):
    """No outgoing profile carries what this mailbox sends; the words are for the email's status."""


class RelayPool:
    """The relay of one outgoing profile: `slots` are its connections. It backs off as a whole while it is at fault."""

    def __init__(self, profile: OutgoingProfile, database: Database, *, replaces: bool) -> None:
        self.profile = profile
        self.slots = asyncio.Semaphore(self.connections)
        self.backoff = Backoff()
        self.health = Health(
            "a relay cannot be used now",
            partial(relays.note_fault, database, profile.name),
            _log.bind(profile=profile.name),
            kind="relay",
            profile=profile.name,
        )
        self.faults: deque[str] = deque(maxlen=_FAULTS)  # since it last worked, the newest last
        self._replaces = replaces
        self._relay: Relay | None = None
        self._opening = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._retired = asyncio.Event()

    @property
    def connections(self) -> int:
        """How many emails may be under way at once."""
        return self.profile.settings.connections

    async def run(self) -> None:
        """Open the relay, and close it when it is retired and nothing is under way any more, or when canceled."""
        with self.health:
            try:
                await self._begin()
                await self._retired.wait()
                for _ in range(self.connections + 1):
                    await self.slots.acquire()
            finally:
                await self._stack.aclose()

    async def _begin(self) -> None:
        """Open the relay for the first time. Where that fails, by a bug even, the next email tries again."""
        try:
            if self._replaces:  # what was wrong with the relay before is not what is wrong with this one
                await self.health.works()
            try:
                await self._open()
            except TransportError as error:
                await self.fails(error)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # it is used, and to be closed, all the same
            end_if_told(error)
            profile = self.profile.name
            _log.error("a relay could not be opened, by a mistake of ours", profile=profile, exc_info=error)

    def retire(self) -> None:
        """Close the relay as soon as what is under way has its outcome. No email may choose it after this call."""
        self._retired.set()
        self.health.close()
        # One slot more goes through the hands of all that wait for one; each sees that it has to choose again.
        self.slots.release()

    async def send(self, envelope: Envelope, begin: Begin) -> Sequence[Outcome]:
        """Hand over one message, over a slot that the caller holds. See `Relay.send`."""
        relay = await self._open()
        return await relay.send(envelope, begin)

    async def fails(self, error: TransportError) -> float:
        """Note why the relay cannot be used. Returns the seconds to wait before it is tried again."""
        if self._retired.is_set():
            return 0  # another relay has the next try, and the profile's name
        pause = self.backoff.next(error.retry_after if isinstance(error, Temporary) else None)
        if str(error) not in self.faults:
            self.faults.append(str(error))
        await self.health.fails(str(error), pause)
        return pause

    async def works(self) -> None:
        """Note that the relay has taken a message, or refused it for the message's own sake."""
        self.backoff.reset()
        self.faults.clear()
        if not self._retired.is_set():
            await self.health.works()

    async def _open(self) -> Relay:
        async with self._opening:
            if self._relay is None:
                self._relay = await self._stack.enter_async_context(self.profile.open())
            return self._relay


class Relays:
    """All relays of this process; none before the first `use`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._profiles = Profiles((), ())
        self._pools: dict[str, RelayPool] = {}
        self._running: dict[RelayPool, asyncio.Task[None]] = {}  # those that are retired, too, until they have closed

    def use(self, profiles: Profiles, retry: Collection[Key] = ()) -> Sequence[str]:
        """Send through these profiles from now on. Relays open and close in the background.

        Returns what was wrong, since they last worked, with the relays that are not used any more, and with those of
        the profiles to `retry`, which are used again at once: email that waits for these reasons has nothing to wait
        for.
        """
        before, self._pools, self._profiles = self._pools, {}, profiles
        for profile in profiles.outgoing:
            pool = before.get(profile.name)
            if pool is not None and pool.profile.as_opened == profile.as_opened:
                del before[profile.name]
                pool.profile = profile
            else:
                pool = self._start(profile, replaces=pool is not None)
            self._pools[profile.name] = pool
            metrics.relay_opened(profile.name, pool.connections)
        for pool in before.values():
            pool.retire()
        again = [pool for pool in self._pools.values() if pool.profile.key in retry]
        for pool in again:
            pool.backoff.reset()
        return [fault for pool in (*before.values(), *again) for fault in pool.faults]

    async def forget_others(self) -> None:
        """Forget what was wrong with the relays of profiles that there are no more. Raises DatabaseError."""
        await relays.forget_others(self._database, list(self._pools))

    def _start(self, profile: OutgoingProfile, *, replaces: bool) -> RelayPool:
        pool = RelayPool(profile, self._database, replaces=replaces)
        self._running[pool] = task = asyncio.create_task(pool.run(), name=f"relay {profile.name}")
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

    @property
    def room(self) -> int:
        """How many emails may be claimed at once: as many as there are slots, and as many again that wait for one.

        What still ends at a relay that is retired takes nobody's place.
        """
        slots = sum(pool.connections for pool in self._running)
        return slots + sum(pool.connections for pool in self._pools.values())

    @asynccontextmanager
    async def slot(self, mailbox: str) -> AsyncIterator[RelayPool]:
        """Wait for a slot of the relay that carries what this mailbox sends. Raises NoRelay."""
        while True:
            pool = self._choose(mailbox)
            async with pool.slots:
                if pool is self._choose(mailbox):
                    with metrics.relay_in_use(pool.profile.name):
                        yield pool
                    return

    def _choose(self, mailbox: str) -> RelayPool:
        profile = self._profiles.outgoing_for(mailbox)
        if profile is None:
            broken = [one.title for one in self._profiles.routes_of(mailbox).broken if one.direction == "outgoing"]
            but = f" but {broken[0]}, which is broken" if broken else ""
            raise NoRelay(f"{NO_PROFILE} {mailbox} among its senders{but}")
        return self._pools[profile.name]
