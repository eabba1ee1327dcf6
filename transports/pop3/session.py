"""The sessions of one mailbox, one after another; each is used by one task at a time.

A session shows the maildrop as it was at the login, and locks it for everybody else until it ends (RFC 1939 §4).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from transports._net.credentials import NO_TOKENS, Credential, Tokens, logging_in
from transports.base import After
from transports.errors import Permanent, TransportError
from transports.pop3.connection import Connection, connect
from transports.pop3.settings import Pop3Settings


class Sessions:
    """Opened by `begin`, and closed by `close`. A session that is lost is followed by another where one is needed."""

    def __init__(self, settings: Pop3Settings, mailbox: str, after: After, tokens: Tokens = NO_TOKENS) -> None:
        self._settings = settings
        self._after = after
        self._tokens = tokens
        self._is_open = False
        self._connection: Connection | None = None
        self._lock = asyncio.Lock()
        self.mailbox = mailbox
        self.account = settings.account_of(mailbox)

    async def begin(self) -> None:
        """Log in for the first session."""
        self._connection = await self._log_in()
        self._is_open = True

    async def close(self, *, abort: bool) -> None:
        """End the last session; `abort`: without a word to the server."""
        self._is_open = False
        if abort and self._connection is not None:
            self._connection.close()
        await self._quit()

    async def end(self) -> None:
        """End the session, so that others may have the maildrop; the next begins when it is needed."""
        async with self._lock:
            await self._quit()

    @asynccontextmanager
    async def exclusive(self, *, fresh: bool = False) -> AsyncIterator[Connection]:
        """Use the session alone; `fresh`: not one that is stale. Raises what a login raises."""
        self.require_open()
        async with self._lock:
            if fresh and self._connection is not None and self._connection.stale:
                await self._quit()
            if self._connection is None or self._connection.lost:
                self._connection = await self._log_in()
            if not self._connection.seen:
                await self._connection.look(self.mailbox, self._after)
            yield self._connection

    def require_open(self) -> None:
        """Raise Permanent where `begin` was not called yet, or `close` was."""
        if not self._is_open:
            raise Permanent("the mailbox is not open")

    async def _log_in(self) -> Connection:
        async def connected(credential: Credential) -> Connection:
            connection = await connect(self._settings)
            try:
                await connection.log_in(credential)
            except BaseException:
                connection.close()
                raise
            return connection

        return await logging_in(self._settings.auth, self.mailbox, self._tokens, connected)

    async def _quit(self) -> None:
        """End a session in which nothing is to be deleted: whether the server hears of it makes no difference."""
        connection, self._connection = self._connection, None
        if connection is not None and not connection.lost:
            with suppress(TransportError):
                await connection.quit()
