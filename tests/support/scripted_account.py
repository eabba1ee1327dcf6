"""A mailbox in memory, by the contract of `transports/base.py`, each step of which fails as a test says."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Self

from transports.base import Cursor, Folder, Listed, Listing, Part, Place, Received, Settlement

STEPS = ("open", "folders", "changed", "list", "fetch", "fetch on", "settle", "wait", "close")
"""In the order in which a reader takes them; `fetch on`: after the first message has come."""

_POLL = 0.01  # seconds, in place of what the profile says


class ScriptedAccount:
    """`fails` is asked at each step for the error to raise; `steps` counts them. One object is account and view.

    `fetched` has the id of each message that was fetched, as often as it was.
    """

    def __init__(self) -> None:
        self.fails: Callable[[str], Exception | None] = lambda _step: None
        self.steps: Counter[str] = Counter()
        self.settled: set[str] = set()
        self.fetched: list[str] = []
        self._messages: dict[str, bytes] = {}

    def deliver(self, content: bytes) -> None:
        self._messages[str(len(self._messages) + 1)] = content

    @property
    def unsettled(self) -> set[str]:
        return self._messages.keys() - self.settled

    async def __aenter__(self) -> Self:
        await self._step("open")
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._step("close")

    async def folders(self) -> Sequence[Folder]:
        await self._step("folders")
        return [Folder("INBOX", "inbox")]

    def folder(self, _name: str) -> Self:
        return self

    async def changed(self) -> Collection[str]:
        await self._step("changed")
        return ["INBOX"]

    async def wait(self, _timeout: float) -> None:
        await self._step("wait")
        await asyncio.sleep(_POLL)

    async def list(self, after: Cursor | None, limit: int) -> Listing:
        await self._step("list")
        last = Cursor(str(len(self._messages)))
        if limit == 0:
            return Listing((), last)
        new = [id_ for id_ in self._messages if int(id_) > int(after or 0)]
        copies = tuple(Listed(Place("1", id_), len(self._messages[id_]), datetime.now(UTC)) for id_ in new[:limit])
        return Listing(copies, Cursor(copies[-1].place.id) if copies else last, more=len(new) > limit)

    async def fetch(self, places: Sequence[Place], _part: Part) -> AsyncIterator[Received]:
        await self._step("fetch")
        for number, place in enumerate(places):
            if number:
                await self._step("fetch on")
            self.fetched.append(place.id)
            yield Received(place, self._messages[place.id], datetime.now(UTC))

    async def settle(self, done: Sequence[Settlement]) -> None:
        await self._step("settle")
        self.settled |= {one.place.id for one in done}

    async def _step(self, step: str) -> None:
        self.steps[step] += 1
        await asyncio.sleep(0)
        if (error := self.fails(step)) is not None:
            raise error
