"""The INBOX of a POP3 account: what is new by UIDL, contents by TOP, and DELE (RFC 1939)."""

from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from functools import partial

from transports._attention import Attention
from transports._batches import batches
from transports.base import (
    PAGE,
    Action,
    Candidates,
    Cursor,
    Listed,
    Listing,
    Part,
    Place,
    Present,
    Received,
    Settlement,
    Wanted,
)
from transports.errors import Permanent, TransportError
from transports.pop3.connection import Connection
from transports.pop3.contents import heads, received_at
from transports.pop3.cursor import cursor, mark, marks_of
from transports.pop3.maildrop import Maildrop
from transports.pop3.poison import Content, read_isolating
from transports.pop3.reply import Refused
from transports.pop3.session import Sessions

FETCH_MESSAGES = 100
FETCH_BYTES = 4 << 20
"""What is read in one go at most; a larger message is read alone."""

ACTIONS: frozenset[Action] = frozenset(["keep", "delete"])


class Pop3Mailbox:
    """See `Mailbox`. A place is a UIDL; the cursor is the set of those that were shown."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._shown: frozenset[bytes] = frozenset()
        self._cut: Cursor | None = None
        self._untimed: dict[str, datetime] = {}
        self.attention = Attention()

    async def look(self) -> None:
        """Note whether the session shows what was not shown to the reader."""
        async with self._sessions.exclusive() as connection:
            self.attention.dirty = not self._shown.issuperset(map(mark, connection.maildrop.numbers))

    async def list(self, after: Cursor | None, limit: int) -> Listing:
        """List what came after the cursor. See `Mailbox.list`."""
        behind = marks_of(after)
        # The rest of a listing that was cut short is listed from the same maildrop, so in the same session.
        goes_on = after is not None and after == self._cut
        try:
            async with self._sessions.exclusive(fresh=not goes_on) as connection:
                connection.stale = True
                listing = await self._list(connection, behind, limit)
        except TransportError:
            self.attention.troubled = True
            raise
        self.attention.troubled = False
        return listing

    async def fetch(self, places: Sequence[Place], part: Part) -> AsyncIterator[Received]:
        """Yield the copies at these places. See `Mailbox.fetch`."""
        ids = [place.id for place in places if not place.validity]
        try:
            while ids:
                async with self._sessions.exclusive() as connection:
                    group = next(batches(ids, partial(_size_in, connection.maildrop), FETCH_MESSAGES, FETCH_BYTES))
                contents = await read_isolating(self._sessions, group, part)
                for id_ in group:
                    if id_ in contents:
                        yield self._received(id_, contents.pop(id_))
                ids = ids[len(group) :]
        except TransportError:
            self.attention.note_failure()
            raise

    async def present(self, cursor: Cursor | None, beyond: Place | None = None) -> AsyncIterator[Sequence[Present]]:
        """Yield all that lies there, by UIDL. See `Mailbox.present`."""
        behind = marks_of(cursor)
        async with self._sessions.exclusive(fresh=True) as connection:
            ids = sorted(connection.maildrop.numbers)
        begin = bisect_right(ids, beyond.id) if beyond else 0
        for start in range(begin, len(ids), PAGE):
            await self._sessions.end()
            page = ids[start : start + PAGE]
            yield [Present(Place("", id_), None, waits=mark(id_) not in behind) for id_ in page]

    def compared(self, cursor: Cursor, place: Place) -> Present:
        """Look for its UIDL. See `Mailbox.compared`."""
        return Present(place, None, waits=mark(place.id) not in marks_of(cursor))

    async def search(self, wanted: Wanted, limit: int) -> Candidates:
        """Read the headers of the newest messages: a POP3 server cannot search. See `Mailbox.search`."""
        async with self._sessions.exclusive() as connection:
            numbers = connection.maildrop.numbers
            newest = list(numbers)[-limit:][::-1]
            tops = await connection.run(lambda wire: list(heads(wire, [numbers[id_][0] for id_ in newest])))
        read = [(id_, head) for id_, head in zip(newest, tops, strict=True) if isinstance(head, bytes)]
        # What does not tell when it came may be it.
        in_time = [
            self._received(id_, head)
            for id_, head in read
            if (at := received_at(head)) is None or wanted.came_in_time(at)
        ]
        return Candidates(tuple(in_time), certain=len(numbers) <= limit and len(read) == len(newest))

    async def settle(self, done: Sequence[Settlement]) -> None:
        """Delete, or keep: nothing else can be done. Deleted is only what QUIT has confirmed."""
        impossible = sorted({str(one.after) for one in done if one.after.action not in ACTIONS})
        if impossible:
            raise Permanent(f"POP3 cannot settle mail by {', '.join(impossible)}: only by keep or delete")
        ids = {one.place.id for one in done if one.after.action == "delete" and not one.place.validity}
        if not ids:
            return
        async with self._sessions.exclusive() as connection:
            numbers = connection.maildrop.numbers
            commands = [f"DELE {number}" for id_ in ids & numbers.keys() for number in numbers[id_]]
            try:
                await connection.run(lambda wire: wire.do(*commands), f"{connection.peer} does not delete")
                await connection.quit()
            finally:
                # Where one was refused, none is deleted.
                connection.close()

    async def _list(self, connection: Connection, behind: frozenset[bytes], limit: int) -> Listing:
        numbers, sizes = connection.maildrop.numbers, connection.maildrop.sizes
        marks = {id_: mark(id_) for id_ in numbers}
        self._untimed = {id_: at for id_, at in self._untimed.items() if id_ in numbers}
        if not limit:
            return Listing((), cursor(marks.values()))
        new = [id_ for id_ in numbers if marks[id_] not in behind]
        shown, more = new[:limit], len(new) > limit
        tops = await connection.run(lambda wire: list(heads(wire, [numbers[id_][0] for id_ in shown])))
        times = {id_: self._time_of(id_, head) for id_, head in zip(shown, tops, strict=True)}
        copies = [Listed(Place("", id_), sizes[numbers[id_][0]], at) for id_, at in times.items()]
        after = cursor([*behind.intersection(marks.values()), *(marks[id_] for id_ in shown)])
        self._cut = after if more else None
        if not more:
            self._shown, self.attention.dirty = frozenset(marks.values()), False
        return Listing(tuple(copies), after, more)

    def _received(self, id_: str, content: Content) -> Received:
        at = self._time_of(id_, content)
        if isinstance(content, Refused):
            return Received(Place("", id_), b"", at, fault=str(content))
        return Received(Place("", id_), content, at)

    def _time_of(self, id_: str, content: Content) -> datetime:
        """When the server took it; where nothing tells, when we first saw it."""
        told = received_at(content) if isinstance(content, bytes) else None
        return told or self._untimed.setdefault(id_, datetime.now(UTC))


def _size_in(maildrop: Maildrop, id_: str) -> int:
    """Return the size in bytes; 0 for what is gone."""
    return maildrop.sizes[maildrop.numbers[id_][0]] if id_ in maildrop.numbers else 0
