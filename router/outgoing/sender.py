"""The way out: claim → compose → relay → outcome.

A loop claims what is due, a little more than the relays' connections can carry; each claimed email is a task that
composes it, waits for a turn at its relay, commits that the attempt starts, hands it over, and records the outcome.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Literal
from uuid import UUID

import structlog

from router.backoff import Backoff
from router.errors import ContentRefused, DatabaseError, LeaseLost
from router.group import Group
from router.health import Health
from router.model import Outgoing, Result
from router.outgoing.compose import compose, smtp_address
from router.outgoing.outcome import judge
from router.profile import OutgoingProfile, Profiles
from router.repository import outbox, recovery, relays
from router.repository.attachments import read_attachments
from router.repository.database import Database
from router.repository.outbox import Start
from transports.base import Envelope, Outcome, Relay, Temporary, TransportError

_log = structlog.get_logger(__name__)

_POLL = 2.0  # seconds between looks for what is due; what is queued now is told by NOTIFY
_NOBODY_CARRIES_IT = timedelta(minutes=1)


@dataclass(slots=True)
class _Line:
    """A relay in use: `turns` are its connections; it backs off as a whole while it cannot be reached."""

    profile: OutgoingProfile
    relay: Relay
    turns: asyncio.Semaphore
    health: Health
    backoff: Backoff = field(default_factory=Backoff)


class Sender:
    """Sends for this process, through every outgoing profile."""

    def __init__(self, database: Database, profiles: Profiles, process_id: UUID, lease: timedelta) -> None:
        self._database = database
        self._profiles = profiles
        self._process_id = process_id
        self._lease = lease
        self._lines: dict[str, _Line] = {}
        self._under_way: dict[UUID, asyncio.Task[None]] = {}
        self._writing: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._stopping = False
        self._starts: Group[Start, bool] = Group(self._start)
        self._results: Group[Result, None] = Group(self._record)
        self._dice = Random()  # noqa: S311  # spreads load, guards no secret

    async def run(self, stop: asyncio.Event, grace: float) -> None:
        """Send until told to stop; then what is under way has `grace` seconds to end, and the rest is given back."""
        async with AsyncExitStack() as stack:
            for profile in self._profiles.outgoing:
                relay = await stack.enter_async_context(profile.open())
                turns = asyncio.Semaphore(profile.settings.connections)
                note = partial(relays.note_fault, self._database, profile.name)
                health = Health("a relay cannot be used now", note, _log.bind(profile=profile.name))
                self._lines[profile.name] = _Line(profile, relay, turns, health)
            await self._forget_relays()
            helpers = [
                asyncio.create_task(self._listen(), name="listen for pending email"),
                asyncio.create_task(self._recover(), name="take over from the dead"),
            ]
            claiming = asyncio.create_task(self._claim(), name="claim pending email")
            told = asyncio.create_task(stop.wait())
            try:
                # None of them ends before it is told to; if one does, the process ends with it.
                await asyncio.wait([told, claiming, *helpers], return_when=asyncio.FIRST_COMPLETED)
            finally:
                told.cancel()
                self._stopping = True
                self._wake.set()
                for task in helpers:
                    task.cancel()
                # Not canceled at once: what a claim has just committed must be known, to be given back.
                await asyncio.wait([claiming], timeout=1)
                claiming.cancel()
                results = await asyncio.gather(claiming, *helpers, return_exceptions=True)
                await self._end(grace)
            for result in results:
                if isinstance(result, Exception):
                    raise result

    async def _claim(self) -> None:
        room = 2 * sum(line.profile.settings.connections for line in self._lines.values())
        backoff = Backoff()
        while not self._stopping:
            self._wake.clear()
            try:
                free = room - len(self._under_way)
                claimed = await outbox.claim(self._database, self._process_id, free) if free > 0 else []
                backoff.reset()
            except DatabaseError as error:
                _log.warning("nothing can be claimed now", reason=str(error))
                await self._woken(backoff.next())
                continue
            except Exception:  # noqa: BLE001  # mail must not wait for ever, and in silence, for a mistake of ours
                _log.exception("nothing can be claimed, by a mistake of ours")
                await self._woken(backoff.next())
                continue
            for email in claimed:
                task = asyncio.create_task(self._send(email), name=f"send {email.id}")
                self._under_way[email.attempt_id] = task
                task.add_done_callback(partial(self._ended, email.attempt_id))
            if not claimed and not self._stopping:
                await self._woken(_POLL)

    async def _woken(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    def _ended(self, attempt_id: UUID, task: asyncio.Task[None]) -> None:
        del self._under_way[attempt_id]
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("an email could not be handled, by a mistake of ours", exc_info=error)

    async def _forget_relays(self) -> None:
        try:
            await relays.forget_others(self._database, list(self._lines))
        except DatabaseError as error:
            _log.debug("relays of before could not be forgotten", reason=str(error))

    async def _listen(self) -> None:
        while True:
            try:
                await self._database.listen(outbox.OUTBOX_CHANNEL, self._wake)
            except DatabaseError as error:
                _log.debug("not listening for pending email", reason=str(error))
            await asyncio.sleep(1)

    async def _recover(self) -> None:
        while True:
            try:
                under_way = list(self._under_way)
                if taken := await recovery.recover(self._database, self._process_id, under_way, self._lease):
                    _log.warning("took over what nobody was sending any more", emails=taken)
                    self._wake.set()
            except DatabaseError as error:
                _log.debug("nothing can be taken over now", reason=str(error))
            await asyncio.sleep(self._lease.total_seconds() / 5)

    async def _end(self, grace: float) -> None:
        """Let those end that have started; those that wait for a turn are given back when it comes."""
        if not self._under_way:
            return
        _, late = await asyncio.wait(self._under_way.values(), timeout=grace)
        for task in late:
            task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                while rest := [*late, *self._writing]:
                    await asyncio.wait(rest)
                    late = set()

    # --- One email ---------------------------------------------------------------------------------------------------

    async def _send(self, email: Outgoing) -> None:
        """Send one claimed email, and record what it came to; whatever happens, the claim ends here or is recovered."""
        profile = self._profiles.outgoing_for(email.mailbox)
        if profile is None:
            words = f"no outgoing profile has {email.mailbox} among its senders"
            await self._give_back(email, words, _NOBODY_CARRIES_IT)
            return
        line = self._lines[profile.name]
        attempt = _Attempt(email)
        try:
            async with line.turns:
                outcomes = await self._attempt(attempt, line)
                attempt.ended = True
                if outcomes is not None:
                    # Before another gets the turn: a crash must not leave more unknown than there are connections.
                    await self._surely(self._finish(email, profile, outcomes))
        except asyncio.CancelledError:
            # The process ends. What the relay has heard of is unknown; it is said now, not found out later.
            if attempt.started and not attempt.ended:
                await self._surely(self._finish(email, profile, _all(email, "unknown", "stopped before the answer")))
            elif not attempt.ended:
                await self._surely(self._give_back(email))
            raise

    async def _attempt(self, attempt: "_Attempt", line: _Line) -> Sequence[Outcome] | None:
        """Try once; None if the email was given back, or is another's now."""
        email = attempt.email
        if self._stopping:
            await self._give_back(email)
            return None
        try:
            outcomes = await self._hand_over(attempt, line)
        except LeaseLost as error:
            _log.warning("an email was taken over by another process", email=str(email.id), reason=str(error))
            return None
        except (TransportError, DatabaseError) as error:
            if attempt.started:
                return _all(email, "deferred", str(error))
            pause = line.backoff.next(error.retry_after if isinstance(error, Temporary) else None)
            if isinstance(error, TransportError):
                await line.health.fails(str(error), pause)
            else:
                _log.warning("an email cannot be sent now", email=str(email.id), reason=str(error))
            await self._give_back(email, str(error), timedelta(seconds=pause))
            return None
        except Exception as error:  # noqa: BLE001  # a mistake of ours must not leave it without an outcome
            _log.error("an email could not be handled, by a mistake of ours", email=str(email.id), exc_info=error)
            words = f"a mistake of the router's own: {type(error).__name__}"
            return _all(email, "unknown" if attempt.started else "refused", words)
        line.backoff.reset()
        await line.health.works()
        return outcomes

    async def _hand_over(self, attempt: "_Attempt", line: _Line) -> Sequence[Outcome]:
        email = attempt.email
        if not email.recipients:
            return ()
        try:
            content = await self._compose(email)
        except ContentRefused as error:
            return _all(email, "refused", str(error))
        addresses = {smtp_address(recipient): recipient for recipient in email.recipients}

        async def begin() -> None:
            start = Start(email.attempt_id, line.profile.name, line.profile.on_unknown == "resend")
            if not await self._starts.add(start):
                raise LeaseLost("the claim is not ours any more")
            attempt.started = True

        outcomes = await line.relay.send(Envelope(smtp_address(email.mailbox), tuple(addresses), content), begin)
        return [replace(outcome, recipient=addresses[outcome.recipient]) for outcome in outcomes]

    async def _compose(self, email: Outgoing) -> bytes:
        """Compose, with its attachments; ContentRefused where it cannot be: that must not block the others."""
        if email.attached:
            email = replace(email, attachments=await read_attachments(self._database, email.id))
        try:
            return await asyncio.to_thread(compose, email)
        except Exception as error:
            raise ContentRefused(f"it cannot be composed: {type(error).__name__}: {error}") from error

    async def _finish(self, email: Outgoing, profile: OutgoingProfile, outcomes: Sequence[Outcome]) -> None:
        result = judge(email, outcomes, profile.max_attempts, datetime.now(UTC), self._dice)
        try:
            await self._persist(lambda: self._results.add(result))
        except ContentRefused:  # perhaps of another's in the group
            await self._persist(lambda: outbox.record(self._database, [result]))
        _log.info("sent" if result.status == "sent" else "not sent", status=result.status, email=str(result.email_id))

    async def _give_back(self, email: Outgoing, reason: str | None = None, delay: timedelta = timedelta(0)) -> None:
        await self._persist(lambda: outbox.give_back(self._database, [email.attempt_id], reason, delay))

    async def _persist(self, write: Callable[[], Awaitable[object]]) -> None:
        """Write what is known, again and again while the database is away: a known outcome is never lost."""
        backoff = Backoff(longest=5)
        while True:
            try:
                await write()
            except ContentRefused:
                raise
            except DatabaseError as error:
                _log.warning("an outcome cannot be recorded now", reason=str(error))
                await asyncio.sleep(backoff.next())
            else:
                return

    async def _surely(self, work: Coroutine[None, None, None]) -> None:
        """Do it to its end even if whoever waits for it is canceled; `_end` waits for it then."""
        task = asyncio.create_task(work)
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        await asyncio.shield(task)

    async def _start(self, starts: Sequence[Start]) -> list[bool]:
        return await outbox.start(self._database, self._process_id, starts)

    async def _record(self, results: Sequence[Result]) -> list[None]:
        await outbox.record(self._database, results)
        return [None] * len(results)


@dataclass(slots=True)
class _Attempt:
    email: Outgoing
    started: bool = False
    ended: bool = False


def _all(email: Outgoing, state: Literal["deferred", "refused", "unknown"], words: str) -> list[Outcome]:
    return [Outcome(recipient, state, "", words) for recipient in email.recipients]
