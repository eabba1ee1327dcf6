"""Mail that was handed over is committed together; a message that needs what is locked keeps only its like waiting.

    shared   all that is there at a time, in one transaction; for what is locked it waits a moment
    apart    the messages of a transaction that met a lock, each by itself, one after the other; a moment each
    slow     a message that met one by itself, or ever before; two at a time, as long as anybody waits for a lock

Who cannot get into the slow lane in time is told to come again later.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias
from uuid import UUID

import structlog

from router.errors import DatabaseError, MessageWaits
from router.group import Group
from router.incoming.promote import Promoter, attempt_and_tell
from router.model import Copy, Decision
from router.repository.faults import is_locked
from router.repository.incoming.batch import Batch

_MESSAGES: Final = 50  # the most of one transaction, each with all its recipients
_MOMENT: Final = 0.1  # seconds that others wait for what one of their messages needs
_SLOW: Final = 2  # connections to the database that may wait for locks
_LONGEST: Final = 10.0  # seconds until a message gets into the slow lane

Results: TypeAlias = list[Decision | DatabaseError]
"""What became of each copy of a message, or why it could not be committed."""


class Lanes:
    """The lanes of one listener's mail."""

    def __init__(self, promoter: Promoter, profile: str, log: structlog.BoundLogger) -> None:
        self._promoter = promoter
        self._profile = profile
        self._log = log
        self._shared: Group[Sequence[Copy], Results] = Group(self._together, at_most=_MESSAGES)
        self._apart = asyncio.Lock()
        self._slow = asyncio.Semaphore(_SLOW)

    async def promote(self, copies: Sequence[Copy]) -> Results:
        """Promote the copies of one message; one result for each, in their order."""
        results: Results = []
        if not self._promoter.failed_before(copies):
            results = await self._shared.add(copies)
            if _need_a_lock(results):
                async with self._apart:
                    (results,) = await self._together([copies])
            if not _need_a_lock(results):
                return results
        try:
            async with asyncio.timeout(_LONGEST):
                await self._slow.acquire()
        except TimeoutError:
            return results or [MessageWaits("others wait for what is locked, too")] * len(copies)
        try:
            (results,) = await self._attempt([copies], None)
        finally:
            self._slow.release()
        return results

    async def _together(self, messages: Sequence[Sequence[Copy]]) -> list[Results]:
        return await self._attempt(messages, _MOMENT)

    async def _attempt(self, messages: Sequence[Sequence[Copy]], patience: float | None) -> list[Results]:
        batch = Batch([copy for copies in messages for copy in copies], keeps=True, patience=patience)
        decisions, error = await attempt_and_tell(self._promoter, batch, self._profile, self._log)
        return [[_result(copy, decisions, error) for copy in copies] for copies in messages]


def _result(copy: Copy, decisions: Mapping[UUID, Decision], error: DatabaseError | None) -> Decision | DatabaseError:
    decision = decisions.get(copy.id)
    if decision is None:
        assert error is not None  # else all are decided
        return error
    return decision


def _need_a_lock(results: Results) -> bool:
    return any(isinstance(one, DatabaseError) and is_locked(one) for one in results)
