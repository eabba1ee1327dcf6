"""What has changed in the queue, for all open pages of this process: one connection listens, however many there are.

A page first subscribes, then reads, so that nothing is missed between; what it hears are senders whose rows it reads
again (`pages.changed`). A page that is slow hears of all at once: nothing is kept for it but which senders.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

import structlog

from router.backoff import Backoff
from router.errors import DatabaseError
from router.operations.backing import Backing
from router.operations.queue import Seen
from router.repository.senders.fold import FOLDED
from router.supervise import end_if_told

__all__ = ["MOST_PAGES", "Changed", "Live", "Page"]

_log = structlog.get_logger(__name__)

MOST_PAGES: Final = 150
"""Open pages that are told at once; one more still works, and asks again. There is room for others beside them."""

_MANY: Final = 100  # senders that a page is told by name
_LINGER: Final = 30.0  # seconds that it listens on when no page is open: most are opened again at once


@dataclass(frozen=True, slots=True)
class Changed:
    """Senders whose rows have changed, come or gone, or who are looked at; None: many, so read the page again."""

    senders: frozenset[str] | None


class Page:
    """An open page: what has changed since it asked last, of the mail that it may see."""

    def __init__(self, seen: Seen) -> None:
        self._seen = None if seen is None else frozenset(map(str, seen))
        self._senders: set[str] = set()
        self._many = False
        self._news = asyncio.Event()

    async def next(self, wait: float) -> Changed | None:
        """Wait for a change, so many seconds at most; None: nothing has changed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._news.wait()
        if not self._news.is_set():
            return None
        changed = Changed(None if self._many else frozenset(self._senders))
        self._senders, self._many = set(), False
        self._news.clear()
        return changed

    async def changes(self, heartbeat: float = 15.0) -> AsyncIterator[Changed | None]:
        """Yield what `next` returns, without end."""
        while True:
            yield await self.next(heartbeat)

    def tell(self, senders: dict[str, list[str]] | None) -> None:
        """Take what has changed: addresses, each with the owners of whose mail that is; None: unknown what."""
        if senders is None:
            self._many = True
        else:
            own = self._seen
            self._senders |= {
                address for address, owners in senders.items() if own is None or not own.isdisjoint(owners)
            }
            if len(self._senders) > _MANY:
                self._many = True
        if self._many or self._senders:
            self._news.set()


class Live:
    """Listens while a page is open."""

    def __init__(self, backing: Backing) -> None:
        self._backing = backing
        self._pages: set[Page] = set()
        self._listener: asyncio.Task[None] | None = None
        self._ending: asyncio.TimerHandle | None = None

    @contextmanager
    def page(self, seen: Seen) -> Iterator[Page]:
        """Open a page for a person who sees the mail of these owners; None: of all."""
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._listen(), name="queue")
        opened = Page(seen)
        self._pages.add(opened)
        try:
            yield opened
        finally:
            self._pages.discard(opened)
            if not self._pages:
                self._ending = asyncio.get_running_loop().call_later(_LINGER, self._listener.cancel)

    async def _listen(self) -> None:
        backoff = Backoff(longest=15)
        while True:
            try:
                await self._backing.database.hear({FOLDED: self._heard})
            except DatabaseError as error:
                end_if_told(error)
                _log.debug("nobody listens for the queue now", reason=str(error))
            await asyncio.sleep(backoff.next())

    def _heard(self, words: str) -> None:
        # Nothing at all is said where it begins to listen: what was said before is unknown.
        senders: dict[str, list[str]] | None = json.loads(words).get("senders") if words else None
        for page in self._pages:
            page.tell(senders)
