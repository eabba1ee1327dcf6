"""A pool of connections to PostgreSQL, its transactions and notifications."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from time import perf_counter
from typing import Final, Self

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from router import metrics
from router.errors import DatabaseAway
from router.repository.connect import SESSION, Server
from router.repository.faults import translated

_LOCKED_FOR = 3.0
"""Seconds that we wait for what others lock, such as a transaction that the CRM left open; then it is tried later."""

Connection = PoolConnectionProxy
"""A connection of the pool, as queries take it."""


def storable(text: str | None) -> str | None:
    """Rid a server's words of what PostgreSQL cannot hold: NUL and lone surrogates."""
    return text and text.replace("\0", "").encode("utf-8", "replace").decode()


# A database or a role may have it off. Other values are an admin's choice between replicas.
_LASTING: Final = (
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
)


# With their arguments at hand, large statements would be planned anew each time, which takes longer than to carry them
# out. Planned once, and before there is much to read, they must not begin to read whole tables.
_PLANNED_ONCE: Final = "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off"


async def _keep(_: object) -> None:
    """Take a connection back as it is: nothing here changes a session beyond a transaction, which asyncpg ends.

    Its own reset costs a round trip each time; ours comes only after an error.
    """


async def _begin(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """See to it that what is committed lasts: only then is a mail server told that we have a message."""
    await connection.execute(_LASTING)


async def _reset(connection: Connection) -> None:
    """Make a connection as it was: a trigger of the CRM's may have set something, such as a role, for the session."""
    try:
        await connection.execute(f"RESET ALL; RESET ROLE; {_LASTING}")
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        _end(connection)


def _end(connection: Connection) -> None:
    with suppress(asyncpg.InterfaceError):  # one that was lost counts as released
        connection.terminate()


class Database:
    """A pool of at most `connections` connections; `async with Database(dsn) as database`.

    The server ends a transaction in which nothing was said for `patience` seconds, and frees what it locks: the
    process that began it hangs, or its machine died without a word.
    """

    def __init__(self, dsn: str, connections: int = 8, patience: float = 10.0, keep_bytes: int = 30) -> None:
        """`keep_bytes` is for how many days the bytes of dead and held mail are kept."""
        self._server = Server(dsn)
        self._patience = patience
        self._connections = connections
        self._keep_bytes = keep_bytes
        self._statement: float | None = None

    async def connect(self, name: str, *, within: float) -> "asyncpg.Connection[asyncpg.Record]":
        """Open a connection apart from the pool, for what must not wait until others have done; the caller ends it.

        `name` is what the server's admin sees it by. Each host has its part of `within`, in seconds.
        """
        return await self._server.connect(
            within=within,
            server_settings={"application_name": name, "lock_timeout": f"{_LOCKED_FOR * 1000:.0f}ms", **SESSION},
        )

    def share(self, connections: int, *, statement: float | None = None) -> "Database":
        """Another pool on the same database, so that who uses the one never waits for who uses the other.

        The server ends a statement that takes longer than `statement` seconds. Without that it goes on when nobody
        waits for it any more, beside the connection that takes its place.
        """
        shared = Database("", connections, self._patience, self._keep_bytes)
        shared._server = self._server
        shared._statement = statement
        return shared

    async def __aenter__(self) -> Self:
        with translated():
            # asyncpg's own caching of statements serves us; jit never pays for short queries.
            self._pool = await asyncpg.create_pool(
                connect=self._server.connect,
                min_size=1,
                max_size=self._connections,
                init=_begin,
                reset=_keep,
                command_timeout=60,
                server_settings={
                    "application_name": "email-router",
                    "jit": "off",
                    "email_router.knows_ids": "yes",  # for the trigger crm.know_message_id
                    "email_router.keep_bytes": f"{self._keep_bytes} days",
                    "lock_timeout": f"{_LOCKED_FOR * 1000:.0f}ms",
                    "idle_in_transaction_session_timeout": f"{self._patience * 1000:.0f}ms",
                    **({} if self._statement is None else {"statement_timeout": f"{self._statement * 1000:.0f}ms"}),
                    **SESSION,
                },
            )
        metrics.database_connections(self._connections)
        return self

    async def __aexit__(self, *exc: object) -> None:
        metrics.database_connections(-self._connections)
        try:
            async with asyncio.timeout(1):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator["Connection"]:
        """Lend a connection; raises DatabaseAway, ContentRefused or DatabaseError, and DatabaseMisused for a bug."""
        with translated():
            asked = perf_counter()
            async with self._pool.acquire() as connection:
                metrics.database_waited(perf_counter() - asked)
                with metrics.database_in_use():
                    try:
                        yield connection
                    except (asyncpg.InterfaceError, asyncio.CancelledError):
                        # It may be in the midst of another query; or of one that is prepared and not run, in a
                        # transaction that nobody ends and that keeps its tables locked.
                        _end(connection)
                        raise
                    except asyncpg.PostgresError:
                        await _reset(connection)
                        raise

    async def ping(self) -> None:
        """Ask for an answer, and no more; raises as `connection` does."""
        async with self.connection() as connection:
            await connection.execute("SELECT 1")

    def transaction(self, *, planned_once: bool = False) -> AbstractAsyncContextManager["Connection"]:
        """Lend a connection in a transaction that commits at the end; raises as `connection` does.

        `planned_once`: for statements that are bound to indexes, whatever their arguments and the size of the tables.
        """
        return self._within(f"BEGIN; {_PLANNED_ONCE}" if planned_once else "BEGIN", "COMMIT")

    def rolled_back(self) -> AbstractAsyncContextManager["Connection"]:
        """Lend a connection in a transaction of which nothing stays; raises as `connection` does."""
        return self._within("BEGIN", "ROLLBACK")

    @asynccontextmanager
    async def _within(self, begin: str, end: str) -> AsyncIterator["Connection"]:
        async with self.connection() as connection:
            await connection.execute(begin)
            try:
                yield connection
            except asyncio.CancelledError:
                raise  # the connection ends, and the transaction with it: who stops waits for no answer to a ROLLBACK
            except BaseException:
                await connection.execute("ROLLBACK")
                raise
            await connection.execute(end)

    async def listen(self, channel: str, event: asyncio.Event) -> None:
        """Set the event at every notification, and once at the beginning; runs until the connection ends or canceled.

        Raises DatabaseAway when the connection is lost: what was said meanwhile is unknown, so look, and listen again.
        """
        await self.hear({channel: lambda _: event.set()})

    async def hear(self, channels: Mapping[str, Callable[[str], object]]) -> None:
        """Call with the words of every notification, and once at the beginning with none; else as `listen`."""
        with translated():
            connection = await self._server.connect(
                server_settings={"application_name": "email-router listen", **SESSION}
            )
            lost = asyncio.Event()
            try:
                connection.add_termination_listener(lambda _: lost.set())
                for channel, heard in channels.items():
                    await connection.add_listener(channel, lambda *told, heard=heard: heard(told[-1]))
                    heard("")
                await lost.wait()
            finally:
                connection.terminate()
        raise DatabaseAway(f"the connection that listens for {', '.join(channels)} was lost")
