"""Promoting the batches of a source, whatever is wrong with one message.

    a fault of a message      halves its batch until the message is alone; then it is a dead letter
    a fault of the system     leaves everything as it was, to be tried again; the third time in a row it halves, too

Whose fault it is when a lone message fails is not believed but tried: by another message of the same kind and shape,
with words of ours in it, which is rolled back (`trial`). If that one fails as well, the system is at fault, and the
message waits: alone, if mail in general gets in. So does one that needs what another transaction has locked, such as
one that the CRM left open: all others are in meanwhile.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Final
from uuid import UUID

import structlog

from router import metrics
from router.decide import decide_batch
from router.errors import (
    DatabaseAway,
    DatabaseError,
    DatabaseMisused,
    LeaseLost,
    MessageWaits,
    OwnerGone,
    whereabouts,
)
from router.incoming import trial
from router.model import Copy, Decision, Disposition, Facts, Rule, Unreadable
from router.repository.database import Database
from router.repository.faults import is_locked
from router.repository.incoming import inbox
from router.repository.incoming.batch import Batch
from router.repository.incoming.trial import Trial, try_out
from transports.base import Place

PATIENCE: Final = 120.0
"""Seconds for which a lone message may meet faults of the system, such as no memory, that a plain one does not meet."""

LONGEST_PATIENCE: Final = 86_400.0
"""Seconds for which a lone message may meet what a plain message meets, too, or what is locked."""

_SHORTLY: Final = 0.2  # seconds for which locks are waited for again, once they kept a batch waiting
_BUDGET: Final = 20.0  # seconds after which one call tries no further part of a batch that fails
_TRIES: Final = 3  # of the same batch, before one of its messages is suspected
_MOST_REMEMBERED: Final = 10_000  # messages; a listener's may never come again
_CONSTANT_WORDS: Final = "it could not be stored, and neither could the reason"

_Known = tuple[int, bytes | Place]


@dataclass(slots=True)
class _Turn:
    """What one call came to so far."""

    suspects: bool
    splits_for_locks: bool
    deadline: float
    decisions: dict[UUID, Decision] = field(default_factory=dict)


class Promoter:
    """Promotes the batches of one source; it remembers which messages failed before."""

    def __init__(
        self, database: Database, patience: float = PATIENCE, longest_patience: float = LONGEST_PATIENCE
    ) -> None:
        self._database = database
        self._patience = patience
        self._longest_patience = longest_patience
        self._tries: dict[_Known, int] = {}  # of batches, by their first message
        self._failing: dict[_Known, float] = {}  # since when lone messages fail

    async def promote(self, batch: Batch) -> list[Decision]:
        """Promote a batch; one decision per copy. A copy that cannot be stored or judged becomes a dead letter.

        Raises what `attempt` returns. Copies that lie in one place are committed together, so that the place is never
        settled before all of them are decided.
        """
        decisions, error = await self.attempt(batch)
        if error is not None:
            raise error
        return [decisions[copy.id] for copy in batch.copies]

    async def attempt(self, batch: Batch) -> tuple[Mapping[UUID, Decision], DatabaseError | None]:
        """Promote a batch as far as it goes; the decisions that were committed, by copy, and why the rest was not.

        That is a DatabaseError for faults of the system, OwnerGone or LeaseLost. MessageWaits: the rest are messages
        that need what is locked, and what could not be tried in time.
        A batch with a `patience` is not taken apart for what is locked (`is_locked`): that is its caller's to do.
        """
        known = [_known(copy) for copy in batch.copies]
        tried = self._tries.get(known[0], 0) if known else 0
        failed_before = self.failed_before(batch.copies)
        splits_for_locks = batch.patience is None
        if failed_before and splits_for_locks and len({copy.outer_place for copy in batch.copies}) > 1:
            batch = replace(batch, patience=_SHORTLY)
        suspects = tried >= _TRIES - 1 or failed_before
        turn = _Turn(suspects, splits_for_locks, asyncio.get_running_loop().time() + _BUDGET)
        try:
            await self._promote(batch, turn)
        except DatabaseError as error:
            if known:
                self._tries[known[0]] = tried + 1
            _forget_beyond(self._tries)
            _forget_beyond(self._failing)
            if isinstance(error, MessageWaits):
                return turn.decisions, MessageWaits(error.reason, len(batch.copies) - len(turn.decisions))
            return turn.decisions, error
        return turn.decisions, None

    def failed_before(self, copies: Sequence[Copy]) -> bool:
        """Whether one of these messages could not be promoted when it was alone."""
        return any(_known(copy) in self._failing for copy in copies)

    async def _promote(self, batch: Batch, turn: _Turn) -> None:
        try:
            await self._commit(batch, turn)
        except Exception as error:
            if isinstance(error, LeaseLost | DatabaseMisused) or not batch.copies:
                raise
            locked = isinstance(error, DatabaseError) and is_locked(error)
            if locked and not turn.splits_for_locks:
                raise
            if isinstance(error, DatabaseAway) and not turn.suspects and not locked:
                raise
            if isinstance(error, OwnerGone) and len({copy.owner_id for copy in batch.copies}) == 1:
                raise
            places = list(dict.fromkeys(copy.outer_place for copy in batch.copies))
            if len(places) > 1:
                # Whoever needs what is locked has waited for it with the whole batch.
                parts = replace(batch, patience=_SHORTLY) if locked else batch
                await self._promote_parts(parts, places, turn)
            else:
                await self._promote_alone(batch, error, turn)

    async def _promote_parts(self, batch: Batch, places: Sequence[Place], turn: _Turn) -> None:
        # What failed before comes last, so that it keeps no other message waiting.
        failing = {copy.outer_place for copy in batch.copies if _known(copy) in self._failing}
        later = failing if 0 < len(failing) < len(places) else set(places[len(places) // 2 :])
        first = [copy for copy in batch.copies if copy.outer_place not in later]
        second = [copy for copy in batch.copies if copy.outer_place in later]
        try:
            await self._promote(replace(batch, copies=first, cursor=None), turn)
        except LeaseLost:
            raise
        except DatabaseError:
            if asyncio.get_running_loop().time() < turn.deadline:
                # The others may get in; but the cursor must not pass over what did not.
                await self._promote(replace(batch, copies=second, cursor=None), turn)
            raise
        await self._promote(replace(batch, copies=second), turn)

    async def _commit(self, batch: Batch, turn: _Turn) -> None:
        decisions = await inbox.promote(self._database, batch, decide_batch)
        for copy, decision in zip(batch.copies, decisions, strict=True):
            turn.decisions[copy.id] = decision
            self._tries.pop(_known(copy), None)
            self._failing.pop(_known(copy), None)

    async def _promote_alone(self, batch: Batch, error: Exception, turn: _Turn) -> None:
        """Promote the copies of one place, as dead letters where they cannot be; or raise the error again."""
        copies = batch.copies
        if len(copies) > 1:  # those of one forward: the others of its place can be promoted
            copies = [await self._tried(copy, again=batch.again) for copy in copies]
        if not any(isinstance(copy.reading, Unreadable) for copy in copies):
            if not await self._is_of_message(error, copies[0]):
                raise error
            try:
                await self._commit(batch, turn)
            except Exception as again:  # noqa: BLE001  # a bug of ours, too
                error = _proof(error, again)
            else:
                return
            copies = [_dead(copy, _words(error)) for copy in copies]
        try:
            await self._commit(replace(batch, copies=copies), turn)
        except (LeaseLost, DatabaseAway):
            raise
        except DatabaseError:
            copies = [_dead(copy, _CONSTANT_WORDS) for copy in copies]
            await self._commit(replace(batch, copies=copies), turn)

    async def _tried(self, copy: Copy, *, again: bool) -> Copy:
        """Make the copy a dead letter if it cannot be promoted alone."""
        try:
            await try_out(self._database, Trial(copy), decide_batch, again=again)
        except Exception as error:
            if not await self._is_of_message(error, copy):
                raise
            try:
                await try_out(self._database, Trial(copy), decide_batch, again=again)
            except Exception as once_more:  # noqa: BLE001  # a bug of ours, too
                return _dead(copy, _words(_proof(error, once_more)))
        return copy

    async def _is_of_message(self, error: Exception, copy: Copy) -> bool:
        """Whether an error is the message's fault. Raises MessageWaits where it may pass, and other messages get in."""
        if isinstance(error, LeaseLost | OwnerGone | DatabaseMisused):
            return False
        if not isinstance(error, DatabaseError):
            return True
        now = asyncio.get_running_loop().time()
        failing_for = now - self._failing.setdefault(_known(copy), now)
        try:
            await try_out(self._database, trial.like(copy), _decide_for_all)
        except DatabaseError:
            if failing_for > self._longest_patience:
                return True
            if not await self._gets_in(trial.plain(copy)):
                return False
            raise MessageWaits(str(error)) from error
        patience = self._longest_patience if is_locked(error) else self._patience
        if isinstance(error, DatabaseAway) and failing_for < patience:
            raise MessageWaits(str(error)) from error
        return True

    async def _gets_in(self, one: Trial) -> bool:
        try:
            await try_out(self._database, one, _decide_for_all)
        except DatabaseError:
            return False
        return True


def _proof(error: Exception, again: Exception) -> Exception:
    """Return what proves a message at fault: what it met again, after a plain one got in. Raises what proves nothing.

    Once is no proof: it may have met what was just being changed, an email erased or a table altered, and the plain one
    came after the change.
    """
    if isinstance(again, LeaseLost | OwnerGone | DatabaseMisused):
        raise again
    if isinstance(again, DatabaseAway) and not isinstance(error, DatabaseAway):
        raise again
    return again


def _known(copy: Copy) -> _Known:
    """Name a message so that it has the same name when it comes again, even by a listener."""
    return copy.source_id, copy.key if copy.judged else copy.outer_place


def _forget_beyond(remembered: dict[_Known, int] | dict[_Known, float]) -> None:
    while len(remembered) > _MOST_REMEMBERED:
        del remembered[next(iter(remembered))]


async def promote_and_tell(
    promoter: Promoter, batch: Batch, profile: str, log: structlog.BoundLogger
) -> list[Decision]:
    """Promote a batch of an incoming profile, and tell log and metrics what became of it. Raises as `promote` does."""
    decisions, error = await attempt_and_tell(promoter, batch, profile, log)
    if error is not None:
        raise error
    return [decisions[copy.id] for copy in batch.copies]


async def attempt_and_tell(
    promoter: Promoter, batch: Batch, profile: str, log: structlog.BoundLogger
) -> tuple[Mapping[UUID, Decision], DatabaseError | None]:
    """Do as `Promoter.attempt` does, and tell log and metrics what became of the copies."""
    began = perf_counter()
    decisions, error = await promoter.attempt(batch)
    told = [(copy, decisions[copy.id]) for copy in batch.copies if copy.id in decisions]
    new = [one for one in told if not one[1].decided_before]
    if new:
        metrics.batch_ended(profile, new, perf_counter() - began)
        counts = Counter(decision.disposition for _, decision in new)
        # Numbers, never contents.
        log.info("received", **{one.value: counts[one] for one in Disposition if counts[one]})
        if dead := counts[Disposition.DEAD]:
            log.warning("mail could not be read or stored", dead=dead, next="email-router dead-letters list")
    return decisions, error


def _decide_for_all(copies: Sequence[Copy], facts: Facts) -> list[Decision]:
    facts.rules = {copy.owner_id: Rule.ALL for copy in copies if copy.owner_id}
    return decide_batch(copies, facts)


def _dead(copy: Copy, fault: str) -> Copy:
    return replace(copy, reading=Unreadable(fault))


def _words(error: Exception) -> str:
    if isinstance(error, DatabaseError):
        return f"it could not be stored: {error}"
    return f"it could not be judged: {whereabouts(error)}"
