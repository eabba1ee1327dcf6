"""One claimed email, from its claim to its recorded outcome: compose → start → hand over → record."""

import asyncio
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from math import inf
from random import Random
from typing import Final, Literal
from uuid import UUID

import structlog

from router import metrics
from router.backoff import Backoff
from router.errors import ContentRefused, DatabaseError, LeaseLost, TookTooLong
from router.group import Group
from router.model import Outgoing, Result
from router.model.failure import NOT_COMPOSED, classes_of
from router.model.mail_address import smtp_address
from router.outgoing.content import refuse_size, write_content
from router.outgoing.outcome import for_the_log, judge, lost_words, may_resend
from router.outgoing.recipients import Recipients
from router.outgoing.relays import RelayPool
from router.profile import OutgoingProfile
from router.repository.database import Database
from router.repository.faults import may_be_of_one
from router.repository.halves import by_halves
from router.repository.outgoing import outbox, outgoing, unrecorded
from router.repository.outgoing.claim import Claim
from router.repository.outgoing.outbox import Start
from transports.base import Envelope, Interrupted, Outcome
from transports.errors import Temporary, TransportError

_log = structlog.get_logger(__name__)

_TRIES: Final = 4
"""How often something is written before the email is set aside, and its connection is another's."""

_GATHER: Final = 0.001
"""Seconds that an outcome waits for others under way at its relay: to record one costs nearly as much as eight."""

_QUICKLY: Final = 2.0
"""Seconds for recording what waits together: others wait behind it. What takes longer alone, too, is set aside."""

_SUSPECTS: Final = 2
"""Outcomes that are recorded alone at a time, after that took too long together: each holds a connection."""

_AT_ONCE: Final = 1.0
"""Seconds for which a start counts, from asking for it: then it is committed anew, since the process may have hung."""


@dataclass(slots=True)
class _Progress:
    """How far one attempt has come: its relay has heard of it, by the profile `started`, and has answered (`ended`).

    `known` are the outcomes of some recipients where it was stopped before it had those of all. `asked_at` is when its
    claim or its start was last asked for, by the monotonic clock.
    """

    claim: Claim
    asked_at: float
    started: OutgoingProfile | None = None
    known: Sequence[Outcome] = ()
    ended: bool = False


class Attempts:
    """The attempts of one process. What several of them write at the same time is committed together.

    Outcomes are, relay by relay: a trigger of the CRM's that takes long delays no other relay.

    While it is `stopping`, an email that has not started is given back.
    """

    def __init__(self, database: Database, process_id: UUID) -> None:
        self.stopping = False
        self._database = database
        self._process_id = process_id
        self._writing: set[asyncio.Task[None]] = set()
        self._starts: Group[Start, bool] = Group(self._start)
        self._under_way: Counter[str] = Counter()  # by the profile's name
        self._results: dict[str, Group[Result, DatabaseError | None]] = {}
        self._suspects = asyncio.Semaphore(_SUSPECTS)
        self._dice = Random()  # noqa: S311  # spreads load, guards no secret

    async def send(self, pool: RelayPool, claim: Claim, asked_at: float) -> None:
        """Send one claimed email, and record what it came to; whatever happens, the claim ends here or is recovered.

        `asked_at`: when the claim was asked for, by `time.monotonic`.
        """
        progress = _Progress(claim, asked_at)
        name = pool.profile.name
        self._under_way[name] += 1
        try:
            with metrics.relay_in_use(name):
                await self._send(progress, pool)
        except asyncio.CancelledError:
            # The process ends. What the relay has heard of and not answered is unknown; it is said now, not found out
            # later.
            if progress.started and isinstance(claim.email, Outgoing) and not progress.ended:
                known = {outcome.recipient for outcome in progress.known}
                lost = _all(claim.email, "unknown", "stopped before the answer")
                outcomes = [*progress.known, *(one for one in lost if one.recipient not in known)]
                await self._shielded(self._finish(claim.email, progress.started, outcomes))
            elif not progress.ended:
                await self._shielded(self._give_back(claim))
            raise
        finally:
            self._under_way[name] -= 1
            if not self._under_way[name]:
                del self._under_way[name]
                self._results.pop(name, None)

    async def wait_for_writes(self) -> None:
        """Wait until everything is written that outlives the cancellation of its attempt."""
        while self._writing:
            await asyncio.wait(self._writing)

    async def _send(self, progress: _Progress, pool: RelayPool) -> None:
        claim, email = progress.claim, progress.claim.email
        if isinstance(email, ContentRefused):
            progress.ended = True
            await self._shielded(self._set_failed(claim, pool.profile, f"it cannot be read: {email}"))
        else:
            outcomes = await self._try(progress, email, pool)
            progress.ended = True
            if outcomes is not None:
                # Before another begins: a crash must not leave more unknown than there are connections.
                await self._shielded(self._finish(email, pool.profile, outcomes))

    async def _try(self, progress: _Progress, email: Outgoing, pool: RelayPool) -> Sequence[Outcome] | None:
        """Try once; None if the email was given back, or is another's now."""
        try:
            outcomes = await self._hand_over(progress, email, pool)
        except (LeaseLost, TransportError, DatabaseError) as error:
            if progress.started:
                if isinstance(error, TransportError):
                    await pool.fails(error)
                return _all(email, "deferred", str(error), "4.4.2")
            await self._not_started(progress.claim, pool, error)
            return None
        except Exception as error:  # noqa: BLE001  # a mistake of ours must not leave it without an outcome
            _log.error("an email could not be handled, by a mistake of ours", email=str(email.id), exc_info=error)
            words = f"a mistake of the router's own: {type(error).__name__}"
            return _all(email, "unknown" if progress.started else "refused", words)
        if progress.started and (lost := lost_words(outcomes)):
            await pool.fails(Temporary(lost))
        elif progress.started:
            pool.works()
        return outcomes

    async def _not_started(
        self, claim: Claim, pool: RelayPool, error: LeaseLost | TransportError | DatabaseError
    ) -> None:
        """Give back what its relay has not heard of, unless another process has it."""
        if isinstance(error, TransportError):
            await pool.fails(error)
            await self._give_back(claim, str(error))  # it waits for its relay, and for nothing else
        elif isinstance(error, LeaseLost):
            # Another process has taken it over; or has locked it, only to find that it is claimed.
            _log.debug("an email was not begun", email=str(claim.email_id), reason=str(error))
            await self._give_back(claim)
        else:
            _log.warning("an email cannot be sent now", email=str(claim.email_id), reason=str(error))
            await self._give_back(claim, str(error), timedelta(seconds=10))

    async def _hand_over(self, progress: _Progress, email: Outgoing, pool: RelayPool) -> Sequence[Outcome]:
        if self.stopping:
            raise LeaseLost("the process stops")
        if not email.recipients:
            return ()
        if not progress.claim.known:
            await outgoing.make_known(self._database, email)
        try:
            sender = smtp_address(pool.profile.sender_of(email.mailbox, email.attempt_id))
            content = await write_content(self._database, email)
            refuse_size(content, pool.profile.max_size)
        except ContentRefused as error:
            return _all(email, "refused", str(error))
        recipients = Recipients.of(email.recipients, email.bounced)
        if not recipients.written:
            return recipients.refused

        async def begin() -> None:
            profile = pool.profile
            if not progress.claim.started:
                progress.asked_at = -inf
            await self._hold(progress, email, profile)
            progress.started = profile
            pool.opened()

        async def before_end() -> None:
            await self._hold(progress, email, progress.started or pool.profile)

        envelope = Envelope(sender, tuple(recipients.written), content, str(email.id), before_end, email.mailbox)
        try:
            return recipients.outcomes(await pool.send(envelope, begin))
        except Interrupted as interrupted:
            progress.known = recipients.outcomes(interrupted.outcomes)
            raise

    async def _hold(self, progress: _Progress, email: Outgoing, profile: OutgoingProfile) -> None:
        """Commit the start, unless that was just done: a process that hung may have been taken over meanwhile.

        From one try to the next there is more time, so that a slow database does not keep an email from leaving.
        """
        patience = _AT_ONCE
        while time.monotonic() - progress.asked_at > patience:
            progress.asked_at, patience = time.monotonic(), patience * 2
            resend = profile.on_unknown == "resend" and may_resend(email.attempt_number, profile.max_attempts)
            if not await self._starts.add(Start(email.attempt_id, profile.name, resend, profile.settings.where)):
                raise LeaseLost("the claim is not ours any more")

    async def _finish(self, email: Outgoing, profile: OutgoingProfile, outcomes: Sequence[Outcome]) -> None:
        result = judge(
            email,
            outcomes,
            profile.max_attempts,
            datetime.now(UTC),
            self._dice,
            give_up_after=profile.give_up_after,
            resend=profile.on_unknown == "resend",
        )
        await self._write_down(result, profile.name)
        _tell(result, profile)

    async def _set_failed(self, claim: Claim, profile: OutgoingProfile, reason: str) -> None:
        result = Result(claim.email_id, claim.attempt_id, "failed", reason)
        await self._write_down(result, profile.name)
        _tell(result, profile)

    async def _write_down(self, result: Result, profile: str) -> None:
        """Record what is known, or keep it where crm.email refuses it; again and again while the database is away."""
        if profile not in self._results:
            self._results[profile] = Group(self._record, pause=partial(self._gather, profile))
        error = await self._results[profile].add(result)
        backoff, tries = Backoff(0.25, 5), 1
        while error is not None:
            email = str(result.email_id)
            _log.warning("an outcome cannot be recorded now", email=email, reason=str(error))
            is_slow = isinstance(error, TookTooLong)
            if (tries >= _TRIES or self.stopping or (is_slow and tries > 1)) and await self._set_aside(result, error):
                return
            await asyncio.sleep(backoff.next())
            async with self._suspects if is_slow else nullcontext():
                [error] = await self._record([result])  # alone: what is refused must not cost others a second try
            tries += 1

    def _gather(self, profile: str) -> float:
        """Tell how long to wait for the outcomes of others, in seconds."""
        results = self._results.get(profile)
        return _GATHER if results is not None and self._under_way[profile] > len(results) else 0.0

    async def _set_aside(self, result: Result, error: DatabaseError) -> bool:
        """Keep what is known for the job that tries it later; False if the database takes nothing at all."""
        try:
            await unrecorded.keep(self._database, result, str(error))
        except DatabaseError:
            return False
        return True

    async def _give_back(self, claim: Claim, reason: str | None = None, delay: timedelta = timedelta(0)) -> None:
        """Give the claim back; one that is refused is left, for `recover_lost_claims` to find."""
        backoff, refusals = Backoff(0.25, 5), 0
        while refusals < _TRIES:
            try:
                await outbox.give_back(self._database, [claim.attempt_id], reason, delay)
            except DatabaseError as error:
                _log.warning("a claim cannot be given back now", email=str(claim.email_id), reason=str(error))
                refusals += may_be_of_one(error)
                await asyncio.sleep(backoff.next())
            else:
                return

    async def _shielded(self, work: Coroutine[None, None, None]) -> None:
        """Do it to its end even if the task that waits for it is canceled; then `wait_for_writes` waits for it."""
        task = asyncio.create_task(work)
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        await asyncio.shield(task)

    async def _start(self, starts: Sequence[Start]) -> list[bool]:
        return await outbox.start(self._database, self._process_id, starts)

    async def _record(self, results: Sequence[Result]) -> list[DatabaseError | None]:
        return await by_halves(results, partial(outbox.record, self._database, within=_QUICKLY))


def _tell(result: Result, profile: OutgoingProfile) -> None:
    """Tell log and metrics what became of an email; nothing personal is in it, the rest is in its status_reason."""
    metrics.attempt_ended(profile.name, result)
    log = _log.bind(email=str(result.email_id), profile=profile.name)
    if lost := for_the_log(result.outcomes):
        log = log.bind(recipients=lost)
    why = classes_of(result.outcomes) or ([NOT_COMPOSED] if result.status == "failed" else [])
    if why:
        log = log.bind(why=why)
    match result.status:
        case "sent":
            log.info("sent", status="sent")
        case "pending_send":
            log.info("not sent yet", status="pending_send", next_try=str(result.next_at))
        case "failed" | "unknown":
            log.warning("not sent", status=result.status)


def _all(
    email: Outgoing, state: Literal["deferred", "refused", "unknown"], words: str, code: str = ""
) -> list[Outcome]:
    return [Outcome(recipient, state, code, words) for recipient in email.recipients]
