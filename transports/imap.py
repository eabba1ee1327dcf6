"""IMAP: one folder of one mailbox, by UIDs only (RFC 3501, 9051).

Reading marks nothing (BODY.PEEK); what a person has read makes no difference. A connection that is lost stays lost:
the mailbox then raises Unreachable until it is opened anew. Only fetching connects again, to find the one message that
makes a server drop the connection (Dovecot does where a file is torn), so that it does not stop its mailbox.
"""

import asyncio
from bisect import bisect_right
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Self

from pydantic import Field

from transports._imap_login import log_in
from transports._imap_protocol import ImapProtocol
from transports._imap_reply import Reply
from transports._imap_request import folder_name, uid_set
from transports._imap_response import LITERAL_LIMIT, fetched, internal_date, searched
from transports._imap_settle import settle_group
from transports._settings import Auth, MailboxSettings
from transports.base import (
    After,
    Cursor,
    CursorLost,
    Listed,
    Listing,
    Part,
    Permanent,
    Place,
    Received,
    Settlement,
    Unreachable,
)

FETCH_UIDS = 50
FETCH_BYTES = 4 << 20
"""What one FETCH of contents asks for at most; a larger message is fetched alone."""

SET_UIDS = 500
"""UIDs in one command that brings no content, as servers limit the length of a line (RFC 7162 §4)."""
KNOWN_AHEAD = 50_000
"""How many UIDs beyond a listing are remembered for the next, so that a full folder is not searched every time."""

RENEW_IDLE = 28 * 60
"""Seconds; servers may end an IDLE after 30 minutes (RFC 2177)."""

BUSY_FOR, BUSY_POLL = 10, 0.25
"""Seconds. Dovecot tells IDLE half a second late, so where mail has just come, we look more often for a while."""

_HIGHEST_UID = (1 << 32) - 1


class ImapSettings(MailboxSettings):
    """Folders of mailboxes on an IMAP server."""

    auth: Auth = Field(description="how to log in")

    def open(self, mailbox: str, folder: str) -> "ImapMailbox":
        """Make a reader of one folder; it connects when it is entered."""
        return ImapMailbox(self, mailbox, folder)


class ImapMailbox:
    """One folder, read over one connection. The cursor is "UIDVALIDITY:UID", the UID being the last one seen."""

    def __init__(self, settings: ImapSettings, mailbox: str, folder: str) -> None:
        self._settings = settings
        self._mailbox = mailbox
        self._folder = folder
        self._connection: ImapProtocol | None = None
        self._ahead: Sequence[int] = ()
        self._ahead_of = self._looked_to = _HIGHEST_UID
        self._sizes: dict[int, int] = {}
        self._busy_until = 0.0

    async def __aenter__(self) -> Self:
        await self._connect()
        return self

    async def __aexit__(self, *exc: object) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if exc[0] is not None:
            connection.abort("closed")
        await connection.close()

    async def list(self, after: Cursor | None, limit: int) -> Listing:
        """List what came after the cursor. See `Mailbox.list`."""
        if limit == 0:
            return Listing((), await self._present())
        # Only now does the server show what has come, and whether the folder was replaced.
        await self._ok("NOOP")
        seen = self._position(after)
        if seen >= self._looked_to and not self._imap.news.is_set():
            return Listing((), self._cursor(seen))
        ahead = await self._uids_after(seen, limit)
        uids, more = ahead[:limit], len(ahead) > limit
        copies = await self._describe(uids)
        last = uids[-1] if uids else seen
        self._sizes = {int(listed.place.id): listed.size for listed in copies}
        if more:
            # What the limit cut off is still to be told.
            self._imap.news.set()
        else:
            self._looked_to = last
        if copies:
            self._busy_until = asyncio.get_running_loop().time() + BUSY_FOR
        return Listing(tuple(copies), self._cursor(last), more)

    async def fetch(self, places: Sequence[Place], part: Part) -> AsyncIterator[Received]:
        """Yield the copies at these places. See `Mailbox.fetch`."""
        uids = self._uids(places)
        sizes = await self._sizes_of(uids) if part == "whole" else {}
        for group in _groups(uids, sizes):
            if sizes.get(group[0], 0) > LITERAL_LIMIT:
                yield self._faulty(group[0], f"{sizes[group[0]]} bytes are more than can be read")
                continue
            copies = await self._contents_in_spite(group, part)
            for uid in group:
                if uid in copies:
                    yield copies[uid]

    async def wait(self, timeout: float) -> None:
        """Return when something may be new, at the latest after `timeout` seconds. Raises Unreachable at once."""
        clock = asyncio.get_running_loop().time
        until = clock() + timeout
        while not self._imap.news.is_set() and (left := until - clock()) > 0:
            if "IDLE" in self._imap.capabilities:
                busy = clock() < self._busy_until
                await self._imap.idle_for(min(left, BUSY_POLL if busy else self._settings.poll, RENEW_IDLE))
            else:
                await self._imap.rest(min(left, self._settings.poll))
            if not self._imap.news.is_set():
                await self._ok("NOOP")

    async def settle(self, done: Sequence[Settlement]) -> None:
        """Flag, move or delete. Places of another UIDVALIDITY are passed over: they are other messages now."""
        groups: dict[After, list[Place]] = defaultdict(list)
        for settlement in done:
            groups[settlement.after].append(settlement.place)
        for after, places in groups.items():
            for uids in _chunks(self._uids(places), SET_UIDS):
                await settle_group(self._imap, after, uids)

    # The folder

    @property
    def _imap(self) -> ImapProtocol:
        if self._connection is None:
            raise Permanent("the mailbox is not open")
        return self._connection

    @property
    def _validity(self) -> str:
        return self._imap.codes.get("UIDVALIDITY", "")

    async def _connect(self) -> None:
        self._connection = await log_in(self._settings, self._settings.auth, self._mailbox)
        try:
            await self._select()
        except BaseException:
            self._connection.abort("the folder could not be opened")
            raise

    async def _select(self) -> None:
        reply = await self._imap.select(folder_name(self._folder))
        reply.require(f"{self._imap.peer} does not open the folder {self._folder} of {self._mailbox}")
        if not self._validity.isdigit():
            raise Permanent(
                f"{self._imap.peer} gives the folder {self._folder} no UIDVALIDITY, so its UIDs mean nothing"
            )

    async def _ok(self, command: str, *arguments: str, uid: bool = False) -> Reply:
        reply = await self._imap.run(command, *arguments, uid=uid)
        return reply.require(f"{self._imap.peer} refuses {command} in the folder {self._folder} of {self._mailbox}")

    async def _present(self) -> Cursor:
        # Selected anew, since UIDNEXT is told only then; a server need not even tell it.
        await self._select()
        upcoming = self._imap.codes.get("UIDNEXT", "")
        if upcoming.isdigit():
            return self._cursor(int(upcoming) - 1)
        return self._cursor(max(await self._search("*"), default=0))

    def _cursor(self, uid: int) -> Cursor:
        return Cursor(f"{self._validity}:{uid}")

    def _position(self, cursor: Cursor | None) -> int:
        if cursor is None:
            return 0
        validity, _, uid = cursor.partition(":")
        if validity != self._validity or not (uid.isascii() and uid.isdecimal()):
            raise CursorLost(f"the folder {self._folder} of {self._mailbox} was made anew on the server (UIDVALIDITY)")
        return int(uid)

    def _uids(self, places: Iterable[Place]) -> Sequence[int]:
        valid = (place.id for place in places if place.validity == self._validity)
        return [int(uid) for uid in valid if uid.isascii() and uid.isdecimal()]

    # Listing

    async def _uids_after(self, seen: int, limit: int) -> Sequence[int]:
        """Return, in order, more than `limit` UIDs beyond `seen`, or all there are."""
        ahead = self._ahead[bisect_right(self._ahead, seen) :] if seen >= self._ahead_of else ()
        if len(ahead) <= limit:
            self._imap.news.clear()
            # "n:*" always names the last message, even where its UID is below n (RFC 3501 §6.4.8).
            ahead = sorted(uid for uid in await self._search(f"{min(seen + 1, _HIGHEST_UID)}:*") if uid > seen)
            self._ahead, self._ahead_of = ahead[: max(KNOWN_AHEAD, limit + 1)], seen
        return ahead

    async def _search(self, uids: str) -> Sequence[int]:
        reply = await self._ok("SEARCH", "UID", uids, uid=True)
        return [uid for response in reply.data for uid in searched(response)]

    async def _describe(self, uids: Sequence[int]) -> Sequence[Listed]:
        if not uids:
            return []
        reply = await self._imap.run("FETCH", uid_set(uids), "(UID RFC822.SIZE INTERNALDATE)", uid=True)
        found: dict[int, Listed] = {}
        for response in reply.data:
            attributes = fetched(response) or {}
            uid, size = attributes.get(b"UID"), attributes.get(b"RFC822.SIZE")
            if isinstance(uid, bytes) and isinstance(size, bytes) and uid.isdigit() and size.isdigit():
                received_at = internal_date(attributes.get(b"INTERNALDATE")) or datetime.now(UTC)
                found[int(uid)] = Listed(self._place(int(uid)), int(size), received_at)
        missing = await self._present_among([uid for uid in uids if uid not in found])
        # What is there but cannot be described must be listed all the same: fetching it will tell its fault.
        found |= {uid: Listed(self._place(uid), 0, datetime.now(UTC)) for uid in missing}
        return [found[uid] for uid in uids if uid in found]

    async def _present_among(self, uids: Sequence[int]) -> Sequence[int]:
        """Return which of them are still there."""
        if not uids:
            return []
        await self._ok("NOOP")
        return sorted(set(await self._search(uid_set(uids))) & set(uids))

    def _place(self, uid: int) -> Place:
        return Place(self._validity, str(uid))

    # Fetching

    async def _sizes_of(self, uids: Sequence[int]) -> dict[int, int]:
        sizes = {uid: self._sizes[uid] for uid in uids if uid in self._sizes}
        for chunk in _chunks([uid for uid in uids if uid not in sizes], SET_UIDS):
            sizes |= {int(listed.place.id): listed.size for listed in await self._describe(chunk)}
        return sizes

    async def _contents_in_spite(self, uids: Sequence[int], part: Part) -> dict[int, Received]:
        """Fetch, even if one of them makes the server drop the connection, alone and twice: that one is faulty."""
        try:
            return await self._contents(uids, part)
        except Unreachable as lost:
            await self._reconnect(lost)
        if len(uids) > 1:
            copies: dict[int, Received] = {}
            for uid in uids:
                copies |= await self._contents_in_spite([uid], part)
            return copies
        try:
            return await self._contents(uids, part)
        except Unreachable as lost:
            await self._reconnect(lost)
            return {uids[0]: self._faulty(uids[0], str(lost))}

    async def _reconnect(self, lost: Unreachable) -> None:
        validity = self._validity
        await self._connect()
        if self._validity != validity:
            # These UIDs are other messages now; the next listing will tell.
            self._imap.abort("the folder was made anew")
            raise lost

    async def _contents(self, uids: Sequence[int], part: Part) -> dict[int, Received]:
        item = "BODY[]" if part == "whole" else "BODY[HEADER]"
        reply = await self._imap.run(
            "FETCH", uid_set(uids), f"(UID INTERNALDATE {item.replace('[', '.PEEK[')})", uid=True
        )
        copies: dict[int, Received] = {}
        for response in reply.data:
            attributes = fetched(response) or {}
            uid, content = attributes.get(b"UID"), attributes.get(item.encode())
            if isinstance(uid, bytes) and isinstance(content, bytes) and uid.isdigit():
                received_at = internal_date(attributes.get(b"INTERNALDATE")) or datetime.now(UTC)
                copies[int(uid)] = Received(self._place(int(uid)), content, received_at)
        missing = [wanted for wanted in uids if wanted not in copies]
        if missing and reply.passing and reply.code != "SERVERBUG":
            raise reply.refusal(f"{self._imap.peer} refuses FETCH in the folder {self._folder} of {self._mailbox}")
        # Gone, or unreadable: one that cannot be read spoils no other, so each is asked for alone.
        for unread in await self._present_among(missing):
            if len(uids) > 1:
                copies |= await self._contents([unread], part)
            else:
                copies[unread] = self._faulty(unread, reply.words)
        return copies

    def _faulty(self, uid: int, words: str) -> Received:
        return Received(self._place(uid), b"", datetime.now(UTC), fault=f"the server did not give it up: {words}")


def _groups(uids: Sequence[int], sizes: Mapping[int, int]) -> Iterator[Sequence[int]]:
    """Cut into what is fetched at once: not too many, and not too large together."""
    group: list[int] = []
    total = 0
    for uid in uids:
        size = sizes.get(uid, 0)
        if group and (len(group) == FETCH_UIDS or total + size > FETCH_BYTES):
            yield group
            group, total = [], 0
        group.append(uid)
        total += size
    if group:
        yield group


def _chunks(uids: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (uids[start : start + size] for start in range(0, len(uids), size))


INCOMING = ImapSettings
