"""What this process says of itself in the database: that it lives, and what it serves, what not and why.

That it lives has a job of its own, and nothing else is in it: a process that is not heard of loses what it holds.
"""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from uuid import UUID

import structlog

from router.errors import DatabaseError, Mistake
from router.profile import check_owners
from router.profile.store import ProfileStore
from router.repository import processes
from router.repository.database import Database
from router.repository.heartbeat import Heartbeat
from router.repository.owners.owners import list_owners

_log = structlog.get_logger(__name__)


class Presence:
    """One process, as others see it."""

    def __init__(self, database: Database, heartbeat: Heartbeat, store: ProfileStore, process_id: UUID) -> None:
        self._database = database
        self._heartbeat = heartbeat
        self._store = store
        self._process_id = process_id
        self._changed = asyncio.Event()
        self._told: Collection[Mistake] = ()
        self._waiting: set[str] = set()

    async def beat(self) -> None:
        """Say that this process lives, often enough that one lost word does no harm, until canceled."""
        clock = asyncio.get_running_loop().time
        with self._heartbeat:
            while True:
                began = clock()
                try:
                    await self._heartbeat.beat()
                except DatabaseError as error:
                    _log.warning("the database does not hear us", reason=str(error))
                # One whose answer did not come in time has had its pause.
                await asyncio.sleep(began + self._heartbeat.pause - clock())

    def changed(self) -> None:
        """Let `tell` say anew what is served: the profiles have changed."""
        self._changed.set()

    async def tell(self) -> None:
        """Say what is served, what is not and why, and whose mail is not read; after each change, until canceled."""
        while True:
            self._changed.clear()
            try:
                await self._tell()
            except DatabaseError as error:
                _log.debug("what is served cannot be told now", reason=str(error))
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._heartbeat.pause):
                        await self._changed.wait()
            else:
                await self._changed.wait()

    async def _tell(self) -> None:
        await self._note_profiles()
        owners = await list_owners(self._database)
        mistakes = check_owners(self._store.profiles, owners)
        for mistake in mistakes:
            if mistake not in self._told:
                _log.warning(str(mistake))
        self._told = mistakes
        waiting = {one.mailbox for one in owners if not one.approved}
        if waiting - self._waiting:
            cure = "email-router owners approve MAILBOX"
            event = "owners wait for approval, nothing of theirs is read or sent"
            _log.warning(event, owners=len(waiting), next=cure)
        self._waiting = waiting

    async def _note_profiles(self) -> None:
        store = self._store
        await processes.note_profiles(self._database, self._process_id, store.told)
        # Those of profiles in use are told with them.
        others = [one for one in map(str, store.mistakes) if not any(one in fault for fault in store.faults.values())]
        await processes.note_fault(self._database, self._process_id, processes.FOLDER, "; ".join(others) or None)
