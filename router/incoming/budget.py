"""How many bytes of incoming messages this process holds in memory at once, however many mailboxes it reads.

Readers wait for room in the order of asking. Nobody waits for ever: what is held is released once it is promoted or has
failed, which does not depend on any other room; and who fetches from a slow server gives its room up when others have
waited long enough. A listener's message is in memory already, so it is counted and does not wait; how much listeners
take is bounded by their own `max_in_flight`, and half of the budget is the readers' whatever they take.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable
from contextlib import suppress
from typing import Final, TypeVar

DEFAULT: Final = 128 << 20

_T = TypeVar("_T")


class Held:
    """Room that is held until it is released; releasing it twice is no error."""

    def __init__(self, budget: "Budget", size: int, *, handed: bool = False) -> None:
        self._budget = budget
        self._size = size
        self._handed = handed

    def resize(self, size: int) -> None:
        """Hold so much from now on, as what was announced is known to be larger or smaller."""
        self._budget.change(size - self._size, handed=self._handed)
        self._size = size

    def release(self) -> None:
        """Hold nothing any more."""
        self.resize(0)


class Budget:
    """Room for `limit` bytes. What is larger by itself is let in alone."""

    def __init__(self, limit: int = DEFAULT) -> None:
        self._limit = limit
        self._read = 0
        self._handed = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._wanted = asyncio.Event()

    @property
    def used(self) -> int:
        """Bytes that are held, as far as they count."""
        return self._read + min(self._handed, self._limit // 2)

    async def take(self, size: int) -> Held:
        """Wait for room; who asked first has it first."""
        if size and (self._waiting or not self._has_room(size)):
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append((size, turn))
            self._wanted.set()
            try:
                await turn
            except asyncio.CancelledError:
                if turn.cancelled():
                    with suppress(ValueError):
                        self._waiting.remove((size, turn))
                    self._let_in()
                else:
                    self.change(-size)
                raise
        else:
            self._read += size
        return Held(self, size)

    def count(self, size: int) -> Held:
        """Count what a listener was handed."""
        self.change(size, handed=True)
        return Held(self, size, handed=True)

    def change(self, difference: int, *, handed: bool = False) -> None:
        """Count so many bytes more, or less; whoever waits is let in as far as there is room."""
        if handed:
            self._handed += difference
        else:
            self._read += difference
        self._let_in()

    async def unless_wanted(self, work: Awaitable[_T], seconds: float) -> _T:
        """Do what holds room. Raises TimeoutError if it takes longer than these seconds and somebody waits for room."""
        task = asyncio.ensure_future(work)
        wanted = asyncio.ensure_future(self._wanted.wait())
        try:
            await asyncio.wait([task], timeout=seconds)
            if not task.done():
                await asyncio.wait([task, wanted], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise TimeoutError
            return task.result()
        finally:
            task.cancel()
            wanted.cancel()
            await asyncio.gather(task, wanted, return_exceptions=True)

    def _has_room(self, size: int) -> bool:
        return self.used + size <= self._limit or not self._read

    def _let_in(self) -> None:
        while self._waiting and self._has_room(self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._read += size
                turn.set_result(None)
        if not self._waiting:
            self._wanted.clear()
