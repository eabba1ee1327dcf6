"""Promoting a batch, whatever is wrong with one message of it.

A message's fault halves its batch until the message is alone; then it becomes a dead letter. A fault of the system
leaves everything as it was, to be tried again.
"""

from collections import Counter
from dataclasses import replace
from time import perf_counter

import structlog

from router import metrics
from router.decide import decide_batch
from router.errors import ContentRefused, DatabaseError, DatabaseMisused, whereabouts
from router.model import Copy, Decision, Disposition, Unreadable
from router.repository import inbox
from router.repository.database import Database
from router.repository.inbox import Batch


async def promote_and_tell(
    database: Database, batch: Batch, profile: str, log: structlog.BoundLogger
) -> list[Decision]:
    """Promote a batch of an incoming profile as `promote_batch` does, and tell log and metrics what became of it."""
    began = perf_counter()
    decisions = await promote_batch(database, batch)
    if decisions:
        metrics.batch_ended(profile, batch.copies, decisions, perf_counter() - began)
        counts = Counter(decision.disposition for decision in decisions)
        # Numbers, never contents.
        log.info("received", **{one.value: counts[one] for one in Disposition if counts[one]})
    return decisions


async def promote_batch(database: Database, batch: Batch) -> list[Decision]:
    """Promote a batch; one decision per copy. A copy that cannot be stored or judged becomes a dead letter.

    Raises DatabaseError for faults of the system, and LeaseLost: then the rest of the batch was not committed. Copies
    that lie in one place are committed together, so that the place is never settled before all of them are decided.
    """
    try:
        return await inbox.promote(database, batch, decide_batch)
    except Exception as error:  # noqa: BLE001  # a bug in one step must not stop a mailbox
        fault = _fault_of_message(error)
    places = list(dict.fromkeys(copy.outer_place for copy in batch.copies))
    if len(places) <= 1:
        lone = len(batch.copies) == 1
        copies = batch.copies if lone else [await _tried(database, copy) for copy in batch.copies]
        if not any(isinstance(copy.reading, Unreadable) for copy in copies):
            copies = [_dead(copy, fault) for copy in copies]
        return await inbox.promote(database, replace(batch, copies=copies), decide_batch)
    first_half = set(places[: len(places) // 2])
    first = [copy for copy in batch.copies if copy.outer_place in first_half]
    second = [copy for copy in batch.copies if copy.outer_place not in first_half]
    decisions = await promote_batch(database, replace(batch, copies=first, cursor=None))
    return decisions + await promote_batch(database, replace(batch, copies=second))


async def _tried(database: Database, copy: Copy) -> Copy:
    """Make the copy a dead letter if it cannot be promoted alone, so that the others of its place can be."""
    try:
        await inbox.try_out(database, copy, decide_batch)
    except Exception as error:  # noqa: BLE001  # as above
        return _dead(copy, _fault_of_message(error))
    return copy


def _dead(copy: Copy, fault: str) -> Copy:
    return replace(copy, reading=Unreadable(fault))


def _fault_of_message(error: Exception) -> str:
    """Say what is wrong with a message. Raises the error again if no message is at fault."""
    if isinstance(error, ContentRefused):
        return f"it could not be stored: {error}"
    if isinstance(error, DatabaseError | DatabaseMisused):
        raise error
    return f"it could not be judged: {whereabouts(error)}"
