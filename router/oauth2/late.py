"""Makes the keeper once somebody asks for a token: what it is made of takes 20 MB and 0.15 s of each start."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from importlib import import_module
from typing import Self

from router.repository.database import Database
from router.settings import Settings
from transports import OAuth2, Tokens
from transports.base import Finding


class LateTokens:
    """A `Tokens`, as the keeper is; `async with LateTokens(settings, database) as tokens`.

    The tokens are kept in this database or, without one, in memory.
    """

    def __init__(self, settings: Settings, database: Database | None) -> None:
        self._settings = settings
        self._database = database
        self._keeper: Tokens | None = None
        self._making = asyncio.Lock()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def get(self, oauth2: OAuth2, mailbox: str) -> str:
        """Return an access token for a login to this mailbox; see `Tokens`."""
        return await (await self._made()).get(oauth2, mailbox)

    async def refused(self, oauth2: OAuth2, mailbox: str, token: str) -> bool:
        """Hear that a server refused a token; see `Tokens`."""
        return await (await self._made()).refused(oauth2, mailbox, token)

    async def examine(self, oauth2: OAuth2, mailbox: str) -> AsyncIterator[Finding]:
        """Try to have a token, step by step; see `Tokens`."""
        async for finding in (await self._made()).examine(oauth2, mailbox):
            yield finding

    async def _made(self) -> Tokens:
        async with self._making:
            keeper = self._keeper
            if keeper is None:
                module = await asyncio.to_thread(import_module, "router.oauth2.keeper")
                made: AbstractAsyncContextManager[Tokens] = module.keeper_of(self._settings, self._database)
                self._keeper = keeper = await self._stack.enter_async_context(made)
            return keeper
