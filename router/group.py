"""Calls that come at the same time are made as one: what comes while one runs shares the next.

But for the time that a call runs, and a pause where the caller wants one, nothing is waited for.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Group(Generic[Item, Answer]):
    """Calls `flush` with the items that gathered while its last call ran, at most `at_most` of them.

    `flush` returns one answer per item, in their order. An exception that it raises goes to every item of that call.
    Canceling one `add` cancels no other. Before each call it waits for `pause()` seconds: where a call costs much the
    same for one item as for several, and others are about to come.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
        at_most: int = 100,
        pause: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._flush = flush
        self._at_most = at_most
        self._pause = pause
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._runner: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """How many items wait for their call."""
        return len(self._waiting)

    async def add(self, item: Item) -> Answer:
        """Wait until the item was flushed, and return its answer."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run(), name="group")
        return await answer

    async def _run(self) -> None:
        while self._waiting:
            if pause := self._pause():
                await asyncio.sleep(pause)
            group = [self._waiting.popleft() for _ in range(min(self._at_most, len(self._waiting)))]
            try:
                answers = await self._flush([item for item, _ in group])
            except Exception as error:  # noqa: BLE001  # whoever waits is told, whatever it is
                for _, answer in group:
                    if not answer.done():
                        answer.set_exception(error)
            else:
                for (_, answer), value in zip(group, answers, strict=True):
                    if not answer.done():
                        answer.set_result(value)
