"""The way in for one folder of one mailbox: list → fetch → promote (decide inside) → settle."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import chain

import structlog

from router.errors import LeaseLost, MessageWaits
from router.incoming.budget import Budget, Held
from router.incoming.copies import Delivered, read_messages
from router.incoming.forward import read_forwards
from router.incoming.promote import Promoter, promote_and_tell
from router.model import Copy, Disposition, Owner, Rule
from router.profile import IncomingProfile
from router.repository.database import Database
from router.repository.incoming import accounts, again, audit, settle, sources
from router.repository.incoming.batch import Batch
from router.repository.incoming.sources import Lease
from router.workers.pool import Workers
from transports import batches
from transports.base import Cursor, Folder, Listed, Mailbox, Part, Place, Received, Settlement
from transports.errors import CursorLost, Missing, Permanent, Temporary

_log = structlog.get_logger(__name__)

_MESSAGES = 100  # the most of one transaction, and of one listing
_AGAIN = 10  # copies that are fetched at once to decide on them again: their sizes are not known
_AGAIN_SECONDS = 20.0  # after which those that wait keep new mail waiting no longer; the next read goes on behind them
_SETTLED = frozenset({Disposition.PROMOTED, Disposition.DUPLICATE})
_SAMPLE = 20  # copies that are looked for, to recognize a folder by them
_SLOWEST_CLOCK, _NONE = timedelta(days=1), timedelta()  # of mail servers; earlier is only old mail that is moved in
_PORTION_BYTES = 8 * 1024 * 1024  # of message contents, unless one message is larger; two are held in memory
_SECONDS, _LONGEST = 60.0, 3600.0  # in which a portion is to come, at least and at most, where others wait for its room
_RATE = 100_000  # bytes a second, at least, that a large portion is to come with


def settles_of(profile: IncomingProfile) -> frozenset[Disposition]:
    """Tell which copies the mail server is to be told of, by their dispositions."""
    if profile.after.action == "keep":
        return frozenset()
    # What was ignored in a forward mailbox goes too: the original is elsewhere.
    return _SETTLED | {Disposition.IGNORED} if profile.has_forwards_alone else _SETTLED


def destroys(profile: IncomingProfile) -> bool:
    """Tell whether settling takes copies away that their owners would miss."""
    return profile.after.action in ("delete", "move") and not profile.has_forwards_alone


class Reader:
    """Reads one folder of one mailbox, over a connection that is its caller's. `owner` may be renewed meanwhile.

    A forward mailbox has no owner: its mail is that of its forwarders.
    """

    def __init__(
        self,
        database: Database,
        workers: Workers,
        profile: IncomingProfile,
        owner: Owner | None,
        folder: Folder,
        lease: Lease,
        budget: Budget,
    ) -> None:
        self._budget = budget
        self._gave_way = 0
        self._database = database
        self._workers = workers
        self._profile = profile
        self.owner = owner
        self._sent = folder.use == "sent"
        self.lease = lease
        self._account = profile.account_of(owner.mailbox if owner else "")
        self._refusal_to_settle: Permanent | None = None
        self._waits = False  # a message does, or did when the folder was last read
        self._tried_again_to = 0  # the id of the last decision that was to be made again and was tried, until all were
        self._waits_again: MessageWaits | None = None  # of those
        self._promoter = Promoter(database)
        self._settles = settles_of(profile)
        self._log = _log.bind(profile=profile.name, mailbox=owner.mailbox if owner else None, folder=folder.name)

    async def read(self, mailbox: Mailbox) -> None:
        """Bring in all new mail, and settle the places that are decided and not settled.

        Raises TransportError, DatabaseError, LeaseLost. If the server refuses to settle, mail still comes in, and the
        refusal is raised at the end. So is MessageWaits, with how many do: all other mail is in.
        """
        self._refusal_to_settle = None
        if self.lease.account != self._account:
            await self._recognize(mailbox)
        if not self.lease.begun:
            present = (await mailbox.list(None, 0)).cursor
            self.lease = await sources.begin(self._database, self.lease, present)
        waits: MessageWaits | None = None
        number = 0
        async with aclosing(_one_ahead(self._portions(mailbox))) as portions:
            async for portion in portions:
                try:
                    # The cursor stays before a message that waits; what came after it does not wait for it.
                    await self._bring_in(mailbox, replace(portion, cursor=None) if waits else portion)
                except MessageWaits as error:
                    waits = error
                    number += error.count
                finally:
                    portion.held.release()
        # Only now does the mailbox know which places still mean something.
        try:
            await self._decide_again(mailbox)
        except MessageWaits as error:
            waits = error
            number += await again.count(self._database, self.lease.source_id)
        await self._settle_rest(mailbox)
        self._waits = waits is not None
        if waits is not None:
            raise MessageWaits(waits.reason, number) from waits
        if self._refusal_to_settle is not None:
            raise self._refusal_to_settle

    async def _recognize(self, mailbox: Mailbox) -> None:
        """Find out whether the account is the one that was read before: the profile says another name of it by now.

        Raises LeaseLost where it is not, and new sources have taken the place of the mailbox's.
        """
        # What was found in another folder holds for all of them.
        self.lease = await sources.renew(self._database, self.lease)
        if self.lease.account == self._account:
            return
        # Of a source from before accounts were noted, only the profile is known: another name of it tells nothing.
        noted = not self.lease.account.startswith("incoming.")
        expected = self.lease.account == f"incoming.{self._profile.name}"
        if self.lease.begun and not expected:
            same = await self._is_same(mailbox)
            if same is False or (same is None and noted):
                self._log.warning("another account than before: what came since the mailbox began is read")
                await accounts.begin_anew(self._database, self.lease, self._account)
                raise LeaseLost("it is read in another account from now on")
            if noted:
                self._log.info("the account goes by another name, and is the same: reading goes on")
        self.lease = await accounts.note_account(self._database, self.lease, self._account)

    async def _is_same(self, mailbox: Mailbox) -> bool | None:
        """Whether the cursor means something here, and the newest copy that is still there is where it was.

        None: no copy is, as when each is moved away once it is promoted.

        UIDVALIDITY alone proves little: some servers begin with 1 for every folder.
        """
        try:
            await mailbox.list(self.lease.cursor, 1)
        except CursorLost:
            return False
        for place, key in await accounts.newest_decided(self._database, self.lease.source_id, _SAMPLE):
            copies = await self._fetch(mailbox, [place])
            keys = {copy.key for copy in copies if copy.judged and copy.outer_place == place}
            if keys:
                return key in keys
        return None

    async def _portions(self, mailbox: Mailbox) -> AsyncIterator["_Portion"]:
        """Yield all that is new, oldest first, as it was read. Raises CursorLost where that happens twice."""
        cursor, more, lost = self.lease.cursor, True, False
        while more:
            try:
                listing = await mailbox.list(cursor, _MESSAGES)
            except CursorLost as error:
                if lost:
                    raise  # it has a pause, so that nobody lists a folder without end
                lost = True
                # From the beginning: what has a disposition keeps it, what is older than the start is passed.
                self._log.warning("the folder is read again", reason=str(error))
                cursor = None
                # What is no longer known of old mail is not judged again, and its start was put off meanwhile.
                renewed = await sources.renew(self._database, self.lease)
                self.lease = replace(self.lease, begins_at=renewed.begins_at)
                continue
            if listing.cursor == cursor:
                return
            # The server tells whole seconds.
            begins_at = self.lease.begins_at.replace(microsecond=0) - (_SLOWEST_CLOCK if listing.came_since else _NONE)
            copies = [listed for listed in listing.copies if listed.received_at >= begins_at]
            if self._waits:
                # The cursor stayed before what waits; what lay behind it is in.
                places = [listed.place for listed in copies]
                decided = await audit.decided(
                    self._database, self.lease.source_id, places, forwards=self._profile.forwards
                )
                copies = [listed for listed in copies if listed.place not in decided]
            portions = list(batches(copies, lambda listed: listed.size, _MESSAGES, _PORTION_BYTES)) or [[]]
            for number, portion in enumerate(portions, 1):
                # The cursor moves over all of them only with the last, so that nothing between is passed over.
                is_last = number == len(portions)
                yield await self._portion(mailbox, portion, listing.cursor if is_last else None)
            cursor, more = listing.cursor, listing.more

    async def _portion(self, mailbox: Mailbox, listed: Sequence[Listed], cursor: Cursor | None) -> "_Portion":
        """Fetch a portion, and hold its room. Raises Temporary where that takes long while others wait for room."""
        size = sum(one.size for one in listed)
        held = await self._budget.take(size)
        # Who gave way has more time the next time, so that in the end even the slowest gets through.
        seconds = min((_SECONDS + size / _RATE) * 2**self._gave_way, _LONGEST)
        try:
            part = self._part()
            receiving = self._receive(mailbox, [one.place for one in listed], part)
            received = await self._budget.unless_wanted(receiving, seconds)
            held.resize(sum(len(one.content) for one in received))
            copies = await self._read(received, part)
        except TimeoutError:
            held.release()
            self._gave_way += 1
            words = (
                f"{size} bytes did not come in {seconds:.0f} s, and other mailboxes waited for the room to read them"
            )
            raise Temporary(words) from None
        except BaseException:
            held.release()
            raise
        self._gave_way = 0
        return _Portion(copies, cursor, held)

    async def _fetch(self, mailbox: Mailbox, places: Sequence[Place]) -> Sequence[Copy]:
        part = self._part()
        return await self._read(await self._receive(mailbox, places, part), part)

    def _part(self) -> Part:
        """What is fetched of a message. The rule may change while it is fetched, so it is asked once."""
        headers_only = self.owner is not None and (self.owner.rule or self._profile.tracking_rule) is Rule.NONE
        return "headers" if headers_only else "whole"

    async def _receive(self, mailbox: Mailbox, places: Sequence[Place], part: Part) -> Sequence[Received]:
        return [one async for one in mailbox.fetch(places, part)] if places else []

    async def _read(self, received: Sequence[Received], part: Part) -> Sequence[Copy]:
        if not received:
            return []
        if self.owner is None:
            return await read_forwards(self._database, self._workers, received, self.lease.source_id, self._profile)
        delivered = [Delivered(self.owner, one, one.place, sent=self._sent) for one in received]
        return await read_messages(self._workers, delivered, self.lease.source_id, self._profile, part)

    async def _bring_in(self, mailbox: Mailbox, portion: "_Portion") -> None:
        copies, keeps = portion.copies, self._profile.has_forwards_alone
        if not copies and portion.cursor is None:
            return
        batch = Batch(
            copies,
            self.lease,
            portion.cursor,
            settles=self._settles,
            destroys=destroys(self._profile),
            keeps=keeps,
            again=portion.again,
            waits=self._waits,
        )
        decisions = await promote_and_tell(self._promoter, batch, self._profile.name, self._log)
        if portion.cursor is not None:
            self.lease = replace(self.lease, cursor=portion.cursor)
        if not self._settles:
            return
        if self._profile.forwards:
            await self._settle_rest(mailbox)  # several copies can lie in one place: ask which are done with
            return
        done = [
            copy.place
            for copy, decision in zip(copies, decisions, strict=True)
            if decision.email_id is not None and batch.to_be_settled(decision)
        ]
        if done and not self._profile.after.days:
            await self._settle(mailbox, done)

    async def _decide_again(self, mailbox: Mailbox) -> None:
        """Bring in what is to be decided again. What is there no more keeps its decision.

        Raises MessageWaits if some of it waits: all other is in, or is reached the next time.
        """
        clock = asyncio.get_running_loop().time
        ends = clock() + _AGAIN_SECONDS
        due = await self._due_again()
        if not due and self._tried_again_to:
            self._tried_again_to, self._waits_again = 0, None
            due = await self._due_again()
        while due:
            last = max(chain.from_iterable(due.values()))
            copies = await self._fetch(mailbox, list(due))
            try:
                await self._bring_in(mailbox, _Portion(copies, None, await self._budget.take(0), again=True))
            except MessageWaits as error:
                self._waits_again = error
                for copy in copies:
                    due.pop(copy.outer_place, None)
            gone = list(chain.from_iterable(due.values()))
            await again.give_up(self._database, gone, "but it is not where it was any more")
            self._tried_again_to = last
            if self._waits_again is not None and clock() > ends:
                raise self._waits_again
            due = await self._due_again()
        waits, self._waits_again, self._tried_again_to = self._waits_again, None, 0
        if waits is not None:
            raise waits

    async def _due_again(self) -> dict[Place, list[int]]:
        return await again.due(self._database, self.lease.source_id, _AGAIN, self._tried_again_to)

    async def _settle_rest(self, mailbox: Mailbox) -> None:
        """Settle what a crash left, what was ignored and became the CRM's by another copy since, and what is due."""
        delay = timedelta(days=self._profile.after.days)
        while self._refusal_to_settle is None:
            rest = await settle.unsettled(self._database, self.lease.source_id, delay)
            if not rest:
                return
            await self._settle(mailbox, rest)

    async def _settle(self, mailbox: Mailbox, places: Sequence[Place]) -> None:
        if self._refusal_to_settle is not None:
            return
        try:
            await mailbox.settle([Settlement(place, self._profile.after) for place in places])
        except Missing:
            raise
        except Permanent as error:
            self._refusal_to_settle = error
            return
        await settle.note_settled(self._database, self.lease.source_id, places)


@dataclass(frozen=True, slots=True)
class _Portion:
    """Copies that are promoted together, and the cursor once they are, unless more of its listing is to come.

    `again`: they have decisions, which are made again where that is asked for. `held` is the room that they take.
    """

    copies: Sequence[Copy]
    cursor: Cursor | None
    held: Held
    again: bool = False


async def _one_ahead(portions: AsyncIterator[_Portion]) -> AsyncGenerator[_Portion, None]:
    """Read the next portion while the last is promoted: mail server and database work at the same time."""
    coming = asyncio.ensure_future(anext(portions, None))
    try:
        while (portion := await coming) is not None:
            coming = asyncio.ensure_future(anext(portions, None))
            yield portion
    finally:
        coming.cancel()
        (unused,) = await asyncio.gather(coming, return_exceptions=True)
        if isinstance(unused, _Portion):
            unused.held.release()
