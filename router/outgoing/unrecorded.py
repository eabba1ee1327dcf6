"""The job that tells crm.email what became of email, where it refused to be told when that was known."""

import asyncio
from functools import partial
from typing import Final
from uuid import UUID

import structlog

from router.errors import DatabaseAway, DatabaseError
from router.health import Health
from router.model import Result
from router.repository import processes
from router.repository.database import Database
from router.repository.outgoing import outbox, unrecorded

_log = structlog.get_logger(__name__)

_PAUSE: Final = 1.0  # seconds between looks for what is due

PART: Final = "outcomes"
"""What this part of the process is called where its fault is told."""


class Unrecorded:
    """Tries what is kept again, one by one and ever more slowly, of this process and of others."""

    def __init__(self, database: Database, process_id: UUID) -> None:
        self._database = database
        self._health = Health(
            "what became of email cannot be recorded, and is kept",
            partial(processes.note_fault, database, process_id, PART),
            _log.bind(part=PART),
        )

    async def run(self) -> None:
        """Try what is due, and tell what is wrong, until canceled."""
        with self._health:
            while True:
                more = False
                try:
                    more = await self._round()
                except DatabaseError as error:
                    _log.debug("what is kept cannot be tried now", reason=str(error))
                if not more:
                    await asyncio.sleep(_PAUSE)

    async def _round(self) -> bool:
        """Try what is due once; tell whether there may be more."""
        results = await unrecorded.due(self._database)
        for result in results:
            await self._try(result)
        if reasons := await unrecorded.refusals(self._database):
            await self._health.fails(f"the database refuses to record what became of email: {'; '.join(reasons)}")
        else:
            await self._health.works()
        return len(results) == unrecorded.AT_ONCE

    async def _try(self, result: Result) -> None:
        try:
            await outbox.record(self._database, [result])
        except DatabaseAway as error:
            _log.debug("an outcome that is kept cannot be recorded now", reason=str(error))
        except DatabaseError as error:
            await unrecorded.keep(self._database, result, str(error))
        else:
            _log.info("an outcome that was kept is recorded", email=str(result.email_id), status=result.status)
