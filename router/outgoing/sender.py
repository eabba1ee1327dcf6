"""The way out: claim → compose → relay → outcome.

A loop claims what is due, a little more than the relays' connections can carry; each claimed email is a task that waits
for a slot at its relay, composes the email, commits that the attempt starts, hands it over, and records the outcome.
"""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import timedelta
from functools import partial
from uuid import UUID

import structlog

from router.backoff import Backoff
from router.errors import DatabaseAway, DatabaseError
from router.model.token import new_token
from router.outgoing.attempt import Attempts
from router.outgoing.relays import NO_PROFILE, Relays
from router.outgoing.unrecorded import Unrecorded
from router.profile import Key, Profiles
from router.repository import outbox, processes, recovery, relays
from router.repository.database import Database

_log = structlog.get_logger(__name__)

_POLL = 2.0  # seconds between looks for what is due; what is queued now is told by NOTIFY


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
        self._is_heard = is_heard
        self._process_id = process_id
        self._lease = lease
        self._profiles = profiles
        self._running = False
        self._relays = Relays(database)
        self._attempts = Attempts(database, self._relays, process_id)
        self._under_way: dict[UUID, asyncio.Task[None]] = {}
        # `_recover_lost_claims` must not see a claim that is committed and not yet in `_under_way`.
        self._claiming = asyncio.Lock()
        self._wake = asyncio.Event()
        self._over = {NO_PROFILE}  # reasons for which email need not wait any more
        self._changed = asyncio.Event()

    async def run(self, stop: asyncio.Event, grace: float) -> None:
        """Send until told to stop; then what is under way has `grace` seconds to end, and the rest is given back."""
        self._running = True
        self._relays.use(self._profiles)
        helpers = [
            asyncio.create_task(self._listen(), name="listen for pending email"),
            asyncio.create_task(self._recover(), name="take over from the dead"),
            asyncio.create_task(Unrecorded(self._database, self._process_id).run(), name="record what is kept"),
            asyncio.create_task(self._make_due(), name="make due what waits for nothing"),
        ]
        claiming = asyncio.create_task(self._claim(), name="claim pending email")
        stopped = asyncio.create_task(stop.wait())
        ended: list[asyncio.Task[None]] = []
        try:
            # None of them ends before it is told to; if one does, by a bug, the sender ends with it.
            await asyncio.wait([stopped, claiming, *helpers], return_when=asyncio.FIRST_COMPLETED)
            ended = [task for task in (claiming, *helpers) if task.done()]
        finally:
            stopped.cancel()
            self._running = False
            self._attempts.stopping = True
            self._wake.set()
            for task in helpers:
                task.cancel()
            # Not canceled at once: what a claim has just committed must be known, to be given back.
            await asyncio.wait([claiming], timeout=1)
            claiming.cancel()
            results = await asyncio.gather(claiming, *helpers, return_exceptions=True)
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
        has its outcome there; what waits for a slot of it chooses again, and what waited since a relay was at fault, or
        since no profile carried it, is due as soon as the database hears of it.
        """
        self._profiles = profiles
        if not self._running:
            return
        self._over.update([NO_PROFILE, *self._relays.use(profiles, retry)])
        self._changed.set()
        self._wake.set()

    async def _claim(self) -> None:
        backoff = Backoff()
        while not self._attempts.stopping:
            self._wake.clear()
            if not self._is_heard():
                await self._wait_for_work(processes.beat_of(self._lease))
                continue
            try:
                claimed = await self._claim_some()
                backoff.reset()
            except DatabaseError as error:
                _log.warning("nothing can be claimed now", reason=str(error))
                await self._wait_for_work(backoff.next())
                continue
            except Exception:  # noqa: BLE001  # mail must not wait for ever, and in silence, for a mistake of ours
                _log.exception("nothing can be claimed, by a mistake of ours")
                await self._wait_for_work(backoff.next())
                continue
            if not claimed and not self._attempts.stopping:
                await self._wait_for_work(_POLL)

    async def _claim_some(self) -> int:
        """Claim what is due, and begin with it. Returns how many emails that are."""
        async with self._claiming:
            tokens = [new_token() for _ in range(self._relays.room - len(self._under_way))]
            claimed = await outbox.claim(self._database, self._process_id, tokens) if tokens else []
            for email in claimed:
                task = asyncio.create_task(self._attempts.send(email), name=f"send {email.id}")
                self._under_way[email.attempt_id] = task
                task.add_done_callback(partial(self._ended, email.attempt_id))
        return len(claimed)

    async def _wait_for_work(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    def _ended(self, attempt_id: UUID, task: asyncio.Task[None]) -> None:
        del self._under_way[attempt_id]
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("an email could not be handled, by a mistake of ours", exc_info=error)

    async def _listen(self) -> None:
        while True:
            try:
                await self._database.listen(outbox.OUTBOX_CHANNEL, self._wake)
            except DatabaseError as error:
                _log.debug("not listening for pending email", reason=str(error))
            await asyncio.sleep(1)

    async def _recover(self) -> None:
        told = ""
        while True:
            try:
                taken = await recovery.recover(self._database, self._process_id, self._lease)
                taken += await self._recover_lost_claims()
                if taken:
                    _log.warning("took over what nobody was sending any more", emails=taken)
                    self._wake.set()
            except DatabaseError as error:
                if not isinstance(error, DatabaseAway) and str(error) != told:
                    told = str(error)
                    _log.warning("what nobody is sending any more cannot be taken over", reason=told)
                else:
                    _log.debug("nothing can be taken over now", reason=str(error))
            await asyncio.sleep(processes.beat_of(self._lease))

    async def _recover_lost_claims(self) -> int:
        async with self._claiming:
            under_way = list(self._under_way)
            return await recovery.recover_lost_claims(self._database, self._process_id, under_way, self._lease)

    async def _make_due(self) -> None:
        """Make due what waits for a reason that is over, and forget relays that have gone; again, until it is heard."""
        backoff = Backoff()
        began = False
        while True:
            self._changed.clear()
            over, self._over = self._over, set()
            try:
                if not began:  # the process before may have given back for what has been put right since
                    over.update(await relays.faults(self._database))
                    began = True
                await self._relays.forget_others()
                await outbox.try_now(self._database, sorted(over))
            except DatabaseError as error:
                self._over |= over
                _log.debug("what waits for a relay waits on", reason=str(error))
                await asyncio.sleep(backoff.next())
            else:
                backoff.reset()
                self._wake.set()
                await self._changed.wait()

    async def _end(self, grace: float) -> None:
        """Let those end that have started; those that wait for a slot are given back when it comes."""
        if not self._under_way:
            return
        _, late = await asyncio.wait(self._under_way.values(), timeout=grace)
        for task in late:
            task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                if late:
                    await asyncio.wait(late)
                await self._attempts.wait_for_writes()
