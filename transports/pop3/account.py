"""One mailbox, one session at a time: opened for a look, and ended by QUIT before we wait.

POP3 shows a maildrop as it was at the login and locks it until QUIT: what is new is seen in a new session only, and
between two looks there is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Self

from transports.base import After, Folder, Missing, Permanent, TransportError
from transports.pop3.connection import Session, reach
from transports.pop3.mailbox import Pop3Mailbox

if TYPE_CHECKING:
    from transports.pop3.settings import Pop3Settings

INBOX = Folder("INBOX", "inbox")


class Pop3Account:
    """See `Account`. A session that is lost is followed by another where one is needed."""

    def __init__(self, settings: Pop3Settings, mailbox: str, after: After) -> None:
        self._settings = settings
        self._after = after
        self._open = False
        self._session: Session | None = None
        self._lock = asyncio.Lock()
        self._box: Pop3Mailbox | None = None
        self.mailbox = mailbox

    async def __aenter__(self) -> Self:
        self._session = await self._begin()
        self._open = True
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._open = False
        session = self._session
        if session is None or session.lost:
            return
        if exc[0] is not None:
            session.close()
        await self._end()

    async def folders(self) -> Sequence[Folder]:
        """Return the one folder that there is. See `Account.folders`."""
        self._require_open()
        return [INBOX]

    def folder(self, name: str) -> Pop3Mailbox:
        """Return the view of the INBOX. See `Account.folder`."""
        if name.upper() != INBOX.name:
            raise Missing(f"a POP3 mailbox has no folder {name}, only INBOX")
        self._box = self._box or Pop3Mailbox(self)
        return self._box

    async def changed(self) -> Collection[str]:
        """Return whether there is something new. See `Account.changed`."""
        self._require_open()
        box = self._box
        if box is None:
            return []
        if not box.dirty:
            async with self.turn() as session:
                box.compare(session)
        return [INBOX.name] if box.dirty else []

    async def wait(self, timeout: float) -> None:
        """End the session, so that others may have the maildrop, and wait. See `Account.wait`."""
        self._require_open()
        if self._box is not None and self._box.urgent:
            return
        async with self._lock:
            await self._end()
        await asyncio.sleep(timeout)

    # For its folder

    @asynccontextmanager
    async def turn(self, *, fresh: bool = False) -> AsyncIterator[Session]:
        """Have the session for oneself; `fresh`: not one that is stale."""
        self._require_open()
        async with self._lock:
            if fresh and self._session is not None and self._session.stale:
                await self._end()
            if self._session is None or self._session.lost:
                self._session = await self._begin()
            if not self._session.seen:
                await self._session.look(self.mailbox, self._after)
            yield self._session

    async def _begin(self) -> Session:
        session = await reach(self._settings)
        try:
            await session.log_in(self._settings.auth, self.mailbox)
        except BaseException:
            session.close()
            raise
        return session

    async def _end(self) -> None:
        """End a session in which nothing is to be deleted: whether the server hears of it makes no difference."""
        session, self._session = self._session, None
        if session is not None and not session.lost:
            with suppress(TransportError):
                await session.quit()

    def _require_open(self) -> None:
        if not self._open:
            raise Permanent("the mailbox is not open")
