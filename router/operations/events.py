"""Following what happens: a client waits for the next event, and however many wait, one connection listens for all."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

import structlog

from router.backoff import Backoff
from router.errors import DatabaseError, RouterError
from router.model.event import BEGINNING, Place
from router.operations.backing import Backing
from router.repository.api.events import CHANNEL, Event, find_last, list_after
from router.supervise import end_if_told

__all__ = ["BEGINNING", "MOST_CLIENTS", "Crowded", "Event", "Events", "Place"]

_log = structlog.get_logger(__name__)

MOST_CLIENTS: Final = 50
"""Clients that wait at once; the console has room for others beside them."""

_GATHERING: Final = 0.2  # seconds in which notifications come together: whoever waits looks once for them
_LOOK: Final = 2.0  # seconds between two looks: an event can become visible later than its notification came
_LINGER: Final = 30.0  # seconds that it listens on when nobody waits: most clients come again at once


class Crowded(RouterError):
    """Too many clients wait already."""


class Events:
    """What happened, and what happens; for all clients of this process."""

    def __init__(self, backing: Backing) -> None:
        self._backing = backing
        self._news = asyncio.Event()
        self._waiting = 0
        self._listener: asyncio.Task[None] | None = None
        self._ending: asyncio.TimerHandle | None = None
        self._gathering: asyncio.TimerHandle | None = None

    async def last(self) -> Place:
        """Where the events end now."""
        return await find_last(self._backing.database)

    async def after(self, place: Place, limit: int, wait: float) -> Sequence[Event]:
        """List the events after a place; where there is none, wait for one, so many seconds at most. Raises Crowded."""
        found = await list_after(self._backing.database, place, limit)
        if found or wait <= 0:
            return found
        with self._following():
            return await self._next(place, limit, wait)

    async def follow(self, place: Place, limit: int, wait: float) -> AsyncGenerator[Sequence[Event], None]:
        """Yield the events after a place as they come, so many at a time; after so many seconds without one, none.

        The first are none, too: by then there is room for one more who waits, until it is closed. Raises Crowded,
        DatabaseError.
        """
        with self._following():
            found: Sequence[Event] = ()
            while True:
                yield found
                found = await self._next(place, limit, wait)
                place = found[-1].place if found else place

    async def _next(self, place: Place, limit: int, wait: float) -> Sequence[Event]:
        loop = asyncio.get_running_loop()
        until = loop.time() + wait
        while True:
            news = self._news  # before it is looked for: what comes meanwhile is not missed
            found = await list_after(self._backing.database, place, limit)
            left = until - loop.time()
            if found or left <= 0:
                return found
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, _LOOK)):
                    await news.wait()

    @contextmanager
    def _following(self) -> Iterator[None]:
        if self._waiting >= MOST_CLIENTS:
            raise Crowded(f"{MOST_CLIENTS} clients wait for events of this router already: try again later")
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        self._waiting += 1
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._listen(), name="events")
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._ending = asyncio.get_running_loop().call_later(_LINGER, self._listener.cancel)

    async def _listen(self) -> None:
        """Listen until canceled; while the database is away, those who wait look for themselves."""
        backoff = Backoff(longest=15)
        while True:
            try:
                await self._backing.database.hear({CHANNEL: self._heard})
            except DatabaseError as error:
                end_if_told(error)
                _log.debug("nobody listens for events now", reason=str(error))
            await asyncio.sleep(backoff.next())

    def _heard(self, _: str) -> None:
        if self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(_GATHERING, self._wake)

    def _wake(self) -> None:
        self._gathering = None
        news, self._news = self._news, asyncio.Event()
        news.set()
