"""Patience while a router starts: its database may start together with it, or fail over just then."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_delay, wait_exponential

from router.errors import DatabaseAway

_log = structlog.get_logger(__name__)

_Found = TypeVar("_Found")

_STARTS_WITHIN: Final = 30.0  # seconds that a database may be away when we start


async def once_there(action: Callable[[], Awaitable[_Found]]) -> _Found:
    """Do it, again and again while the database is away; raises DatabaseAway once that took half a minute."""
    patient = AsyncRetrying(
        stop=stop_after_delay(_STARTS_WITHIN),
        wait=wait_exponential(multiplier=0.5, max=5),
        retry=retry_if_exception_type(DatabaseAway),
        before_sleep=_tell,
        reraise=True,
    )

    async def once() -> _Found:  # tenacity awaits what it can see to be a coroutine function
        return await action()

    return await patient(once)


async def unless_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, _Found]) -> _Found | None:
    """Do it to its end, and return what it found; cancel it, and return None, if we are told to stop before."""
    working, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([working, stopped], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return await working
        return None
    finally:
        for task in (working, stopped):
            task.cancel()
        await asyncio.wait([working, stopped])


def _tell(state: RetryCallState) -> None:
    reason = str(state.outcome.exception()) if state.outcome else ""
    _log.warning("the database is away, and tried again", reason=reason, pause=round(state.upcoming_sleep, 1))
