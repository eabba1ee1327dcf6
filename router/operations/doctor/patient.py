"""What the checks look at: the environment, the database, the profiles; each asked once, for all of them."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

from router.errors import DatabaseError
from router.oauth2.late import LateTokens
from router.operations import served, status
from router.operations.served import Served
from router.operations.status import Report
from router.profile import Reading, read_folder
from router.repository.database import Database
from router.repository.owners.owners import ListedOwner, list_owners
from router.repository.processes import list_processes
from router.settings import Settings

T = TypeVar("T")


class NoDatabase(DatabaseError):
    """A check needs the database, and there is none."""


class Patient:
    """`no_database` says why there is no database."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.lease = timedelta(seconds=settings.lease)
        self.database: Database | None = None
        self.no_database = ""
        self._stack = AsyncExitStack()
        self._asked: dict[str, asyncio.Task[Any]] = {}

    def need_database(self) -> Database:
        """Return the database. Raises NoDatabase."""
        if self.database is None:
            raise NoDatabase(self.no_database)
        return self.database

    async def report(self) -> Report:
        """Return the status. Raises NoDatabase."""
        database = self.need_database()

        async def read() -> Report:
            owners, serving = await asyncio.gather(self.owners(), self.served())
            return await status.read(
                database, self.lease, self.settings.profiles, owners=owners, serving=serving, senders=False
            )

        return await self._once("report", read)

    async def owners(self) -> Sequence[ListedOwner]:
        """Return all owners with a mailbox. Raises NoDatabase."""
        database = self.need_database()
        return await self._once("owners", lambda: list_owners(database))

    async def reading(self) -> Reading:
        """Return what the profile folder holds. Raises ProfileErrors if it cannot be read."""
        return await self._once("reading", self._reading)

    async def served(self) -> Served:
        """Return what is served: without a database, what the folder says."""
        return await self._once("served", self._served)

    async def leave(self) -> None:
        """Ask nothing any more."""
        for task in self._asked.values():
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)
        await self._stack.aclose()

    async def _reading(self) -> Reading:
        reading = await asyncio.to_thread(read_folder, self.settings.profiles)
        tokens = await self._stack.enter_async_context(LateTokens(self.settings, self.database))
        return replace(reading, profiles=reading.profiles.with_tokens(tokens))

    async def _served(self) -> Served:
        processes = [] if self.database is None else await list_processes(self.database, self.lease)
        return await asyncio.to_thread(served.compare, processes, self.settings.profiles)

    async def _once(self, name: str, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Ask once; a check that is out of time takes nothing from the others that wait for the same."""
        if name not in self._asked:
            self._asked[name] = asyncio.create_task(ask(), name=f"doctor {name}")
        answer: Awaitable[T] = self._asked[name]
        return await asyncio.shield(answer)
