"""One mailbox, one session at a time: opened for a look, and ended by QUIT before we wait.

POP3 shows a maildrop as it was at the login and locks it until QUIT: what is new is seen in a new session only, and
between two looks there is none.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Self

from transports._net.credentials import NO_TOKENS, Tokens
from transports.base import After, Folder
from transports.errors import Missing
from transports.pop3.mailbox import Pop3Mailbox
from transports.pop3.session import Sessions
from transports.pop3.settings import Pop3Settings

INBOX = Folder("INBOX", "inbox")


class Pop3Account:
    """See `Account`. A session that is lost is followed by another where one is needed."""

    def __init__(self, settings: Pop3Settings, mailbox: str, after: After, tokens: Tokens = NO_TOKENS) -> None:
        self._sessions = Sessions(settings, mailbox, after, tokens)
        self._box: Pop3Mailbox | None = None

    async def __aenter__(self) -> Self:
        await self._sessions.begin()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._sessions.close(abort=exc[0] is not None)

    async def folders(self) -> Sequence[Folder]:
        """Return the one folder that there is. See `Account.folders`."""
        self._sessions.require_open()
        return [INBOX]

    async def counts(self) -> Mapping[str, int]:
        """Return how many messages there are. See `Account.counts`."""
        async with self._sessions.exclusive() as connection:
            return {INBOX.name: len(connection.maildrop.sizes)}

    async def all_folders(self) -> Sequence[Folder]:
        """Return the one folder that there is. See `Account.all_folders`."""
        return await self.folders()

    def folder(self, name: str) -> Pop3Mailbox:
        """Return the view of the INBOX. See `Account.folder`."""
        if name.upper() != INBOX.name:
            raise Missing(f"a POP3 mailbox has no folder {name}, only INBOX")
        self._box = self._box or Pop3Mailbox(self._sessions)
        return self._box

    async def changed(self) -> Collection[str]:
        """Return whether there is something new. See `Account.changed`."""
        self._sessions.require_open()
        box = self._box
        if box is None:
            return []
        if not box.attention.dirty:
            await box.look()
        return [INBOX.name] if box.attention.dirty else []

    async def wait(self, timeout: float) -> None:
        """End the session, so that others may have the maildrop, and wait. See `Account.wait`."""
        self._sessions.require_open()
        if self._box is not None and self._box.attention.urgent:
            return
        await self._sessions.end()
        await asyncio.sleep(timeout)
