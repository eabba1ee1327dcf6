"""Whether the database is the original: a copy of it neither sends nor reads, and says so, until an admin starts it.

What holds is asked in each claim and each commit, by SQL (`router.is_copy`); here it is told.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from router import metrics
from router.errors import DatabaseCopied, DatabaseError
from router.health import Health
from router.repository.database import Database
from router.repository.outgoing.sending import Sending, read_sending

_log = structlog.get_logger(__name__)

_EVERY: Final = 1.0
"""Seconds between two looks."""


async def watch_original(
    database: Database, health: Health, tell: Callable[[bool], None], changed: Callable[[], None]
) -> None:
    """Look, and tell log, status and metrics, until canceled; `tell` hears each time whether it is a copy.

    `changed` is called where that is something else than before: when a copy is started, and where a backup is restored
    while we run.
    """
    before: Sending | None = None
    while True:
        try:
            now = await read_sending(database)
        except DatabaseError as error:
            _log.debug("whether the database is a copy cannot be told now", reason=str(error))
        else:
            await _tell(now, before, health)
            tell(now.copied)
            metrics.sending_sampled(on=now.on, copied=now.copied)
            if before is not None and now.copied != before.copied:
                changed()
            before = now
        await asyncio.sleep(_EVERY)


async def _tell(now: Sending, before: Sending | None, health: Health) -> None:
    if now.copied:
        await health.fails(str(DatabaseCopied()))
        return
    await health.works()
    if now.on != (before is None or before.on):
        if now.on:
            _log.info("sending is on again", reason=now.reason)
        else:
            _log.warning("sending is off", reason=now.reason, next="email-router sending start")
