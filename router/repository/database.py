"""Connections to PostgreSQL, transactions and notifications. Errors of asyncpg end here."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Self

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from router.errors import ContentRefused, DatabaseAway, DatabaseError

Connection = PoolConnectionProxy
"""A connection of the pool, as queries take it."""

_OF_THE_SYSTEM = ("08", "25", "40", "53", "55", "57", "58")
_OF_THE_CONTENT = ("22", "23")


@contextmanager
def translated() -> Iterator[None]:
    """Turn what asyncpg and the socket raise into errors of ours that say whether to try again."""
    try:
        yield
    except asyncpg.PostgresError as error:
        words = f"{error} (SQLSTATE {error.sqlstate})"
        state = error.sqlstate or ""
        if state.startswith(_OF_THE_SYSTEM):
            raise DatabaseAway(words) from error
        if state.startswith(_OF_THE_CONTENT):
            raise ContentRefused(words) from error
        raise DatabaseError(words) from error
    except (asyncpg.DataError, UnicodeEncodeError, OverflowError) as error:
        raise ContentRefused(str(error)) from error
    except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise DatabaseAway(f"no connection to the database: {str(error) or type(error).__name__}") from error


def storable(text: str | None) -> str | None:
    """Rid a server's words of what PostgreSQL cannot hold: NUL and lone surrogates."""
    return text and text.replace("\0", "").encode("utf-8", "replace").decode()


class Database:
    """A pool of connections; `async with Database(dsn) as database`.

    A transaction in which nothing was said for `patience` seconds is given up by the server, with all that it locks:
    whoever began it hangs, or is a machine that died without a word.
    """

    def __init__(self, dsn: str, connections: int = 8, patience: float = 10.0) -> None:
        self._dsn = dsn
        self._patience = patience
        self._connections = connections

    async def __aenter__(self) -> Self:
        with translated():
            # asyncpg's own caching of statements serves us; jit never pays for short queries.
            self._pool = await asyncpg.create_pool(
                self._dsn,
                min_size=1,
                max_size=self._connections,
                command_timeout=60,
                server_settings={
                    "application_name": "email-router",
                    "jit": "off",
                    "idle_in_transaction_session_timeout": f"{self._patience * 1000:.0f}ms",
                    # A machine that is gone leaves its connection behind; the kernel's own patience is two hours.
                    "tcp_keepalives_idle": "10",
                    "tcp_keepalives_interval": "5",
                    "tcp_keepalives_count": "3",
                    "tcp_user_timeout": "20s",
                },
            )
        return self

    async def __aexit__(self, *exc: object) -> None:
        try:
            async with asyncio.timeout(2):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator["Connection"]:
        """Lend a connection; raises DatabaseAway, ContentRefused or DatabaseError."""
        with translated():
            async with self._pool.acquire() as connection:
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["Connection"]:
        """Lend a connection in a transaction that commits at the end; raises as `connection` does."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def listen(self, channel: str, event: asyncio.Event) -> None:
        """Set the event at every notification, and once at the beginning; runs until the connection ends or canceled.

        Raises DatabaseAway when the connection is lost: what was said meanwhile is unknown, so look, and listen again.
        """
        with translated():
            connection = await asyncpg.connect(self._dsn, server_settings={"application_name": "email-router listen"})
            lost = asyncio.Event()
            try:
                connection.add_termination_listener(lambda _: lost.set())
                await connection.add_listener(channel, lambda *_: event.set())
                event.set()
                await lost.wait()
            finally:
                connection.terminate()
        raise DatabaseAway(f"the connection that listens for {channel} was lost")
