"""A PostgreSQL that is stopped and started again in the midst of everything, and SQL that outlasts that."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self

import asyncpg

from router.postgres.cluster import Cluster
from router.postgres.embedded import EmbeddedServer
from router.repository.connect import accepts_sessions
from router.repository.migrate import migrate
from tests.support.crm import Connection

ENDINGS = (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)
"""Ways for a server to end: it ends all sessions in order, it gives them up, it is killed."""

# What is committed outlasts the server's end, but not that of its machine.
_SETTINGS = {"fsync": "off", "full_page_writes": "off", "max_connections": "200"}

_AWAY = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)


class Server:
    """`async with Server() as server:` has the schema, and is reached at `dsn` whenever it is up."""

    async def __aenter__(self) -> Self:
        # Not pytest's folders: their paths are too long for a socket, and closed to PostgreSQL's user.
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._folder.chmod(0o755)
        self._running: EmbeddedServer | None = None
        self.up_since = 0.0
        """When it was last started, by the loop's clock; infinite while it is away."""
        try:
            await self.start()
            await migrate(self.dsn)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    @property
    def dsn(self) -> str:
        """For the router's own role."""
        return self._server.dsn

    def superuser_dsn(self) -> str:
        return self._server.superuser_dsn()

    @property
    def socket(self) -> str:
        """Where it listens."""
        return str(Cluster(self._folder).socket)

    async def start(self) -> None:
        """Start, and return when sessions can be opened; what a crash left is recovered by then."""
        # A new one each time: one that keeps a server running would make longer pauses each time it ends.
        self._server = self._running = EmbeddedServer(
            self._folder, settings=_SETTINGS, accepts_sessions=accepts_sessions
        )
        await self._running.__aenter__()
        self.up_since = asyncio.get_running_loop().time()

    async def end(self, how: signal.Signals) -> None:
        """End in one of the ENDINGS."""
        self.up_since = float("inf")
        server, self._running = self._running, None
        if server is None:
            return
        if server.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(server.pid, how)
        await server.__aexit__(None, None, None)

    async def _close(self) -> None:
        await self.end(signal.SIGQUIT)
        shutil.rmtree(self._folder)


class Sql:
    """One session that is opened again whenever the server was away; so what it says is said twice at times."""

    def __init__(self, server: Server, *, as_crm: bool = False) -> None:
        self._server = server
        self._as_crm = as_crm
        self._connection: Connection | None = None
        self._turn = asyncio.Lock()

    async def fetch(self, query: str, *arguments: Any) -> Sequence[asyncpg.Record]:
        """Run one statement; it is repeated until it was answered."""
        async with self._turn:
            while True:
                try:
                    connection = await self.connected()
                    return await connection.fetch(query, *arguments)
                except _AWAY:
                    self.close()
                    await asyncio.sleep(0.1)

    async def value(self, query: str, *arguments: Any) -> Any:
        """As `fetch`, for one value."""
        rows = await self.fetch(query, *arguments)
        return rows[0][0] if rows else None

    async def connected(self) -> Connection:
        """Return the session; raises while the server is away."""
        if self._connection is None or self._connection.is_closed():
            dsn = self._server.superuser_dsn() if self._as_crm else self._server.dsn
            self._connection = await asyncpg.connect(dsn, timeout=5, command_timeout=30)
            if self._as_crm:
                await self._connection.execute("SET ROLE email_router_crm")
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


@asynccontextmanager
async def left_open(server: Server, statements: Sequence[tuple[str, Sequence[Any]]]) -> AsyncIterator[None]:
    """Run statements as the CRM, in a transaction that stays open meanwhile, and is then rolled back.

    While the server is away nothing is run; its end rolls back, too.
    """
    sql = Sql(server, as_crm=True)
    try:
        with suppress(*_AWAY):
            connection = await sql.connected()
            await connection.execute("BEGIN")
            for statement, arguments in statements:
                await connection.execute(statement, *arguments)
        yield
    finally:
        sql.close()
