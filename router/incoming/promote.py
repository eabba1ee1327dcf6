"""Promoting the batches of a source, whatever is wrong with one message.

    a fault of a message      halves its batch until the message is alone; then it is a dead letter
    a fault of the system     leaves everything as it was, to be tried again; the third time in a row it halves, too

Whose fault it is when a lone message fails is not believed but tried: by a plain message, which is rolled back. If that
one fails as well, the system is at fault, and the message waits.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Final

import structlog

from router import metrics
from router.decide import decide_batch
from router.errors import ContentRefused, DatabaseAway, DatabaseError, DatabaseMisused, LeaseLost, whereabouts
from router.model import Classification, Copy, Decision, Disposition, Facts, Message, Reading, Rule, Unreadable, uuid7
from router.repository import inbox
from router.repository.batch import Batch
from router.repository.database import Database
from transports.base import Place

PATIENCE: Final = 120.0
"""Seconds for which a lone message may meet faults of the system, such as a lock, while other messages get in."""

LONGEST_PATIENCE: Final = 86_400.0
"""Seconds for which a lone message may meet what others meet, too."""

_TRIES: Final = 3  # of the same batch, before one of its messages is suspected
_CONSTANT_WORDS: Final = "it could not be stored, and neither could the reason"


@dataclass(slots=True)
class _Turn:
    """What one call came to so far."""

    succeeded: bool = False
    failed_alone: int = 0


class Promoter:
    """Promotes the batches of one source; it remembers what failed before."""

    def __init__(self, database: Database, patience: float = PATIENCE) -> None:
        self._database = database
        self._patience = patience
        self._failures = 0
        self._failing: dict[tuple[int, Place], float] = {}  # since when, by source and place

    async def promote(self, batch: Batch) -> list[Decision]:
        """Promote a batch; one decision per copy. A copy that cannot be stored or judged becomes a dead letter.

        Raises DatabaseError for faults of the system, and LeaseLost: then the rest of the batch was not committed.
        Copies that lie in one place are committed together, so that the place is never settled before all of them are
        decided.
        """
        try:
            decisions = await self._promote(batch, _Turn())
        except DatabaseError:
            self._failures += 1
            raise
        self._failures = 0
        self._failing.clear()
        return decisions

    async def _promote(self, batch: Batch, turn: _Turn) -> list[Decision]:
        try:
            decisions = await inbox.promote(self._database, batch, decide_batch)
        except Exception as error:
            if isinstance(error, LeaseLost | DatabaseMisused):
                raise
            if isinstance(error, DatabaseAway) and (self._failures < _TRIES - 1 or not batch.copies):
                raise
            places = list(dict.fromkeys(copy.outer_place for copy in batch.copies))
            if len(places) <= 1:
                return await self._promote_alone(batch, error, turn)
        else:
            turn.succeeded = True
            return decisions
        first_half = set(places[: len(places) // 2])
        first = [copy for copy in batch.copies if copy.outer_place in first_half]
        second = [copy for copy in batch.copies if copy.outer_place not in first_half]
        try:
            decisions = await self._promote(replace(batch, copies=first, cursor=None), turn)
        except LeaseLost:
            raise
        except DatabaseError:
            if turn.failed_alone > 1 and not turn.succeeded:
                raise  # nothing gets in: there is no sense in trying the others
            # The others get in; but the cursor must not pass over what did not.
            await self._promote(replace(batch, copies=second, cursor=None), turn)
            raise
        return decisions + await self._promote(replace(batch, copies=second), turn)

    async def _promote_alone(self, batch: Batch, error: Exception, turn: _Turn) -> list[Decision]:
        """Promote the copies of one place, as dead letters where they cannot be; or raise the error again."""
        copies = batch.copies
        if len(copies) > 1:  # those of one forward: the others of its place can be promoted
            copies = [await self._tried(copy) for copy in copies]
        if not any(isinstance(copy.reading, Unreadable) for copy in copies):
            if not await self._is_of_message(error, copies[0], turn):
                turn.failed_alone += 1
                raise error
            copies = [_dead(copy, _words(error)) for copy in copies]
        batch = replace(batch, copies=copies)
        try:
            return await inbox.promote(self._database, batch, decide_batch)
        except (LeaseLost, DatabaseAway):
            raise
        except DatabaseError:
            copies = [_dead(copy, _CONSTANT_WORDS) for copy in copies]
            return await inbox.promote(self._database, replace(batch, copies=copies), decide_batch)

    async def _tried(self, copy: Copy) -> Copy:
        """Make the copy a dead letter if it cannot be promoted alone."""
        try:
            await inbox.try_out(self._database, copy, decide_batch)
        except Exception as error:
            if not await self._is_of_message(error, copy, _Turn()):
                raise
            return _dead(copy, _words(error))
        return copy

    async def _is_of_message(self, error: Exception, copy: Copy, turn: _Turn) -> bool:
        """Whether an error is the message's fault."""
        if isinstance(error, LeaseLost | DatabaseMisused):
            return False
        if isinstance(error, ContentRefused) or not isinstance(error, DatabaseError):
            return True
        now = asyncio.get_running_loop().time()
        failing_for = now - self._failing.setdefault((copy.source_id, copy.outer_place), now)
        if not turn.succeeded:
            try:
                await inbox.try_out(self._database, _plain(copy), _decide_for_all)
            except DatabaseError:
                return failing_for > LONGEST_PATIENCE
        return failing_for >= self._patience if isinstance(error, DatabaseAway) else True


async def promote_and_tell(
    promoter: Promoter, batch: Batch, profile: str, log: structlog.BoundLogger
) -> list[Decision]:
    """Promote a batch of an incoming profile, and tell log and metrics what became of it."""
    began = perf_counter()
    decisions = await promoter.promote(batch)
    new = [one for one in zip(batch.copies, decisions, strict=True) if not one[1].decided_before]
    if new:
        metrics.batch_ended(profile, new, perf_counter() - began)
        counts = Counter(decision.disposition for _, decision in new)
        # Numbers, never contents.
        log.info("received", **{one.value: counts[one] for one in Disposition if counts[one]})
    return decisions


def _plain(copy: Copy) -> Copy:
    """Make a message for the same owner in which nothing can be wrong."""
    plain = Message(subject="A plain message", text="It is rolled back.")
    reading = Reading(plain, Classification(), plain.key)
    return replace(copy, id=uuid7(), place=Place("", str(uuid7())), reading=reading, content=b"", forward=None)


def _decide_for_all(copies: Sequence[Copy], facts: Facts) -> list[Decision]:
    facts.rules = {copy.owner_id: Rule.ALL for copy in copies if copy.owner_id}
    return decide_batch(copies, facts)


def _dead(copy: Copy, fault: str) -> Copy:
    return replace(copy, reading=Unreadable(fault))


def _words(error: Exception) -> str:
    if isinstance(error, DatabaseError):
        return f"it could not be stored: {error}"
    return f"it could not be judged: {whereabouts(error)}"
