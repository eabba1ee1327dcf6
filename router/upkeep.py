"""The job that does what the database needs from time to time, whatever mail comes or goes."""

import asyncio
from typing import Final

import structlog

from router.errors import DatabaseError
from router.repository import upkeep, waiting
from router.repository.database import Database

_log = structlog.get_logger(__name__)

EVERY: Final = 5.0
"""Seconds between two rounds."""


async def keep_up(database: Database) -> None:
    """Do what the database needs, a small piece at a time, until canceled."""
    while True:
        try:
            while await upkeep.move_known_ids(database) == upkeep.PIECE:
                pass
            while await waiting.link_answer(database):
                pass
            while await waiting.prune(database, upkeep.PIECE) == upkeep.PIECE:
                pass
        except DatabaseError as error:
            _log.debug("the database's upkeep waits", reason=str(error))
        await asyncio.sleep(EVERY)
