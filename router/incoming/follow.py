"""Following a mailbox: one connection for all its folders, opened again whenever it is lost.

Where a server grants fewer connections than there are mailboxes, they take turns: a mailbox that was read gives up its
connection when another waits.
"""

import asyncio
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import Final

import structlog

from router.errors import DatabaseError, LeaseLost, MessageWaits
from router.health import Health
from router.incoming.budget import Budget
from router.incoming.reader import Reader
from router.incoming.turns import Pauses, Slots
from router.model import Owner
from router.profile import IncomingProfile
from router.repository.database import Database
from router.repository.incoming import settle, sources
from router.repository.incoming.registry import Source
from router.repository.incoming.sources import Lease
from router.supervise import end_if_told
from router.workers.pool import Workers
from transports import MailboxSettings
from transports.base import Account
from transports.errors import Permanent, Temporary, TransportError, Unauthorized, Unreachable

_log = structlog.get_logger(__name__)

FAULT: Final = "a mailbox is at fault, and tried again"
"""The log's line for a mailbox, or a folder of one, that cannot be read."""

_WAITS_FOR = 30.0  # seconds until a message that waits, most often for a lock, is tried again
_FOLDERS_LAST = 60.0  # seconds after which the server is asked again which folders there are


def primary_source(profile: IncomingProfile, settings: MailboxSettings, owner: Owner | None) -> Source:
    """The source that stands for a whole mailbox, a forward one if it has no owner: its holder reads all folders."""
    return _source(profile, owner, settings.primary_folder)


def _source(profile: IncomingProfile, owner: Owner | None, folder: str) -> Source:
    start = profile.start
    begins_at = start if isinstance(start, str) else datetime.combine(start, time(), UTC)
    mailbox = owner.mailbox if owner else ""
    account = profile.account_of(mailbox)
    return Source(profile.name, mailbox, account, folder, owner.id if owner else None, begins_at)


class Follower:
    """Follows one mailbox, as long as this process holds it. `owner` may be renewed while it runs."""

    def __init__(
        self,
        database: Database,
        workers: Workers,
        profile: IncomingProfile,
        settings: MailboxSettings,
        owner: Owner | None,
        lease: Lease,
        slots: Slots,
        health: Health,
        budget: Budget,
    ) -> None:
        """`health` is that of the mailbox as a whole, and of its first folder's source."""
        self._database = database
        self._workers = workers
        self._profile = profile
        self._settings = settings
        self.owner = owner
        self._lease = lease
        self._slots = slots
        self._budget = budget
        self._health = health
        self._readers: dict[str, Reader] = {}
        self._healths: dict[int, Health] = {lease.source_id: health}  # by source
        self._waiting: set[str] = set()  # the folders in which a message waits
        self._folders = ExitStack()
        self._retry = asyncio.Event()
        self._log = _log.bind(profile=profile.name, mailbox=owner.mailbox if owner else None)

    def retry(self) -> None:
        """Try again now what failed: its cause may have ended, as when a password was put right."""
        self._retry.set()

    async def run(self) -> None:
        """Follow until canceled or another process holds it. What fails is tried again, ever more slowly."""
        with self._folders:
            await self._run()

    async def _run(self) -> None:
        pauses = Pauses()
        while True:
            if self._retry.is_set():
                # Cleared before we log in, so that what is put right during the login is not forgotten.
                self._retry.clear()
                pauses.reset()
            try:
                async with self._slots, self._open() as account:
                    await self._follow(account, pauses)
                # Another mailbox has its turn; this one is looked at again as often as the profile polls.
                await asyncio.sleep(self._settings.poll)
            except LeaseLost as error:
                self._log.warning("let go of a mailbox", reason=str(error))
                return
            except (TransportError, DatabaseError) as error:
                end_if_told(error)
                pause = pauses.next(error)
                await self._health.fails(str(error), pause)
                await self._pause(pause)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._retry.wait()

    def _open(self) -> Account:
        return self._profile.open(self.owner.mailbox if self.owner else "")

    async def _follow(self, account: Account, pauses: Pauses) -> None:
        clock = asyncio.get_running_loop().time
        taken_at = clock()
        await self._claim_folders(account)
        while True:
            waiting = [name for name in self._waiting if name in self._readers]
            for name in dict.fromkeys([*await account.changed(), *await self._with_rest(), *waiting]):
                await self._read(account, name)
            if self._slots.wanted or not await self._wait(account):
                return
            # Only now has the connection proven that it lasts.
            pauses.reset()
            if clock() - taken_at > _FOLDERS_LAST:
                taken_at = clock()
                await self._claim_folders(account)

    async def _claim_folders(self, account: Account) -> None:
        """Learn which folders there are, and take those that are new."""
        folders = {folder.name: folder for folder in await account.folders()}
        wanted = {name: self._source_of(name) for name in folders}
        leases = await sources.claim_folders(self._database, self._lease, list(wanted.values()))
        self._readers = {
            name: self._readers.get(name)
            or Reader(
                self._database, self._workers, self._profile, self.owner, folder, leases[wanted[name]], self._budget
            )
            for name, folder in folders.items()
        }
        for name in folders:
            account.folder(name)

    def _source_of(self, name: str) -> Source:
        source = _source(self._profile, self.owner, name)
        # A folder made later holds what has come since the mailbox began, not only what comes from now on.
        began = self._lease.begins_at if self._lease.begun else None
        return replace(source, begins_at=began) if began and source.begins_at == "now" else source

    async def _read(self, account: Account, name: str) -> None:
        reader = self._readers[name]
        reader.owner = self.owner
        health = self._health_of(name, reader.lease.source_id)
        try:
            await reader.read(account.folder(name))
        except (Permanent, Temporary) as error:
            if self._concerns_all(error):
                raise
            await health.fails(str(error))
        except MessageWaits as error:
            self._waiting.add(name)
            await health.fails(str(error), self._look_after)
        else:
            self._waiting.discard(name)
            await health.works()
        if reader.lease.source_id == self._lease.source_id:
            self._lease = reader.lease

    def _concerns_all(self, error: Permanent | Temporary) -> bool:
        """Whether it ends the turn; what is refused to one of several folders stops no other, and is tried again."""
        if isinstance(error, Permanent):
            return isinstance(error, Unauthorized)
        return isinstance(error, Unreachable) or error.retry_after is not None or len(self._readers) == 1

    async def _with_rest(self) -> list[str]:
        """The folders in which something is to be decided again, or settled: left by a crash, the CRM's, or due."""
        names = {reader.lease.source_id: name for name, reader in self._readers.items()}
        delay = timedelta(days=self._profile.after.days)
        return [names[source_id] for source_id in await settle.with_rest(self._database, list(names), delay)]

    async def _wait(self, account: Account) -> bool:
        """Wait for news; False: another mailbox wants the connection, and this one is of no more use."""
        tasks = [
            asyncio.ensure_future(account.wait(self._look_after)),
            asyncio.ensure_future(self._slots.until_wanted()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()
        return tasks[0] in done

    @property
    def _look_after(self) -> float:
        """Seconds until the next look, if the server tells of nothing earlier."""
        return min(self._settings.poll, _WAITS_FOR) if self._waiting else self._settings.poll

    def _health_of(self, folder: str, source_id: int) -> Health:
        if source_id not in self._healths:
            note = partial(sources.note_fault, self._database, source_id, lease=self._readers[folder].lease)
            health = Health(FAULT, note, self._log.bind(folder=folder), kind="folder", profile=self._profile.name)
            self._healths[source_id] = self._folders.enter_context(health)
        return self._healths[source_id]
