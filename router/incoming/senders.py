"""Keeps the queue of unresolved senders as pages show it, a moment behind the mail."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from router.errors import DatabaseError
from router.health import Health
from router.repository.database import Database
from router.repository.senders import care, fold
from router.supervise import end_if_told

_LOOK: Final = 2.0  # seconds between two looks, for whoever was put off until now, and what we were not told of
_AGAIN: Final = 1.0  # seconds after a fault
_REST: Final = 0.5  # of the time that a piece took, before the next one: the mail comes first
_GATHERING: Final = 0.05  # seconds in which notifications come together
_WORK: Final[tuple[Callable[[Database], Awaitable[bool]], ...]] = (fold.fold, fold.read_words)


async def keep_senders(database: Database, health: Health) -> None:
    """Fold what has changed as soon as it is told, and read the words of what has come; until canceled."""
    changed = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_listen(database, changed))
        while True:
            changed.clear()
            try:
                await _work(database)
                await care.forget_looks(database)
                await health.works()
            except DatabaseError as error:
                end_if_told(error)
                await health.fails(str(error), _AGAIN)
                await asyncio.sleep(_AGAIN)
                continue
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), _LOOK)
            await asyncio.sleep(_GATHERING)


async def _work(database: Database) -> None:
    loop = asyncio.get_running_loop()
    more = True
    while more:
        more = False
        for do in _WORK:
            began = loop.time()
            if await do(database):
                more = True
                await asyncio.sleep((loop.time() - began) * _REST)


async def _listen(database: Database, changed: asyncio.Event) -> None:
    """Hear of changes; without it, they are found by looking."""
    while True:
        with suppress(DatabaseError):
            await database.listen(fold.CHANGED, changed)
        await asyncio.sleep(_AGAIN)
