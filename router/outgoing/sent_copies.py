"""Puts a copy of what was sent into its owner's Sent folder: after the relay has it, and apart from all sending.

`router.sent_copy` has a row for each, made by a trigger where a relay has accepted an email. A mail server that hangs
or refuses delays the copies of its own mailboxes alone; each is tried again for days, then given up with the reason.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Final
from uuid import UUID

import structlog

from router.backoff import Backoff
from router.errors import ContentRefused, DatabaseError, RouterError
from router.model.mail_address import smtp_address
from router.outgoing.content import write_content
from router.outgoing.sent_folder import lies_in, open_sent
from router.profile import IncomingProfile, Profiles
from router.repository.database import Database
from router.repository.outgoing import sent_copies
from router.repository.outgoing.sent_copies import Begun, Due
from router.repository.owners.owners import list_owners
from transports._content import Content, as_content
from transports.base import WritableMailbox
from transports.errors import Temporary, TransportError, Unreachable

_log = structlog.get_logger(__name__)

_POLL: Final = 2.0  # seconds between looks for what is due
_OWNERS: Final = 15.0  # seconds between looks at the owners
_AT_ONCE: Final = 32  # mailboxes; more than a few mail servers that hang can take
_AT_ONCE_OF_PROFILE: Final = 2  # whose mail server may hang
_TURN: Final = 600.0  # seconds that the copies of one mailbox may take at a time; less than they are begun for
_FIRST, _LONGEST = timedelta(minutes=1), timedelta(hours=6)
"""Between two tries, doubled each time."""
_GIVEN_UP: Final = timedelta(days=5)
_NOT_NOW: Final = timedelta(minutes=10)  # until a broken profile, or an unapproved mailbox, is looked at again
_LEAVING: Final = 1.0  # seconds for the last word of a process that stops
_REFUSALS: Final = 3  # messages in a row that a server refuses, until the others wait


class SentCopies:
    """The copies that this process makes; `profiles` tells the profiles that are served now."""

    def __init__(self, database: Database, profiles: Callable[[], Profiles]) -> None:
        self._database = database
        self._profiles = profiles
        self._at_work: dict[UUID, tuple[str, asyncio.Task[None]]] = {}
        self._ended = asyncio.Event()
        self._dice = Random()  # noqa: S311  # spreads load, guards no secret
        self._away: dict[str, tuple[float, Backoff]] = {}
        self._told: set[tuple[str, str]] = set()

    async def run(self) -> None:
        """Make copies until canceled."""
        looked: tuple[Profiles, float] | None = None
        clock = asyncio.get_running_loop().time
        try:
            while True:
                self._ended.clear()
                profiles = self._profiles()
                with suppress(DatabaseError):  # told by whatever else needs it
                    if looked is None or looked[0] is not profiles or clock() - looked[1] > _OWNERS:
                        await self._tell_whose(profiles)
                        looked = profiles, clock()
                    await self._begin_some(profiles)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_POLL):
                        await self._ended.wait()
        finally:
            tasks = [task for _, task in self._at_work.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _tell_whose(self, profiles: Profiles) -> None:
        """Tell the database of which owners copies are wanted; of those with a broken profile it stays as it is."""
        found: dict[UUID, str | None] = {}
        for one in await list_owners(self._database):
            if not profiles.obscure and not profiles.routes_of(one.mailbox).broken:
                reader = _reader_of(profiles, one.mailbox)
                found[one.owner.id] = reader.name if reader is not None else None
        await sent_copies.want_of(self._database, found)

    async def _begin_some(self, profiles: Profiles) -> None:
        now = asyncio.get_running_loop().time()
        while len(self._at_work) < _AT_ONCE:
            busy = Counter(name for name, _ in self._at_work.values())
            passed = {name for name, count in busy.items() if count >= _AT_ONCE_OF_PROFILE}
            passed |= {name for name, (until, _) in self._away.items() if until > now}
            due = await sent_copies.next_due(self._database, self._at_work.keys(), passed)
            if due is None:
                return
            reader = _reader_of(profiles, due.mailbox) if due.mailbox and due.approved else None
            if reader is None or due.mailbox is None:
                await self._pass_over(due, profiles)
                continue
            task = asyncio.create_task(self._copies_of(due, due.mailbox, reader), name="copies for a Sent folder")
            self._at_work[due.owner_id] = due.profile, task
            task.add_done_callback(partial(self._end, due.owner_id))

    def _end(self, owner_id: UUID, task: asyncio.Task[None]) -> None:
        del self._at_work[owner_id]
        self._ended.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("copies could not be made, by a mistake of ours", exc_info=error)

    async def _pass_over(self, due: Due, profiles: Profiles) -> None:
        """Forget what no profile wants; while one is broken, or the mailbox not approved, wait for that."""
        begun = await sent_copies.begin(self._database, due.owner_id)
        if profiles.obscure or (due.mailbox is not None and profiles.routes_of(due.mailbox).broken):
            words = "the profile that puts it there cannot be used now"
        elif due.mailbox is not None and not due.approved:
            words = "no admin has approved the mailbox of its owner"
        else:
            await sent_copies.forget(self._database, [one.email_id for one in begun])
            return
        late = [one.email_id for one in begun if datetime.now(UTC) - one.since > _GIVEN_UP]
        others = [one.email_id for one in begun if one.email_id not in late]
        await sent_copies.put_off(self._database, late, words, None)
        await sent_copies.put_off(self._database, others, words, _NOT_NOW)

    async def _copies_of(self, due: Due, mailbox: str, profile: IncomingProfile) -> None:
        """Put the copies of one owner that are due; what remains when it fails is tried later."""
        begun: list[Begun] = []
        box: WritableMailbox | None = None
        try:
            begun = await sent_copies.begin(self._database, due.owner_id)
            async with asyncio.timeout(_TURN), profile.open(mailbox) as account:
                box = await open_sent(account)
                self._away.pop(due.profile, None)
                await self._put_all(box, begun, profile, mailbox)
        except TimeoutError:
            await self._put_off(begun, profile, mailbox, Temporary(f"not done within {_TURN:g} seconds"))
        except TransportError as error:
            if box is None and isinstance(error, Unreachable):
                self._is_away(due.profile)
            await self._put_off(begun, profile, mailbox, error)
        except DatabaseError as error:
            _log.debug("copies wait for the database", reason=str(error))
        except asyncio.CancelledError:
            with suppress(DatabaseError, TimeoutError):
                async with asyncio.timeout(_LEAVING):
                    await sent_copies.give_back(self._database, [one.email_id for one in begun])
            raise
        else:
            self._told = {one for one in self._told if one[0] != mailbox}

    def _is_away(self, name: str) -> None:
        """Let the others of a profile wait a while whose mail server was not reached."""
        _, backoff = self._away.get(name, (0.0, Backoff(2.0)))
        self._away[name] = asyncio.get_running_loop().time() + backoff.next(), backoff

    async def _put_all(self, box: WritableMailbox, begun: list[Begun], profile: IncomingProfile, mailbox: str) -> None:
        """Put copies into the folder, and take each from the list. Raises TransportError where the server fails."""
        refused = 0
        while begun:
            error = await self._try(box, begun[0], mailbox)
            # What is only of this email says nothing about the next.
            refused = refused + 1 if isinstance(error, TransportError) else 0
            if error is not None:
                if isinstance(error, Unreachable) or refused >= _REFUSALS:
                    raise error
                await self._put_off(begun[:1], profile, mailbox, error)
            begun.pop(0)

    async def _try(self, box: WritableMailbox, one: Begun, mailbox: str) -> Exception | None:
        """Put one copy there; returns why it could not be. Raises DatabaseError where the database is away."""
        try:
            await self._append(box, one, mailbox)
        except (TransportError, ContentRefused) as error:
            return error
        except DatabaseError:
            raise
        except Exception as error:  # noqa: BLE001  # it must not keep the others of its owner waiting for ever
            _log.error("a copy could not be made, by a mistake of ours", email=str(one.email_id), exc_info=error)
            return RouterError(f"a mistake of the router's own: {type(error).__name__}")
        return None

    async def _append(self, box: WritableMailbox, one: Begun, mailbox: str) -> None:
        email = await sent_copies.read(self._database, one.email_id, mailbox)
        if isinstance(email, ContentRefused):
            raise email
        # Begun before, it may lie there: the connection, or we, may have gone before that was noted.
        if not one.before or not await lies_in(box, email.message_id):
            content = await write_content(self._database, email)
            blind = [mention.address for mention in email.mentions if mention.role == "bcc"]
            await box.append(_WithBcc(as_content(content), blind), {"seen"}, email.date)
        await sent_copies.note_appended(self._database, one.email_id)

    async def _put_off(self, begun: Sequence[Begun], profile: IncomingProfile, mailbox: str, error: Exception) -> None:
        """Try these later; those that have been tried for days, or never can be, no more."""
        now = datetime.now(UTC)
        words = str(error)
        given_up = [one for one in begun if isinstance(error, ContentRefused) or now - one.since > _GIVEN_UP]
        tell = _log.bind(profile=profile.name, mailbox=mailbox, reason=words)
        if given_up:
            tell.warning("copies are not put into a Sent folder, and given up", emails=len(given_up))
        elif (mailbox, words) not in self._told:
            self._told.add((mailbox, words))
            tell.warning("copies cannot be put into a Sent folder now, and are tried again", emails=len(begun))
        with suppress(DatabaseError):  # they are due again by themselves
            await sent_copies.put_off(self._database, [one.email_id for one in given_up], words, None)
            for one in begun:
                if one not in given_up:
                    await sent_copies.put_off(self._database, [one.email_id], words, self._delay(one.before))

    def _delay(self, before: int) -> timedelta:
        return min(_LONGEST, _FIRST * float(2 ** min(before, 20))) * float(self._dice.uniform(0.75, 1.0))


def _reader_of(profiles: Profiles, mailbox: str) -> IncomingProfile | None:
    """Return the profile that puts copies into the mailbox's Sent folder; None where none is wanted, or none can."""
    carries, reads = profiles.outgoing_for(mailbox), profiles.incoming_for(mailbox)
    if carries is None or reads is None or carries.sent_copy != "append" or not reads.appends:
        return None
    return reads


class _WithBcc:
    """A message with a Bcc header before it, as its sender has it."""

    def __init__(self, content: Content, blind: Sequence[str]) -> None:
        self._content = content
        addresses = []
        for address in blind:
            with suppress(ContentRefused):
                addresses.append(smtp_address(address))
        self._header = ("Bcc: " + ",\r\n ".join(addresses) + "\r\n").encode() if addresses else b""
        self.size = len(self._header) + content.size
        self.is_seven_bit = content.is_seven_bit and self._header.isascii()
        self.headers_are_ascii = content.headers_are_ascii and self._header.isascii()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._header:
            yield self._header
        async for piece in self._content:
            yield piece
