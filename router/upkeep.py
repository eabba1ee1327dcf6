"""The job that does what the database needs from time to time, whatever mail comes or goes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from router.errors import DatabaseError
from router.repository import upkeep, waiting
from router.repository.database import Database

_log = structlog.get_logger(__name__)

EVERY: Final = 5.0
"""Seconds between two rounds."""


# What is to be done, and what it returns as long as more of it may be left.
_WORK: Final[Sequence[tuple[Callable[[Database], Awaitable[int]], int]]] = (
    (upkeep.move_known_ids, upkeep.PIECE),
    (waiting.link_answer, True),
    (waiting.prune, waiting.PIECE),
)


async def keep_up(database: Database) -> None:
    """Do what the database needs, a small piece at a time, until canceled; what fails stops no other, and waits."""
    while True:
        for do, left in _WORK:
            try:
                while await do(database) == left:
                    pass
            except DatabaseError as error:
                _log.debug("the database's upkeep waits", reason=str(error))
        await asyncio.sleep(EVERY)
