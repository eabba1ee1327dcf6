"""Says that a process lives, over a connection of its own, and knows whether it was heard."""

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Self
from uuid import UUID

import asyncpg

from router.repository import processes
from router.repository.database import Database
from router.repository.faults import translated

if TYPE_CHECKING:
    from asyncpg import Record


class Heartbeat:
    """The word of one process that it lives; `with heartbeat` ends its connection.

    Not a connection of a pool: of one that has died in silence, a pool waits until it is sure.
    """

    def __init__(self, database: Database, process_id: UUID, lease: timedelta) -> None:
        self.pause = processes.beat_of(lease)
        """Seconds between two beats."""
        self._database = database
        self._process_id = process_id
        self._lease = lease.total_seconds()
        self._limit = self.pause
        self._heard: float | None = None
        self._connection: asyncpg.Connection[Record] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._hang_up()

    def is_heard(self) -> bool:
        """Whether others still know, within the lease, that this process lives."""
        return self._heard is not None and time.monotonic() - self._heard < self._lease

    async def begin(self) -> None:
        """Say it for the first time, with all the time that a connection may take; raises DatabaseError."""
        began = time.monotonic()
        await processes.beat(self._database, self._process_id)
        self._heard = began

    async def beat(self) -> None:
        """Say it once more; raises DatabaseAway or DatabaseError, and then the next beat takes a new connection.

        An answer is waited for as long as a beat takes, and twice as long after each one that did not come: a
        connection that has died in silence costs one beat, and a database that is slow is heard of all the same.
        """
        began = time.monotonic()
        try:
            with translated():
                async with asyncio.timeout(self._limit):
                    connection = await self._connected()
                    await processes.beat_over(connection, self._process_id)
        except BaseException:
            # At once: what ends in good order waits for the other side's answer.
            self._hang_up()
            self._limit = min(2 * self._limit, self._lease)
            raise
        self._limit = self.pause
        self._heard = began

    async def _connected(self) -> "asyncpg.Connection[Record]":
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._database.connect("email-router heartbeat", within=self._limit)
        return self._connection

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
