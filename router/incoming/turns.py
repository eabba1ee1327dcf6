"""Whose turn it is to have a connection, and when a mailbox is tried again."""

import asyncio
from typing import Final

from router.backoff import Backoff
from transports.errors import Temporary, Unauthorized

_PATIENCE: Final = 3600.0  # seconds; no server makes us wait longer


class Slots:
    """The connections of one profile: at most `size` at once, in the order of asking."""

    def __init__(self, size: int) -> None:
        self._free = asyncio.Semaphore(size)
        self._waiting = 0
        self._wanted = asyncio.Event()
        self._stirred = asyncio.Event()  # one was given up, or asked for

    async def __aenter__(self) -> None:
        if not self._free.locked():
            await self._free.acquire()
            return
        self._waiting += 1
        self._wanted.set()
        self._stirred.set()
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._wanted.clear()

    async def __aexit__(self, *exc: object) -> None:
        self._free.release()
        self._stirred.set()

    @property
    def wanted(self) -> bool:
        """Whether another mailbox waits for a connection."""
        return self._waiting > 0

    async def until_spare(self) -> None:
        """Return when taking a connection disturbs nobody: one is free, or mailboxes take turns at them anyway."""
        while self._free.locked() and not self._waiting:
            self._stirred.clear()
            await self._stirred.wait()

    async def until_wanted(self) -> None:
        """Return when another mailbox waits for a connection."""
        await self._wanted.wait()


class Pauses:
    """How long to wait after a failure. A login that was refused is not tried often: that would lock the account."""

    def __init__(self) -> None:
        self._ordinary = Backoff()
        self._refused = Backoff(first=60, longest=900)

    def next(self, error: Exception) -> float:
        """Seconds to wait after one more failure."""
        if isinstance(error, Unauthorized):
            return self._refused.next()
        asked_for = error.retry_after if isinstance(error, Temporary) else None
        return self._ordinary.next(asked_for and min(asked_for, _PATIENCE))

    def reset(self) -> None:
        """Begin with the shortest again."""
        self._ordinary.reset()
        self._refused.reset()
