"""One folder of an account, by UIDs only (RFC 3501, 9051). Reading marks nothing: BODY.PEEK."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING

from transports._imap_fetch import LITERAL_LIMIT, describe, faulty, fetch_in_spite, groups, search, uid_of, uids_of
from transports._imap_settle import settle_group
from transports._imap_watch import HIGHEST_UID, Watch
from transports.base import (
    After,
    Cursor,
    CursorLost,
    Listed,
    Listing,
    Part,
    Place,
    Received,
    Settlement,
    TransportError,
)

if TYPE_CHECKING:
    from transports._imap_account import ImapAccount
    from transports._imap_protocol import ImapProtocol

SET_UIDS = 500
"""UIDs in one command that brings no content, as servers limit the length of a line (RFC 7162 §4)."""

KNOWN_AHEAD = 50_000
"""How many UIDs beyond a listing are remembered for the next, so that a full folder is not searched every time."""


class ImapMailbox:
    """See `Mailbox`. The cursor is "UIDVALIDITY:UID", the UID being the last one seen."""

    def __init__(self, account: ImapAccount, name: str) -> None:
        self._account = account
        self._validity = ""
        self._ahead: Sequence[int] = ()
        self._ahead_of = HIGHEST_UID
        self._known: dict[int, Listed] = {}
        self.name = name
        self.watch = Watch()

    async def list(self, after: Cursor | None, limit: int) -> Listing:
        """List what came after the cursor. See `Mailbox.list`."""
        try:
            async with self._account.turn(self.name) as imap:
                listing = await self._list(imap, after, limit) if limit else Listing((), await self._present(imap))
        except CursorLost:
            raise
        except TransportError:
            self.watch.troubled = True
            raise
        self.watch.troubled = False
        return listing

    async def fetch(self, places: Sequence[Place], part: Part) -> AsyncIterator[Received]:
        """Yield the copies at these places. See `Mailbox.fetch`."""
        try:
            async with self._account.turn(self.name) as imap:
                described = await self._described(imap, uids_of(places, imap.validity))
            for group in groups(described):
                if group[0].size > LITERAL_LIMIT:
                    yield faulty(group[0].place, f"{group[0].size} bytes are more than can be read")
                    continue
                # A turn for each group, since what the reader does between them may be long.
                async with self._account.turn(self.name):
                    copies = await fetch_in_spite(self._account, self.name, group, part)
                for one in group:
                    if uid_of(one.place) in copies:
                        yield copies.pop(uid_of(one.place))
        except TransportError:
            # What was listed was not had: it is to be listed again, when its time comes.
            self.watch.dirty = self.watch.troubled = True
            raise

    async def settle(self, done: Sequence[Settlement]) -> None:
        """Flag, move or delete. Places of another UIDVALIDITY are passed over: they are other messages now."""
        by_action: dict[After, list[Place]] = defaultdict(list)
        for settlement in done:
            by_action[settlement.after].append(settlement.place)
        async with self._account.turn(self.name) as imap:
            for after, places in by_action.items():
                for uids in _chunks(uids_of(places, imap.validity), SET_UIDS):
                    await settle_group(imap, after, uids)

    # Listing

    async def _list(self, imap: ImapProtocol, after: Cursor | None, limit: int) -> Listing:
        # Only now does the server show what has come, and whether the folder was replaced.
        await self._account.refresh()
        seen = self._position(imap, after)
        if self.watch.has_shown(seen) and not imap.news.is_set():
            return Listing((), _cursor(imap, seen))
        ahead = await self._uids_after(imap, seen, limit)
        uids, more = ahead[:limit], len(ahead) > limit
        copies = await describe(imap, uids)
        last = uids[-1] if uids else seen
        self._known = {uid_of(listed.place): listed for listed in copies}
        if not more:
            self.watch.is_listed(imap.validity, last)
        if copies:
            self._account.note_busy()
        return Listing(tuple(copies), _cursor(imap, last), more)

    async def _present(self, imap: ImapProtocol) -> Cursor:
        # Selected anew, since UIDNEXT is told only then; a server need not even tell it.
        await self._account.select(self.name)
        upcoming = imap.codes.get("UIDNEXT", "")
        if upcoming.isdigit():
            return _cursor(imap, int(upcoming) - 1)
        return _cursor(imap, max(await search(imap, "*"), default=0))

    def _position(self, imap: ImapProtocol, cursor: Cursor | None) -> int:
        if self._validity != imap.validity:
            self._validity, self._ahead_of, self._known = imap.validity, HIGHEST_UID, {}
        if cursor is None:
            return 0
        validity, _, uid = cursor.partition(":")
        if validity != imap.validity or not (uid.isascii() and uid.isdecimal()):
            whose = f"{self.name} of {self._account.mailbox}"
            raise CursorLost(f"the folder {whose} was made anew on the server (UIDVALIDITY)")
        return int(uid)

    async def _uids_after(self, imap: ImapProtocol, seen: int, limit: int) -> Sequence[int]:
        """Return, in order, more than `limit` UIDs beyond `seen`, or all there are."""
        ahead = self._ahead[bisect_right(self._ahead, seen) :] if seen >= self._ahead_of else ()
        if len(ahead) <= limit:
            # What comes from now on is news again.
            imap.news.clear()
            # "n:*" always names the last message, even where its UID is below n (RFC 3501 §6.4.8).
            ahead = sorted(uid for uid in await search(imap, f"{min(seen + 1, HIGHEST_UID)}:*") if uid > seen)
            self._ahead, self._ahead_of = ahead[: max(KNOWN_AHEAD, limit + 1)], seen
        return ahead

    async def _described(self, imap: ImapProtocol, uids: Sequence[int]) -> Iterable[Listed]:
        known = self._known if self._validity == imap.validity else {}
        found = {uid: known[uid] for uid in uids if uid in known}
        for chunk in _chunks([uid for uid in uids if uid not in found], SET_UIDS):
            found |= {uid_of(listed.place): listed for listed in await describe(imap, chunk)}
        return [found[uid] for uid in uids if uid in found]


def _cursor(imap: ImapProtocol, uid: int) -> Cursor:
    return Cursor(f"{imap.validity}:{uid}")


def _chunks(uids: Sequence[int], size: int) -> Iterable[Sequence[int]]:
    return (uids[start : start + size] for start in range(0, len(uids), size))
