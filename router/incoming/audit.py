"""Auditing a mailbox: each message that the server really holds is accounted for, or missing.

It is asked over a connection of its own, which only fetches; so it needs no lease, works beside a running router as
well as without one, and marks nothing. The first that fits accounts for a message:

    it has a disposition at its place        it came before reading began      it is still to be read, beyond the cursor
    its owner's rule is `none`               its message has a disposition elsewhere in the mailbox

The cursor is read first, then the server is asked, then the dispositions are read. A cursor moves only together with
the dispositions of all that it moves over; so what is behind it and has none had none at any time, also while mail
flows. What cannot be told for certain, such as mail around the moment at which reading began, is not called missing.

A message that is missing is brought in as any other, if that is asked for: unique keys see to it that it comes once.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Final

import structlog

from router.errors import DatabaseAway
from router.incoming.copies import Delivered, read_messages
from router.incoming.forward import read_forwards
from router.incoming.promote import Promoter, promote_and_tell
from router.incoming.reader import destroys, settles_of
from router.incoming.turns import Pauses, Slots
from router.model import Copy, Disposition, Owner, Rule
from router.model.audit import Tally
from router.profile import IncomingProfile
from router.repository import audit as repository
from router.repository.audit import AuditedSource, UnderWay
from router.repository.batch import Batch
from router.repository.database import Database
from router.workers.pool import Workers
from transports.base import (
    Account,
    CursorLost,
    Folder,
    Mailbox,
    Part,
    Permanent,
    Place,
    Present,
    Received,
    Temporary,
    Unauthorized,
    Unreachable,
)

PAUSE: Final = 0.05
"""Seconds between two pages of a folder, so that no server is burdened: 500,000 messages are a minute of pauses."""

TRIES: Final = 3
"""How often in a row a mailbox, or a folder, may fail before it is given up for this audit."""

MOST_TOLD: Final = 1000
"""Missing messages of one folder that are named; all of them are counted."""

_HEADERS: Final = 50  # header blocks in memory at once, each of 200,000 bytes at most
_WHOLE: Final = 10  # whole messages in memory at once, whose sizes are not known
_NOTED_EVERY: Final = 5.0  # seconds after which it is noted how far an audit has come

# How far dates may lead beyond where reading began: where the server's numbers tell what came since then, or reading
# began with a date, little; elsewhere dates alone tell, by the server's clock or even the sender's.
_CLOCKS, _DATES = timedelta(minutes=5), timedelta(days=1)

_RENAMED: Final = "the profile names another account than the one that was read: the router has to look into it first"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class MissingCopy:
    """A message that nothing accounts for. Who sent it and what it says is not told: its owner may keep it private.

    `message_id` is None where it has none, or could not be read; `fault` says why it could not be fetched or stored.
    `became` is what it was made once it was brought in.
    """

    place: Place
    received_at: datetime
    message_id: str | None = None
    fault: str | None = None
    became: Disposition | None = None


@dataclass(slots=True)
class FolderAudit:
    """The audit of one folder, as far as it has come.

    `fault`: why it was not audited to its end. `reading_fault`: what the router finds wrong with the folder.
    `read_anew`: why the router reads it from its beginning. `resumed`: since when, if it goes on where another audit
    was interrupted. Of what is `missing`, or was and is `brought_in`, the first `MOST_TOLD` are named.
    """

    name: str
    tally: Tally = field(default_factory=Tally)
    missing: list[MissingCopy] = field(default_factory=list)
    brought_in: list[MissingCopy] = field(default_factory=list)
    fault: str | None = None
    reading_fault: str | None = None
    read_anew: str | None = None
    resumed: datetime | None = None
    done: bool = False
    last: Place | None = None
    begun_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    failed: int = 0

    def begin_again(self) -> None:
        """Count from the first message again."""
        self.tally, self.missing, self.brought_in, self.last, self.resumed = Tally(), [], [], None, None
        self.begun_at = datetime.now(UTC)

    def fail(self, fault: str) -> None:
        """Give it up."""
        self.fault, self.done = fault, True


@dataclass(slots=True)
class MailboxAudit:
    """The audit of one mailbox; `mailbox` is empty for a forward mailbox.

    `not_read`: how many messages lie in the folders that are not read. `fault`: why the mailbox could not be audited;
    folders that are among `folders` were, unless they have a fault of their own. `unreachable`: its server was away.
    """

    profile: str
    mailbox: str
    folders: dict[str, FolderAudit] = field(default_factory=dict)
    not_read: Mapping[str, int] = field(default_factory=dict)
    fault: str | None = None
    unreachable: bool = False

    @property
    def tally(self) -> Tally:
        """What all folders come to."""
        total = Tally()
        for folder in self.folders.values():
            total.add(folder.tally)
        return total

    @property
    def faults(self) -> Sequence[tuple[str, str]]:
        """What was not audited, each folder ("" the mailbox as a whole) with the reason."""
        whole = [("", self.fault)] if self.fault else []
        return whole + [(one.name, one.fault) for one in self.folders.values() if one.fault]


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
        self._rule = (owner and owner.rule) or profile.tracking_rule
        self._promoter = Promoter(database)
        self._log = _log.bind(profile=profile.name, mailbox=mailbox or None)
        self._noted_at = 0.0
        self._began = datetime.now(UTC)
        self.audit = MailboxAudit(profile.name, mailbox)

    async def run(self) -> MailboxAudit:
        """Audit all folders that are read. What the server refuses is a fault of the audit; raises DatabaseError."""
        pauses, failed = Pauses(), 0
        while True:
            before = self.audit.tally.messages
            try:
                async with self._slots, self._profile.open(self.audit.mailbox) as account:
                    if await self._through(account):
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
        sources = await repository.read_sources(self._database, self.audit.mailbox or self._account)
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
                one.failed += 1
                if one.failed > TRIES:
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
                one.last, one.tally = source.under_way.last, source.under_way.tally
        folder_of = _Folder(folder, source, _Start.of(self._profile, source, sources))
        cursor = source.cursor if source else None
        mailbox = account.folder(folder.name)
        try:
            return await self._pages(mailbox, mailbox.present(cursor, one.last), folder_of, one)
        except CursorLost as error:
            if cursor is None:
                raise Temporary(str(error)) from error
            # What has a disposition keeps it; the rest waits until the router has read the folder again.
            one.begin_again()
            one.read_anew = str(error)
            try:
                return await self._pages(mailbox, mailbox.present(None), folder_of, one)
            except CursorLost as again:
                raise Temporary(str(again)) from again

    async def _pages(
        self, mailbox: Mailbox, pages: AsyncIterator[Sequence[Present]], folder: "_Folder", one: FolderAudit
    ) -> bool:
        async for page in pages:
            await asyncio.sleep(self._pause)
            if one.last is not None and one.last.validity != page[0].place.validity:
                one.begin_again()  # it was made anew since, and so this is its first page
            await self._page(mailbox, page, folder, one)
            one.last, one.failed = page[-1].place, 0
            self._tell(self.audit)
            await self._note_under_way(folder, one)
            if self._slots.wanted:
                return False
        one.done = True
        if folder.source is not None:
            await repository.note_ended(self._database, folder.source.id, one.tally)
        return True

    async def _note_under_way(self, folder: "_Folder", one: FolderAudit) -> None:
        """Note how far it has come. What is missing is looked for again by whoever goes on, so it ends there."""
        now = asyncio.get_running_loop().time()
        if folder.source is None or one.missing or one.last is None or now - self._noted_at < _NOTED_EVERY:
            return
        self._noted_at = now
        under_way = UnderWay(one.begun_at, one.last, one.tally)
        await repository.note_under_way(self._database, folder.source.id, under_way)

    async def _note_faults(self) -> None:
        sources = await repository.read_sources(self._database, self.audit.mailbox or self._account)
        for name, source in sources.items():
            folder = self.audit.folders.get(name)
            fault = folder.fault if folder else self.audit.fault
            if fault:
                await repository.note_fault(self._database, source.id, fault)

    # One page

    async def _page(self, mailbox: Mailbox, page: Sequence[Present], folder: "_Folder", one: FolderAudit) -> None:
        decided = await self._decided(folder, [present.place for present in page])
        tally, rest = one.tally, []
        tally.dispositions.update(decided.values())
        for present in page:
            if present.place in decided:
                continue
            if folder.start.passes(present):
                tally.before_start += 1
            elif present.waits:
                tally.waiting += 1
            elif folder.start.may_pass(present):
                tally.before_start += 1
            elif self._owner is not None and self._rule is Rule.NONE:
                tally.rule_none += 1
            else:
                rest.append(present)
        async for received in _groups(mailbox, [present.place for present in rest], "headers", _HEADERS):
            await self._examine(mailbox, received, folder, one)

    async def _examine(
        self, mailbox: Mailbox, received: Sequence[Received], folder: "_Folder", one: FolderAudit
    ) -> None:
        """Account for messages behind the cursor that have no disposition at their place, by what their headers say."""
        assert folder.source is not None  # of another, all messages wait
        start, tally = folder.start, one.tally
        dated = [got for got in received if got.received_at >= self._began or not start.may_pass_date(got.received_at)]
        tally.before_start += len(received) - len(dated)
        copies = await self._read(dated, folder, "headers")
        keys = await self._known(mailbox, copies, folder)
        candidates = []
        for copy in copies:
            if disposition := keys.get(copy.place):
                tally.dispositions[disposition] += 1
                tally.elsewhere += 1
            # The server does not tell when it came: its sender does.
            elif copy.received_at >= self._began and start.may_pass_date(copy.message.date if copy.judged else None):
                tally.before_start += 1
            else:
                candidates.append(copy)
        decided = await self._decided(folder, [copy.place for copy in candidates])
        tally.dispositions.update(decided.values())
        faults = {got.place: got.fault for got in received if got.fault}
        missing = [
            MissingCopy(
                copy.place,
                copy.received_at,
                copy.message.message_id if copy.judged else None,
                faults.get(copy.place),
            )
            for copy in candidates
            if copy.place not in decided
        ]
        if missing and self._repair:
            missing = await self._mend(mailbox, missing, folder, one)
        tally.missing += len(missing)
        one.missing += missing[: MOST_TOLD - len(one.missing)]

    async def _mend(
        self, mailbox: Mailbox, missing: Sequence[MissingCopy], folder: "_Folder", one: FolderAudit
    ) -> list[MissingCopy]:
        """Bring messages in; return those that are missing still."""
        faults = await self._bring_in(mailbox, [copy.place for copy in missing], folder)
        now = await self._decided(folder, [copy.place for copy in missing])
        one.tally.dispositions.update(now.values())
        one.tally.brought_in += len(now)
        brought_in = [replace(copy, fault=None, became=now[copy.place]) for copy in missing if copy.place in now]
        one.brought_in += brought_in[: MOST_TOLD - len(one.brought_in)]
        rest = (copy for copy in missing if copy.place not in now)
        return [replace(copy, fault=faults.get(copy.place) or copy.fault) for copy in rest]

    async def _decided(self, folder: "_Folder", places: Sequence[Place]) -> dict[Place, Disposition]:
        if folder.source is None or not places:
            return {}
        return await repository.decided(self._database, folder.source.id, places, forwards=self._profile.forwards)

    async def _read(self, received: Sequence[Received], folder: "_Folder", part: Part) -> Sequence[Copy]:
        if not received or folder.source is None:
            return []
        sent = folder.folder.use == "sent"
        delivered = [Delivered(self._owner, one, one.place, sent) for one in received]
        return await read_messages(self._workers, delivered, folder.source.id, self._profile, part)

    async def _known(
        self, mailbox: Mailbox, copies: Collection[Copy], folder: "_Folder"
    ) -> Mapping[Place, Disposition]:
        """Tell which messages have a disposition elsewhere in the mailbox. Of forwarded mail only its place tells."""
        if self._owner is None:
            return {}
        keys: dict[Place, bytes] = {}
        # The key of a message without Message-ID or Date is made of all that it says.
        lacking = [copy.place for copy in copies if copy.judged and not (copy.message.message_id and copy.message.date)]
        async for received in _groups(mailbox, lacking, "whole", _WHOLE):
            whole = await self._read(received, folder, "whole")
            keys |= {copy.place: copy.key for copy in whole if copy.judged}
        keys |= {copy.place: copy.key for copy in copies if copy.judged and copy.place not in set(lacking)}
        known = await repository.known(self._database, self._owner.id, set(keys.values())) if keys else {}
        return {place: known[key] for place, key in keys.items() if key in known}

    async def _bring_in(self, mailbox: Mailbox, places: Sequence[Place], folder: "_Folder") -> Mapping[Place, str]:
        """Promote messages as any other; return why some could not be. The router settles them."""
        assert folder.source is not None
        faults: dict[Place, str] = {}
        async for received in _groups(mailbox, places, "whole", _WHOLE):
            if self._owner is None:
                copies: Sequence[Copy] = await read_forwards(
                    self._database, self._workers, received, folder.source.id, self._profile
                )
            else:
                copies = await self._read(received, folder, "whole")
            batch = Batch(
                copies,
                settles=settles_of(self._profile),
                destroys=destroys(self._profile),
                keeps=self._profile.forwards,
            )
            try:
                await promote_and_tell(self._promoter, batch, self._profile.name, self._log)
            except DatabaseAway as error:
                faults |= {one.place: f"it could not be stored now: {error}" for one in received}
        return faults


@dataclass(frozen=True, slots=True)
class _Start:
    """From when on a folder's mail is judged; `never`: it is not read yet, and begins at the present."""

    begins_at: datetime | None
    never: bool
    by_date: timedelta

    @classmethod
    def of(
        cls, profile: IncomingProfile, source: AuditedSource | None, sources: Mapping[str, AuditedSource]
    ) -> "_Start":
        # A folder that is new is read from where its mailbox began.
        of = source if source and source.begun else next((one for one in sources.values() if one.begun), None)
        by_date = _DATES if profile.start == "now" else _CLOCKS
        if of is not None:
            return cls(of.begins_at, never=False, by_date=by_date)
        if isinstance(profile.start, date):
            return cls(datetime.combine(profile.start, datetime.min.time(), UTC), never=False, by_date=by_date)
        return cls(None, never=profile.start == "now", by_date=by_date)

    def passes(self, present: Present) -> bool:
        """Whether reading passes over a message for certain: it lay there before, or is dated so."""
        if self.never or present.since_start is False:
            return True
        if self.begins_at is None or present.received_at is None:
            return False
        return present.received_at < self.begins_at.replace(microsecond=0)

    def may_pass(self, present: Present) -> bool:
        """Whether reading may have passed over a message, though clocks do not tell for certain."""
        if self.begins_at is None or present.received_at is None:
            return False
        return present.received_at <= self.begins_at + (_CLOCKS if present.since_start else self.by_date)

    def may_pass_date(self, at: datetime | None) -> bool:
        """Whether reading may have passed over a message of this date; None: nothing tells its date."""
        return self.begins_at is not None and (at is None or at <= self.begins_at + self.by_date)


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder, its source where it was ever to be read, and where that begins."""

    folder: Folder
    source: AuditedSource | None
    start: _Start


async def _groups(
    mailbox: Mailbox, places: Sequence[Place], part: Part, most: int
) -> AsyncIterator[Sequence[Received]]:
    """Fetch some at a time."""
    for group in _cut(places, most):
        if received := [one async for one in mailbox.fetch(group, part)]:
            yield received


def _cut(places: Sequence[Place], most: int) -> Iterator[Sequence[Place]]:
    return (places[start : start + most] for start in range(0, len(places), most))
