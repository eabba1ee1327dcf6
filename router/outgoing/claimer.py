"""One relay's loop: claim what its free connections can start now, and begin with it.

Each relay has a loop of its own, so a relay that hangs, or an email that cannot be claimed, stops nobody else's. The
loop is woken by NOTIFY, by a connection that gets free, and by a poll beneath both.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID, uuid4

import structlog

from router.backoff import Backoff
from router.errors import DatabaseError
from router.health import Health
from router.model.token import new_token
from router.outgoing.attempt import Attempts
from router.outgoing.outcome import most_resent
from router.outgoing.relays import RelayPool
from router.repository import processes
from router.repository.database import Database
from router.repository.faults import may_be_of_one
from router.repository.outgoing import claim
from router.repository.outgoing.claim import Ask, Claim, Offer, Turn

_log = structlog.get_logger(__name__)

PART: Final = "sending"
"""What this part of the process is called where its fault is told."""

_POLL: Final = 2.0  # seconds between looks for what is ready
_AT_ONCE: Final = 256  # emails of one claim
_LOOKS: Final = 20  # in a row at owners of whom nothing could be claimed, until the next poll
_PUT_OFF: Final = timedelta(minutes=1)
"""How long an email waits that cannot be claimed."""
_LAST_REFUSAL: Final = 60.0
"""Seconds without an email that the database refuses to have sent, until that counts as over."""
_AWAY: Final = 3
"""How often in a row a claim fails as if the database were away, until one of the emails may be the cause."""
_GATHER: Final = 0.004
"""Seconds that a free connection waits for others, where more is ready: a claim of one costs nearly that of eight."""
_UNHEARD: Final = 600.0
"""Seconds, beside a lease, within which what was claimed without hearing of it is found."""
_BURST: Final = 0.1  # seconds whose messages a rate lets go at once: the loop is not more exact


class Claimer:
    """Claims for the relays of one process."""

    def __init__(
        self, database: Database, attempts: Attempts, process_id: UUID, lease: timedelta, is_heard: Callable[[], bool]
    ) -> None:
        """`is_heard` tells whether others know that this process lives: what a dead one claims they take over."""
        note = partial(processes.note_fault, database, process_id, PART)
        self.health = Health("nothing can be claimed now, and it is tried again", note, _log.bind(part=PART))
        self._refused_until = 0.0
        self.database = database
        self.attempts = attempts
        self.process_id = process_id
        self.lease = lease
        self.is_heard = is_heard
        self.offered: set[UUID] = set()
        """The attempts that may be claimed already, by a commit that was not heard of yet."""
        self._unheard: dict[UUID, float] = {}
        self._heard = asyncio.Event()

    async def serve(self, pool: RelayPool) -> None:
        """Claim for a relay, and send, until it is retired or the process stops; what has begun is waited for."""
        await _Loop(self, pool).run()
        while pool.under_way:
            await asyncio.wait(pool.under_way.values())

    async def claim(self, ask: Ask) -> Turn:
        """Claim; meanwhile nobody takes it for lost."""
        offered = {offer.attempt_id for offer in ask.offers}
        self.offered |= offered
        turn = await claim.claim(self.database, self.process_id, ask)
        # After an error or a cancellation it is not known what is claimed: if anything is, it is lost.
        self.offered -= offered
        self._heard.set()
        return turn

    async def wait(self) -> None:
        """Wait until what is just being claimed is under way."""
        while self.offered:
            self._heard.clear()
            await self._heard.wait()

    async def works(self) -> None:
        """Note that something could be claimed; a refusal of the last minute still counts as a fault."""
        if asyncio.get_running_loop().time() > self._refused_until:
            await self.health.works()

    async def refuses(self, words: str) -> None:
        """Note that one email could not be claimed."""
        self._refused_until = asyncio.get_running_loop().time() + _LAST_REFUSAL
        await self.health.fails(f"the database refuses that some email is sent: {words}")

    def forget(self, ask: Ask) -> None:
        """Let what was claimed by an `ask` that failed be found as lost."""
        self.offered -= {offer.attempt_id for offer in ask.offers}
        self._heard.set()

    def unhear(self, ask: Ask) -> None:
        """Forget an `ask` whose answer did not come: if anything was claimed, nothing was begun with it."""
        self._unheard.update((offer.attempt_id, time.monotonic()) for offer in ask.offers)
        self.forget(ask)

    def unheard(self) -> Sequence[UUID]:
        """Tell the attempts of claims that the database failed: no relay has heard of them. Old ones are forgotten."""
        last = time.monotonic() - _UNHEARD - self.lease.total_seconds()
        self._unheard = {attempt_id: at for attempt_id, at in self._unheard.items() if at > last}
        return list(self._unheard)


class _Loop:
    """The loop of one relay. After an email that cannot be claimed, fewer are claimed at once, until it is alone."""

    def __init__(self, claimer: Claimer, pool: RelayPool) -> None:
        self._claimer = claimer
        self._pool = pool
        self._after = (claim.NOBODY, claim.NOBODY)
        self._at_most = _AT_ONCE
        self._looks = 0  # in a row, at owners of whom nothing could be claimed
        self._backoff = Backoff()
        self._held_rate = ""
        self._took_all = False
        self._failures = 0  # in a row

    @property
    def _ended(self) -> bool:
        return self._pool.retired or self._claimer.attempts.stopping

    async def run(self) -> None:
        while not self._ended:
            self._pool.wake.clear()
            pause = await self._round()
            if pause is not None and not self._ended:
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._pool.wake.wait()

    async def _round(self) -> float | None:
        """Claim once. Returns the seconds to wait, unless woken; None: there may be more."""
        if not self._claimer.is_heard():
            return processes.beat_of(self._claimer.lease)
        if not self._pool.free:
            return _POLL
        await self._gather()
        if self._ended:
            return None
        ask, fault = self._ask(), self._pool.health.fault
        try:
            await self._hold_rate()
            asked_at = time.monotonic()
            turn = await self._claimer.claim(ask)
            self._send(turn.claims, asked_at)  # before anything is waited for: who stops looks for what is under way
            self._took_all = len(turn.claims) == len(ask.offers)
        except DatabaseError as error:
            self._claimer.unhear(ask)
            return await self._refused(ask, error)
        except Exception:  # noqa: BLE001  # mail must not wait for ever, and in silence, for a mistake of ours
            self._claimer.forget(ask)
            _log.exception("nothing can be claimed, by a mistake of ours", profile=self._pool.profile.name)
            return self._backoff.next()
        self._backoff.reset()
        self._failures = 0
        await self._claimer.works()
        return await self._begin(turn, fault)

    async def _gather(self) -> None:
        """After a claim that took all it might, wait a moment until half of the connections are free."""
        if self._took_all:
            with suppress(TimeoutError):
                async with asyncio.timeout(_GATHER):
                    while self._pool.free * 2 < self._pool.connections and not self._ended:
                        self._pool.wake.clear()
                        await self._pool.wake.wait()

    def _ask(self) -> Ask:
        pool, profile = self._pool, self._pool.profile
        count = min(pool.free, self._at_most)
        interval = profile.rate.interval if profile.rate else 0.0
        return Ask(
            profile=profile.name,
            offers=[Offer(uuid4(), new_token()) for _ in range(count)],
            bulk=pool.free_for_bulk,
            after=self._after,
            start=pool.warm,
            resend_below=most_resent(profile.max_attempts) if profile.on_unknown == "resend" else 0,
            relay=profile.settings.where,
            interval=interval,
            burst=max(interval, _BURST),
        )

    async def _hold_rate(self) -> None:
        name = self._pool.profile.name
        if self._pool.profile.rate and self._held_rate != name:
            await claim.hold_rate(self._claimer.database, name)
            self._held_rate = name

    async def _begin(self, turn: Turn, fault: str | None) -> float | None:
        """Go by what a claim came to; `fault` is what was known of the relay before, not what an email of it met."""
        self._after = turn.after
        if turn.claims:
            self._looks = 0
            self._at_most = min(_AT_ONCE, self._at_most * 2)
        if turn.fault is not None:
            await self._pool.wait_out(turn.fault)
            # Having worked, it may be claimed for at once.
            return None if self._pool.proven else min(_POLL, max(turn.fault.seconds, 0.05))
        if fault is not None:  # another process has found that it works again
            await self._pool.health.works()
        if turn.seconds is not None:
            return min(_POLL, turn.seconds)
        if turn.claims:
            return None
        self._looks += 1
        # Owners whose approval was just taken back, or whose email is locked, are passed over; there may be others.
        return None if turn.again and self._looks < _LOOKS else _POLL

    def _send(self, claims: Sequence[Claim], asked_at: float) -> None:
        pool = self._pool
        for one in claims:
            sending = self._claimer.attempts.send(pool, one, asked_at)
            pool.under_way[one.attempt_id] = task = asyncio.create_task(sending, name=f"send {one.email_id}")
            if one.lane == "bulk":
                pool.bulk_under_way.add(one.attempt_id)
            task.add_done_callback(partial(self._sent, one.attempt_id))

    def _sent(self, attempt_id: UUID, task: asyncio.Task[None]) -> None:
        del self._pool.under_way[attempt_id]
        self._pool.bulk_under_way.discard(attempt_id)
        self._pool.wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("an email could not be handled, by a mistake of ours", exc_info=error)

    async def _refused(self, ask: Ask, error: DatabaseError) -> float | None:
        """Go on with fewer at once, if it may be one email's fault; one that is alone is put off."""
        profile = ask.profile
        self._failures += 1
        if not may_be_of_one(error) and self._failures < _AWAY:
            return await self._nothing(error)
        if len(ask.offers) > 1:
            self._at_most = len(ask.offers) // 2
            return None
        try:
            database, process_id = self._claimer.database, self._claimer.process_id
            put = await claim.put_off(database, process_id, ask, _PUT_OFF)
        except DatabaseError as second:
            return await self._nothing(second)
        if put is None:
            return await self._nothing(error)
        _log.warning("an email cannot be claimed, and is put off", profile=profile, email=str(put), reason=str(error))
        await self._claimer.refuses(str(error))
        return None

    async def _nothing(self, error: DatabaseError) -> float:
        """Tell that nothing can be claimed. Returns the seconds to wait."""
        pause = self._backoff.next()
        await self._claimer.health.fails(f"nothing can be claimed for {self._pool.profile.name}: {error}", pause)
        return pause
