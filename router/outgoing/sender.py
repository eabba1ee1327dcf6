"""The way out: claim → read → compose → relay → outcome.

Each relay has a loop that claims what its free connections can start now (claimer.py); each claimed email is a task
(attempt.py). Beside them: routes, what becomes due, what the dead have left, and outcomes that could not be recorded.
"""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog

from router.backoff import Backoff
from router.errors import DatabaseAway, DatabaseError
from router.outgoing.attempt import Attempts
from router.outgoing.claimer import Claimer
from router.outgoing.relays import Relays
from router.outgoing.routes import Routes
from router.outgoing.unrecorded import Unrecorded
from router.profile import Key, Profiles
from router.repository import processes
from router.repository.database import Database
from router.repository.outgoing import claim, recovery, relays, routes

_log = structlog.get_logger(__name__)

_DUE: Final = 0.5  # seconds between looks for what has become due


class Sender:
    """Sends for this process, through every outgoing profile; runs once."""

    def __init__(
        self,
        database: Database,
        profiles: Profiles,
        process_id: UUID,
        lease: timedelta,
        is_heard: Callable[[], bool],
    ) -> None:
        """`is_heard` tells whether others know that this process lives: what a dead one claims they take over."""
        self._database = database
        self._process_id = process_id
        self._lease = lease
        self._profiles = profiles
        self._running = False
        self._attempts = Attempts(database, process_id)
        self._claimer = Claimer(database, self._attempts, process_id, lease, is_heard)
        self._relays = Relays(database, process_id, lease, self._claimer.serve)
        self._routes = Routes(database, process_id, lease)
        self._to_try: set[str] = set()  # profiles whose relays are to be tried at once
        self._changed = asyncio.Event()

    async def run(self, stop: asyncio.Event, grace: float) -> None:
        """Send until told to stop; then what is under way has `grace` seconds to end, and the rest is given back."""
        self._running = True
        self._use(self._profiles)
        helpers = [
            asyncio.create_task(self._listen(), name="listen for pending email"),
            asyncio.create_task(self._routes.run(), name="find who carries what"),
            asyncio.create_task(self._make_ready(), name="make ready what has become due"),
            asyncio.create_task(self._recover(), name="take over from the dead"),
            asyncio.create_task(Unrecorded(self._database, self._process_id).run(), name="record what is kept"),
            asyncio.create_task(self._try_relays(), name="try relays at once"),
        ]
        stopped = asyncio.create_task(stop.wait())
        ended: list[asyncio.Task[None]] = []
        try:
            # None of them ends before it is told to; if one does, by a bug, the sender ends with it.
            await asyncio.wait([stopped, *helpers], return_when=asyncio.FIRST_COMPLETED)
            ended = [task for task in helpers if task.done()]
        finally:
            stopped.cancel()
            self._running = False
            self._attempts.stopping = True
            self._relays.wake_all()
            for task in helpers:
                task.cancel()
            results = await asyncio.gather(*helpers, return_exceptions=True)
            await self._end(grace)
            await self._relays.close()
        for result in results:
            if isinstance(result, Exception):
                raise result
        for task in ended:
            task.result()  # the CancelledError of one that was not told to end, too

    def update(self, profiles: Profiles, retry: Collection[Key] = ()) -> None:
        """Send through these profiles from now on, and go on claiming meanwhile; `retry` those that were at fault.

        A relay whose settings stay the same keeps its connections. What is under way at one that has gone or changed
        has its outcome there. A relay that was at fault, and has changed, is tried as soon as the database hears of it.
        """
        self._profiles = profiles
        if self._running:
            self._use(profiles, retry)

    def _use(self, profiles: Profiles, retry: Collection[Key] = ()) -> None:
        self._to_try.update(self._relays.use(profiles, retry))
        self._routes.use(profiles)
        self._changed.set()

    def _told(self, profile: str) -> None:
        """Wake whoever claims for this profile; without one, something was queued that nobody carries."""
        self._relays.wake(profile)
        if not profile:
            self._routes.stray.set()

    async def _listen(self) -> None:
        while True:
            try:
                heard = {
                    claim.OUTBOX_CHANNEL: self._told,
                    routes.OWNERS_CHANNEL: lambda _: self._routes.changed.set(),
                }
                await self._database.hear(heard)
            except DatabaseError as error:
                _log.debug("not listening for pending email", reason=str(error))
            await asyncio.sleep(1)

    async def _make_ready(self) -> None:
        backoff = Backoff()
        while True:
            more = False
            try:
                more = await claim.make_ready(self._database)
                backoff.reset()
            except DatabaseError as error:
                _log.debug("nothing can be made ready now", reason=str(error))
                await asyncio.sleep(backoff.next())
            if not more:
                await asyncio.sleep(_DUE)

    async def _recover(self) -> None:
        told = ""
        while True:
            try:
                taken = await recovery.recover(self._database, self._process_id, self._lease)
                known = [*self._relays.under_way, *self._claimer.offered]
                taken += await recovery.recover_lost_claims(
                    self._database, self._process_id, known, self._lease, self._claimer.unheard()
                )
                if taken:
                    _log.warning("took over what nobody was sending any more", emails=taken)
                    self._relays.wake("")
            except DatabaseError as error:
                if not isinstance(error, DatabaseAway) and str(error) != told:
                    told = str(error)
                    _log.warning("what nobody is sending any more cannot be taken over", reason=told)
                else:
                    _log.debug("nothing can be taken over now", reason=str(error))
            await asyncio.sleep(processes.beat_of(self._lease))

    async def _try_relays(self) -> None:
        """Let relays be tried at once whose profiles have changed, and forget those that have gone."""
        backoff = Backoff()
        while True:
            self._changed.clear()
            to_try, self._to_try = self._to_try, set()
            try:
                await relays.forget_others(self._database, self._process_id, self._lease, self._relays.names)
                await relays.try_now(self._database, to_try)
            except DatabaseError as error:
                self._to_try |= to_try
                _log.debug("relays that have changed wait on", reason=str(error))
                await asyncio.sleep(backoff.next())
            else:
                backoff.reset()
                self._relays.wake("")
                await self._changed.wait()

    async def _end(self, grace: float) -> None:
        """Let those end that have started; those that have not are given back."""
        until = asyncio.get_running_loop().time() + grace
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._claimer.wait()  # that is given back, too
        under_way = list(self._relays.under_way.values())
        if not under_way:
            return
        _, late = await asyncio.wait(under_way, timeout=max(0, until - asyncio.get_running_loop().time()))
        for task in late:
            task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                if late:
                    await asyncio.wait(late)
                await self._attempts.wait_for_writes()
