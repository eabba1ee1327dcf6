"""Backfill: the past of a mailbox is judged as new mail is, because a person asks for it.

What came before reading began has no disposition, and what a rule ignored keeps that one, though the rule is wider
now. Here both are decided on by today's rule, as far back as a day:

    no disposition at its place, and not to be read yet   decided, as new mail is
    ignored                                               decided anew
    promoted, duplicate, held, dead                       stays

Nothing is acknowledged. It goes over a connection of its own that only fetches, as an audit does: so it needs no lease,
and a running router goes on reading and settles what comes of it. As each decision stands at its place, and is made
under a lock on the message's key, a message comes once, whoever brings it. How far it came is noted with each page, and
the next backfill of the same day goes on there.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Final

import structlog

from router.decide import decide_batch
from router.incoming.copies import Delivered, read_messages
from router.incoming.fetch import fetch_groups
from router.incoming.promote import Promoter, promote_and_tell
from router.incoming.reader import destroys, settles_of
from router.incoming.turns import Pauses
from router.model import Copy, Decision, Disposition, Owner, Ruling
from router.profile import IncomingProfile
from router.repository.database import Database
from router.repository.incoming import audit, backfill, inbox
from router.repository.incoming.audit import AuditedSource
from router.repository.incoming.batch import Batch
from router.workers.pool import Workers
from transports.base import Account, Folder, Mailbox, Place, Present, Received
from transports.errors import CursorLost, Permanent, Temporary

TRIES: Final = 3
"""How often in a row the mail server may fail before the mailbox is given up."""

OLDER, DECIDED_BEFORE, TO_BE_READ = "older", "decided_before", "to_be_read"
"""What keeps a message as it is (`Backfilled.counts`)."""

_NEVER_READ: Final = "it was never read: run the router first, so that it begins"
_RENAMED: Final = "the profile names another account than the one that was read: the router has to look into it first"

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Backfilled:
    """What came of the past of one mailbox so far.

    `total` is how many messages its folders hold. `counts` tells of those that were looked at how many got which
    disposition now; how many are `older` than asked for, were `decided_before`, or are `to_be_read` anyway. `faults`
    tells for each folder ("" the mailbox) why it was not brought in to its end; `resumed` since when, where it goes on
    with what another backfill began.
    """

    profile: str
    mailbox: str
    total: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)
    resumed: dict[str, datetime] = field(default_factory=dict)

    @property
    def looked_at(self) -> int:
        """How many messages were looked at."""
        return self.counts.total()


class Backfill:
    """Brings in the past of one mailbox. `rehearsed`: it is only told what would become of it.

    `tell` is called after each page. `by` is the name of the person who asked for it.
    """

    def __init__(
        self,
        database: Database,
        workers: Workers,
        profile: IncomingProfile,
        owner: Owner,
        since: date,
        by: str,
        *,
        rehearsed: bool = False,
        tell: Callable[[Backfilled], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._workers = workers
        self._profile = profile
        self._owner = owner
        self._day = since
        self._since = datetime(since.year, since.month, since.day, tzinfo=UTC)
        self._by = by
        self._rehearsed = rehearsed
        self._tell = tell
        self._promoter = Promoter(database)
        self._began = datetime.now(UTC)
        self._done: set[str] = set()
        self._last: dict[str, Place] = {}
        self._log = _log.bind(profile=profile.name, mailbox=owner.mailbox)
        self.came_to = Backfilled(profile.name, owner.mailbox)

    async def run(self) -> Backfilled:
        """Go through all folders that are read. What the server refuses is told as a fault; raises DatabaseError."""
        pauses, failed = Pauses(), 0
        while True:
            before = self.came_to.looked_at
            try:
                async with self._profile.open(self._owner.mailbox) as account:
                    await self._through(account)
            except Temporary as error:
                failed = 1 if self.came_to.looked_at > before else failed + 1
                if failed > TRIES:
                    self.came_to.faults[""] = str(error)
                    return self.came_to
                await asyncio.sleep(pauses.next(error))
            except Permanent as error:
                self.came_to.faults[""] = str(error)
                return self.came_to
            else:
                return self.came_to

    async def _through(self, account: Account) -> None:
        folders = await account.folders()
        counts = await account.counts()
        self.came_to.total = sum(counts.get(folder.name, 0) for folder in folders)
        sources = await audit.read_sources(self._database, self._owner.mailbox)
        for folder in folders:
            if folder.name in self._done:
                continue
            source = sources.get(folder.name)
            if source is None or not source.begun:
                self.came_to.faults[folder.name] = _NEVER_READ
            elif source.account != self._profile.account_of(self._owner.mailbox):
                self.came_to.faults[folder.name] = _RENAMED
            else:
                await self._folder(account.folder(folder.name), folder, source)
            self._done.add(folder.name)

    async def _folder(self, mailbox: Mailbox, folder: Folder, source: AuditedSource) -> None:
        begun_at, counts = self._began, Counter[str]()
        last = self._last.get(folder.name)
        under_way = None if self._rehearsed else await backfill.read_under_way(self._database, source.id, self._day)
        if under_way is not None:
            begun_at, last, counts = under_way.begun_at, under_way.last, Counter(under_way.counts)
            if folder.name not in self._last:  # not by this backfill, which had to connect again
                self.came_to.resumed[folder.name] = begun_at
                self.came_to.counts += counts

        async def note(*, ended: bool) -> None:
            if not self._rehearsed:
                await backfill.note_progress(
                    self._database, source.id, self._day, self._by, begun_at, last, counts, ended=ended
                )

        async for page in self._pages(mailbox, source, last):
            found = await self._page(mailbox, folder, source.id, page)
            counts += found
            self.came_to.counts += found
            last = self._last[folder.name] = page[-1].place
            await note(ended=False)
            self._tell(self.came_to)
        await note(ended=True)

    async def _pages(
        self, mailbox: Mailbox, source: AuditedSource, last: Place | None
    ) -> AsyncIterator[Sequence[Present]]:
        try:
            async for page in mailbox.present(source.cursor, last):
                yield page
        except CursorLost as error:
            raise Temporary(f"the router has to read the folder again first: {error}") from error

    async def _page(self, mailbox: Mailbox, folder: Folder, source_id: int, page: Sequence[Present]) -> Counter[str]:
        """Bring in a page of messages; what it comes to."""
        found = Counter[str]()
        judged = await backfill.judged(self._database, source_id, [present.place for present in page])
        wanted: dict[Place, Present] = {}
        for present in page:
            before = judged.get(present.place)
            if present.received_at is not None and present.received_at < self._since:
                found[OLDER] += 1
            elif before is not None and before.disposition is not Disposition.IGNORED:
                found[DECIDED_BEFORE] += 1
            elif before is None and present.waits:
                found[TO_BE_READ] += 1
            else:
                wanted[present.place] = present
        clock = asyncio.get_running_loop().time
        async for received in fetch_groups(mailbox, list(wanted), "whole"):
            began = clock()
            copies = await self._read(folder, source_id, received)
            young = [copy for copy in copies if wanted[copy.place].received_at or self._is_young(copy)]
            found[OLDER] += len(copies) - len(young)
            ruled = [replace(copy, ruling=self._ruling(judged.get(copy.place))) for copy in young]
            for decision in await self._decide(ruled):
                found[DECIDED_BEFORE if decision.decided_before else decision.disposition.value] += 1
            # As long as it took: half of the time is everybody else's.
            await asyncio.sleep(clock() - began)
        return found

    def _ruling(self, before: backfill.Judged | None) -> Ruling:
        return Ruling(self._by, "backfilled", before.decision_id if before else None)

    async def _read(self, folder: Folder, source_id: int, received: Sequence[Received]) -> Sequence[Copy]:
        delivered = [Delivered(self._owner, one, one.place, sent=folder.use == "sent") for one in received]
        return await read_messages(self._workers, delivered, source_id, self._profile)

    def _is_young(self, copy: Copy) -> bool:
        """Whether a message came since the day, where the server tells that only with the message, or not at all."""
        at = copy.received_at
        if at >= self._began and copy.judged:
            at = copy.message.date or at
        return at >= self._since

    async def _decide(self, copies: Sequence[Copy]) -> Sequence[Decision]:
        if not copies:
            return []
        if self._rehearsed:
            return await inbox.rehearse(self._database, copies, decide_batch, {})
        batch = Batch(copies, settles=settles_of(self._profile), destroys=destroys(self._profile), again=True)
        return await promote_and_tell(self._promoter, batch, self._profile.name, self._log)
