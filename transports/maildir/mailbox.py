"""One folder of a Maildir, as its readers see it."""

import asyncio
import re
from bisect import bisect_right
from collections.abc import AsyncIterator, Collection, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime

from transports._attention import Attention
from transports._content import Content, as_content
from transports.base import (
    PAGE,
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
from transports.errors import CursorLost, Permanent, TransportError
from transports.maildir.disk import Disk
from transports.maildir.files import MaildirFiles, Stamp
from transports.maildir.names import TOKEN, in_order, token

GRANULE = 2.0
"""Seconds. Within so long, a disk may date two changes alike (FAT), so a folder that has just changed is read again."""

_CURSOR = re.compile(rf"names:((?:[\w-]{{{TOKEN}}})*)", re.ASCII)


class MaildirMailbox:
    """See `Mailbox`. The cursor is "names:", and a token for each message that was seen and is still there.

    That is 1.2 MB for 100,000 messages.
    """

    def __init__(self, disk: Disk, files: MaildirFiles, name: str) -> None:
        self._disk = disk
        self._files = files
        self._lock = asyncio.Lock()
        self._ahead: Sequence[Listed] = ()
        self._listed = ""
        self._stamp: Stamp | None = None
        self._stamped_at = 0.0
        self._is_final = False
        self.name = name
        self.attention = Attention()

    async def list(self, after: Cursor | None, limit: int) -> Listing:
        """List what came after the cursor. See `Mailbox.list`."""
        seen = _tokens(after)
        try:
            async with self._lock:
                # What was read ahead may not be the end any more.
                if not limit or seen != self._listed or len(self._ahead) <= limit:
                    seen = await self._scan(seen)
                copies = self._ahead[: limit or None]
                seen += "".join(token(one.place.id) for one in copies)
                self._ahead, self._listed = self._ahead[len(copies) :], seen
                # Whoever asks for the present is yet to list what comes after it.
                self.attention.dirty = bool(self._ahead) or not limit
        except TransportError:
            self._note_failure()
            raise
        self.attention.troubled = False
        return Listing(tuple(copies) if limit else (), Cursor(f"names:{seen}"), more=bool(self._ahead))

    async def fetch(self, places: Sequence[Place], part: Part) -> AsyncIterator[Received]:
        """Yield the copies at these places. See `Mailbox.fetch`."""
        messages = [place.id for place in places if not place.validity]
        try:
            while places:
                copies = await self._disk.run(self._files.read, messages, part)
                for copy in copies:
                    if copy is not None:
                        yield copy
                messages = messages[len(copies) :]
                if not messages:
                    return
        except TransportError:
            self._note_failure()
            raise

    async def present(self, cursor: Cursor | None, beyond: Place | None = None) -> AsyncIterator[Sequence[Present]]:
        """Yield all that lies there, by name. See `Mailbox.present`."""
        behind = _behind(cursor)
        ids = await self._disk.run(self._files.ids)
        begin = bisect_right(ids, in_order(beyond.id), key=in_order) if beyond else 0
        for start in range(begin, len(ids), PAGE):
            times = await self._disk.run(self._files.times, ids[start : start + PAGE])
            if times:
                yield [Present(Place("", id_), at, waits=token(id_) not in behind) for id_, at in times.items()]

    def compared(self, cursor: Cursor, place: Place) -> Present:
        """Look for its name. See `Mailbox.compared`."""
        return Present(place, None, waits=token(place.id) not in _behind(cursor))

    async def search(self, wanted: Wanted, limit: int) -> Candidates:
        """Read the headers of the newest files of the time that is meant. See `Mailbox.search`."""
        async with self._lock:
            scan = await self._disk.run(self._files.scan, "")
        in_time = [one for one in scan.copies if wanted.came_in_time(one.received_at)]
        newest = [one.place for one in reversed(in_time[-limit:])]
        copies = [copy async for copy in self.fetch(newest, "headers")]
        found = tuple(copy for copy in copies if copy.fault is None)
        return Candidates(found, certain=len(in_time) <= limit and len(found) == len(copies))

    async def settle(self, done: Sequence[Settlement]) -> None:
        """Rename, move or remove the files. See `Mailbox.settle`."""
        wanted = [one for one in done if one.after.action != "keep" and not one.after.moves_to(self.name)]
        ours = [one for one in wanted if not one.place.validity]
        if ours:
            await self._disk.run(self._files.settle, ours)

    async def append(
        self, content: bytes | Content, flags: Collection[Flag] = (), when: datetime | None = None
    ) -> Place | None:
        """Write a file, which appears when it is whole. See `Mailbox.append`."""
        writing = await self._disk.run(self._files.create)
        try:
            async for piece in as_content(content):
                await self._disk.run(writing.write, piece)
            return Place("", await self._disk.run(writing.finish, flags, when))
        except BaseException:
            writing.give_up()
            raise

    def stirs(self) -> bool:
        """Whether it was changed since it was listed to its end, in whatever way. Blocks."""
        return not self._is_final or self._files.stamp() != self._stamp

    async def look(self) -> None:
        """Find out whether something has come since it was listed to its end."""
        async with self._lock:
            if self.attention.dirty:
                return
            try:
                self._listed = await self._scan(self._listed)
            except Permanent:
                self._note_failure()
                return
            self.attention.dirty = bool(self._ahead)

    async def _scan(self, seen: str) -> str:
        """Read the folder, and return what of `seen` is still there."""
        scan = await self._disk.run(self._files.scan, seen)
        if scan.stamp != self._stamp:
            self._stamp, self._stamped_at = scan.stamp, scan.at
        self._is_final = scan.at - self._stamped_at >= GRANULE
        self._ahead = scan.copies
        return scan.kept

    def _note_failure(self) -> None:
        self.attention.note_failure()
        self._ahead = ()


def _behind(cursor: Cursor | None) -> AbstractSet[str]:
    seen = _tokens(cursor)
    return {seen[begin : begin + TOKEN] for begin in range(0, len(seen), TOKEN)}


def _tokens(after: Cursor | None) -> str:
    found = _CURSOR.fullmatch(after or "names:")
    if found is None:
        raise CursorLost("the cursor is of another kind of mailbox")
    return found[1]
