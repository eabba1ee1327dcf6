"""Auditing a mailbox: each message that the server really holds is accounted for, or missing.

It is asked over a connection of its own, which only fetches; so it needs no lease, works beside a running router as
well as without one, and marks nothing. The first that fits accounts for a message:

    it has a disposition at its place
    it came before reading began
    it is still to be read, beyond the cursor
    its owner's rule is `none`
    the same message, which says the same, has a disposition elsewhere in the mailbox

The cursor is read first, then the server is asked, then the dispositions are read. A cursor moves only together with
the dispositions of all that it moves over; so what is behind it and has none had none at any time, also while mail
flows. What cannot be told for certain, such as mail around the moment at which reading began, is not called missing.

A message that is missing is brought in as any other, if that is asked for: unique keys see to it that it comes once.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Final

from router.incoming.accounting import Accountant
from router.incoming.audited import Accounted, FolderAudit, MailboxAudit
from router.incoming.start import Start
from router.incoming.turns import Pauses, Slots
from router.model import Owner
from router.profile import IncomingProfile
from router.repository.database import Database
from router.repository.incoming import audit as repository
from router.repository.incoming.audit import AuditedSource, UnderWay
from router.workers.pool import Workers
from transports.base import Account, Folder, Present
from transports.errors import CursorLost, Permanent, Temporary, Unauthorized, Unreachable

PAUSE: Final = 0.05
"""Seconds between two pages of a folder, so that no server is burdened: 500,000 messages are a minute of pauses."""

PATIENCE: Final = 60.0
"""Seconds to wait for one of the profile's connections: another mailbox may be reading years of mail."""

TRIES: Final = 3
"""How often in a row a mailbox, or a folder, may fail before it is given up for this audit."""

_NOTED_EVERY: Final = 5.0  # seconds after which it is noted how far an audit has come

_NO_CONNECTION: Final = (
    f"no connection of the profile was free for {PATIENCE:g} seconds: an audit needs one beside those that read "
    "(max_connections)"
)
_RENAMED: Final = "the profile names another account than the one that was read: the router has to look into it first"


class Auditor:
    """Audits one mailbox; a forward mailbox has no owner. Its `audit` is up to date at any time.

    Its connection is one of `slots`: where another mailbox waits for one, it gives its own up after each page. With
    `repair` it brings in what is missing. `tell` is called after each page.
    """

    def __init__(
        self,
        database: Database,
        workers: Workers,
        profile: IncomingProfile,
        owner: Owner | None,
        slots: Slots,
        *,
        repair: bool = False,
        pause: float = PAUSE,
        tell: Callable[[MailboxAudit], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._workers = workers
        self._profile = profile
        self._owner = owner
        self._slots = slots
        self._repair = repair
        self._pause = pause
        self._tell = tell
        mailbox = owner.mailbox if owner else ""
        self._account = profile.account_of(mailbox)
        self._identity = mailbox or self._account
        self._noted_at = 0.0
        self._began = datetime.now(UTC)
        self.audit = MailboxAudit(profile.name, mailbox)

    async def run(self) -> MailboxAudit:
        """Audit all folders that are read. What the server refuses is a fault of the audit; raises DatabaseError."""
        pauses, failed = Pauses(), 0
        while True:
            before = self.audit.tally.messages
            try:
                async with AsyncExitStack() as stack:
                    async with asyncio.timeout(PATIENCE):
                        # Who reads goes first: where each mailbox has its connection, none gives it up for an audit.
                        await self._slots.until_spare()
                        await stack.enter_async_context(self._slots)
                    account = await stack.enter_async_context(self._profile.open(self.audit.mailbox))
                    if await self._through(account):
                        break
            except TimeoutError:
                self._fail(_NO_CONNECTION)
                break
            except Temporary as error:
                failed = 1 if self.audit.tally.messages > before else failed + 1
                if failed > TRIES:
                    self.audit.unreachable = isinstance(error, Unreachable)
                    self._fail(str(error))
                    break
                await asyncio.sleep(pauses.next(error))
            except Permanent as error:
                self._fail(str(error))
                break
        await self._note_faults()
        return self.audit

    async def give_up(self, fault: str) -> None:
        """Say why an audit that was stopped has not ended. Raises DatabaseError."""
        self._fail(fault)
        await self._note_faults()

    def _fail(self, fault: str) -> None:
        self.audit.fault = fault
        for folder in self.audit.folders.values():
            if not folder.done:
                folder.fail(fault)

    async def _through(self, account: Account) -> bool:
        """Go through the folders that are left; False: another mailbox wants the connection."""
        folders = await account.folders()
        names = {folder.name for folder in folders}
        if not self.audit.folders:
            counts = await account.counts()
            self.audit.not_read = {name: number for name, number in counts.items() if name not in names and number}
        sources = await repository.read_sources(self._database, self._identity)
        for folder in folders:
            self.audit.folders.setdefault(folder.name, FolderAudit(folder.name))
        for folder in folders:
            one = self.audit.folders[folder.name]
            if one.done:
                continue
            try:
                if not await self._folder(account, folder, one, sources):
                    return False
            except Unauthorized:
                raise
            except Permanent as error:
                one.fail(str(error))
            except Temporary as error:
                one.failures += 1
                if one.failures > TRIES:
                    one.fail(str(error))
                raise
        return True

    async def _folder(
        self, account: Account, folder: Folder, one: FolderAudit, sources: Mapping[str, AuditedSource]
    ) -> bool:
        source = sources.get(folder.name)
        if source is not None:
            one.reading_fault = source.fault
            if source.account != self._account:
                one.fail(_RENAMED)
                return True
            if source.under_way and one.last is None and not one.read_anew:
                one.resumed = one.begun_at = source.under_way.begun_at
                one.last, one.accounted = source.under_way.last, Accounted(source.under_way.tally)
        cursor = source.cursor if source else None
        mailbox = account.folder(folder.name)
        accountant = Accountant(
            self._database,
            self._workers,
            self._profile,
            self._owner,
            mailbox,
            folder,
            source.id if source else None,
            Start.of(self._profile, source, sources),
            identity=self._identity,
            began=self._began,
            repair=self._repair,
        )
        try:
            return await self._pages(mailbox.present(cursor, one.last), accountant, source, one)
        except CursorLost as error:
            if cursor is None:
                raise Temporary(str(error)) from error
            # What has a disposition keeps it; the rest waits until the router has read the folder again.
            one.begin_again()
            one.read_anew = str(error)
            try:
                return await self._pages(mailbox.present(None), accountant, source, one)
            except CursorLost as again:
                raise Temporary(str(again)) from again

    async def _pages(
        self,
        pages: AsyncIterator[Sequence[Present]],
        accountant: Accountant,
        source: AuditedSource | None,
        one: FolderAudit,
    ) -> bool:
        async for page in pages:
            await asyncio.sleep(self._pause)
            if one.last is not None and one.last.validity != page[0].place.validity:
                one.begin_again()  # it was made anew since, and so this is its first page
            one.accounted.add(await accountant.account_for(page))
            one.last, one.failures = page[-1].place, 0
            self._tell(self.audit)
            if source is not None:
                await self._note_under_way(source.id, one)
            if self._slots.wanted:
                return False
        one.done = True
        if source is not None:
            await repository.note_ended(self._database, source.id, one.tally)
        return True

    async def _note_under_way(self, source_id: int, one: FolderAudit) -> None:
        """Note how far it has come. What is missing is looked for again by whoever goes on, so it ends there."""
        now = asyncio.get_running_loop().time()
        if one.tally.missing or one.last is None or now - self._noted_at < _NOTED_EVERY:
            return
        self._noted_at = now
        await repository.note_under_way(self._database, source_id, UnderWay(one.begun_at, one.last, one.tally))

    async def _note_faults(self) -> None:
        sources = await repository.read_sources(self._database, self._identity)
        for name, source in sources.items():
            folder = self.audit.folders.get(name)
            fault = folder.fault if folder else self.audit.fault
            if fault:
                await repository.note_fault(self._database, source.id, fault)
