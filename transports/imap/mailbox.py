"""One folder of an account, by UIDs only (RFC 3501, 9051). Reading marks nothing: BODY.PEEK."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from datetime import datetime

from transports._batches import batches
from transports._content import Content, as_content
from transports.base import (
    PAGE,
    After,
    Candidates,
    Cursor,
    Flag,
    Listed,
    Listing,
    Part,
    Place,
    Present,
    Received,
    Settlement,
    Wanted,
)
from transports.errors import CursorLost, TransportError
from transports.imap.append import append_message
from transports.imap.connection import ImapConnection
from transports.imap.decode import LITERAL_LIMIT
from transports.imap.fetch import describe, faulty, search, uid_of, uids_of
from transports.imap.move import Mover
from transports.imap.poison import fetch_isolating
from transports.imap.position import Opening, Position, valid_in
from transports.imap.search import look_for
from transports.imap.session import ImapSession
from transports.imap.settle import settle_group
from transports.imap.walk import Walk
from transports.imap.watch import HIGHEST_UID, Watch

FETCH_UIDS = 200
FETCH_BYTES = 4 << 20
"""What one FETCH of contents asks for at most; a larger message is fetched alone."""

KNOWN_AHEAD = 50_000
"""How many UIDs beyond a listing are remembered for the next, so that a full folder is not searched every time."""


class ImapMailbox:
    """See `Mailbox`. The cursor is a `Position`, which also tells which generation of places is valid."""

    def __init__(self, session: ImapSession, name: str) -> None:
        self._session = session
        self._validity = ""
        self._generation = 0
        self._ahead: Sequence[int] = ()
        self._ahead_of = HIGHEST_UID
        self._known: dict[int, Listed] = {}
        self._mover = Mover(session, name)
        self.name = name
        self.watch = session.watches.setdefault(name, Watch())

    async def list(self, after: Cursor | None, limit: int) -> Listing:
        """List what came after the cursor. See `Mailbox.list`."""
        try:
            async with self._session.exclusive() as imap:
                listing = await self._list(imap, after, limit) if limit else Listing((), await self._now(imap))
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
            async with self._session.exclusive(self.name) as imap:
                described = await self._described(imap, uids_of(places, self._valid(imap)))
            for group in batches(described, lambda listed: listed.size, FETCH_UIDS, FETCH_BYTES):
                if group[0].size > LITERAL_LIMIT:
                    yield faulty(group[0].place, f"{group[0].size} bytes are more than can be read")
                    continue
                # The session is free between two groups, since the reader may take long over one.
                async with self._session.exclusive(self.name):
                    copies = await fetch_isolating(self._session, self.name, group, part)
                for one in group:
                    if uid_of(one.place) in copies:
                        yield copies.pop(uid_of(one.place))
        except TransportError:
            self.watch.note_failure()
            raise

    async def present(self, cursor: Cursor | None, beyond: Place | None = None) -> AsyncIterator[Sequence[Present]]:
        """Yield all that lies there, by UID. See `Mailbox.present`."""
        position = None if cursor is None else Position.read(cursor)
        async with self._session.exclusive() as imap:
            opening = await self._session.select(self.name)
            if cursor is not None:
                await self._check(imap, position, opening)
            validity = self._valid(imap)
            walk = Walk(max(uids_of([beyond] if beyond else [], validity), default=0) + 1, await _last_uid(imap))
        while not walk.is_done:
            async with self._session.exclusive(self.name) as imap:
                if self._valid(imap) != validity:
                    raise CursorLost(f"the folder {self.name} of {self._session.mailbox} was made anew meanwhile")
                uids = await walk.next(imap)
                copies = await describe(imap, uids, validity, all_mail=self.name == self._session.all_mail)
            if copies:
                yield [_present(one.place, one.received_at, position) for one in copies]

    def compared(self, cursor: Cursor, place: Place) -> Present:
        """Compare UIDs. See `Mailbox.compared`."""
        return _present(place, None, Position.read(cursor))

    async def search(self, wanted: Wanted, limit: int) -> Candidates:
        """Find copies that may be the wanted ones. See `Mailbox.search`."""
        return await look_for(self._session, self.name, wanted, limit, self._valid)

    async def settle(self, done: Sequence[Settlement]) -> None:
        """Flag, move or delete. Places that are valid no more are passed over: they are other messages now."""
        by_action: dict[After, list[Place]] = defaultdict(list)
        for settlement in done:
            # A message that is moved to its own folder would come anew, and be moved again, for ever.
            if not settlement.after.moves_to(self.name):
                by_action[settlement.after].append(settlement.place)
        async with self._session.exclusive(self.name) as imap:
            for after, places in by_action.items():
                for uids in _chunks(uids_of(places, self._valid(imap)), PAGE):
                    if after.action == "move":
                        await self._mover.move(uids, after.argument)
                    else:
                        await settle_group(imap, after, uids)

    async def append(
        self, content: bytes | Content, flags: Collection[Flag] = (), when: datetime | None = None
    ) -> Place | None:
        """Put a message here. See `Mailbox.append`."""
        async with self._session.exclusive() as imap:
            return await append_message(imap, self.name, as_content(content), flags, when)

    # Listing

    async def _list(self, imap: ImapConnection, after: Cursor | None, limit: int) -> Listing:
        position = None if after is None else Position.read(after)
        # Only now does the server show what has come, and whether the folder was replaced.
        opening = await self._session.look_into(self.name, position)
        if after is not None:
            await self._check(imap, position, opening)
        self._forget_others(imap)
        seen = position.uid if position else 0
        if self._mover.fresh_from is None and position is not None:
            self._mover.fresh_from = seen + 1
        if self.watch.has_shown(seen) and not imap.known.news:
            return Listing((), after or self._cursor(imap, seen))
        ahead = await self._uids_after(imap, seen, limit, opening)
        uids, more = ahead[:limit], len(ahead) > limit
        copies = await describe(imap, uids, self._validity, all_mail=self.name == self._session.all_mail)
        last = uids[-1] if uids else seen
        self._known = {uid_of(listed.place): listed for listed in copies}
        if not more:
            self.watch.is_listed(imap.known.validity, last)
        if copies:
            self._session.note_mail()
        cursor = after if after is not None and not uids else self._cursor(imap, last, position)
        return Listing(tuple(copies), cursor, more, came_since=position is not None and position.after_all)

    async def _now(self, imap: ImapConnection) -> Cursor:
        # Selected anew, since UIDNEXT is told only then.
        await self._session.select(self.name)
        last = await _last_uid(imap)
        return self._cursor(imap, last, Position("", 0, after_all=True, start=last))

    async def _check(self, imap: ImapConnection, position: Position | None, opening: Opening | None) -> None:
        """Raise CursorLost if the position means nothing any more; else its generation is that of the places."""
        whose = f"{self.name} of {self._session.mailbox}"
        if position is None:
            raise CursorLost(f"the cursor of the folder {whose} cannot be read")
        self._generation = position.generation
        if position.validity != imap.known.validity:
            self._generation += 1
            raise CursorLost(f"the folder {whose} was made anew on the server (UIDVALIDITY)")
        if opening and await _went_back(imap, position, opening):
            self._generation += 1
            raise CursorLost(f"the folder {whose} went back on the server, as one restored from a backup does")

    def _valid(self, imap: ImapConnection) -> str:
        return valid_in(imap.known.validity, self._generation)

    def _cursor(self, imap: ImapConnection, uid: int, began: Position | None = None) -> Cursor:
        """Make the cursor after a UID, of a reading that began as `began` says."""
        known = imap.known
        after_all, start = (began.after_all, began.start) if began else (False, None)
        modseq = known.number("HIGHESTMODSEQ")
        return Position(known.validity, uid, modseq, self._generation, after_all, start).cursor

    def _forget_others(self, imap: ImapConnection) -> None:
        """Forget what is known of UIDs that are other messages now."""
        if self._validity != self._valid(imap):
            self._validity, self._ahead_of, self._known = self._valid(imap), HIGHEST_UID, {}
            self._mover.fresh_from = None

    async def _uids_after(self, imap: ImapConnection, seen: int, limit: int, opening: Opening | None) -> Sequence[int]:
        """Return, in order, more than `limit` UIDs beyond `seen`, or all there are."""
        ahead = self._ahead[bisect_right(self._ahead, seen) :] if seen >= self._ahead_of else ()
        if len(ahead) <= limit:
            told = opening.beyond(seen) if opening else None
            ahead = await _searched_beyond(imap, seen) if told is None else told
            self._ahead, self._ahead_of = ahead[: max(KNOWN_AHEAD, limit + 1)], seen
        return ahead

    async def _described(self, imap: ImapConnection, uids: Sequence[int]) -> Iterable[Listed]:
        known = self._known if self._validity == self._valid(imap) else {}
        found = {uid: known[uid] for uid in uids if uid in known}
        for chunk in _chunks([uid for uid in uids if uid not in found], PAGE):
            found |= {uid_of(listed.place): listed for listed in await describe(imap, chunk, self._valid(imap))}
        return [found[uid] for uid in uids if uid in found]


async def _went_back(imap: ImapConnection, position: Position, opening: Opening) -> bool:
    if 0 < opening.modseq < position.modseq:
        return True
    # A server may be wrong about UIDNEXT; about what is there it is not.
    return 0 < opening.uidnext <= position.uid and max(await search(imap, "UID", "*"), default=0) < opening.uidnext


async def _last_uid(imap: ImapConnection) -> int:
    """Return the last UID that was given out, or is there: a server need not tell UIDNEXT."""
    upcoming = imap.known.number("UIDNEXT")
    return upcoming - 1 if upcoming else max(await search(imap, "UID", "*"), default=0)


async def _searched_beyond(imap: ImapConnection, uid: int) -> Sequence[int]:
    # What comes from now on is news again.
    imap.known.news = False
    # "n:*" always names the last message, even where its UID is below n (RFC 3501 §6.4.8).
    return sorted(one for one in await search(imap, "UID", f"{min(uid + 1, HIGHEST_UID)}:*") if one > uid)


def _present(place: Place, received_at: datetime | None, position: Position | None) -> Present:
    uid = uid_of(place)
    waits, since_start = (uid > position.uid, position.since_start(uid)) if position else (True, None)
    return Present(place, received_at, waits, since_start)


def _chunks(uids: Sequence[int], size: int) -> Iterable[Sequence[int]]:
    return (uids[start : start + size] for start in range(0, len(uids), size))
