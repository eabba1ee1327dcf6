"""A PostgreSQL of its own for each test process, and a database of its own for each test."""

import asyncio
import itertools
import shutil
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import asyncpg
import pytest

from router.postgres.embedded import EmbeddedServer
from router.repository.connect import accepts_sessions
from router.repository.migrate import migrate
from tests.servers.folder import new_folder

# Nothing here has to survive a power cut.
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}


class Postgres:
    """The embedded server in a thread and an event loop that outlive the tests' own, with the schema as a template."""

    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="embedded PostgreSQL")
        self._server = EmbeddedServer(folder, settings=_FAST, accepts_sessions=accepts_sessions)
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._admin = self._run(self._start())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._run(self._stop())
        finally:
            self._end()

    @property
    def server(self) -> EmbeddedServer:
        return self._server

    def clone(self, template: str = "email_router", *, original: bool = True) -> str:
        """Make a database and return its name; unless it is the `original`, the router knows that it is a copy."""
        name = f"test_{next(self._numbers)}"
        # By copying files: the template never changes, so its checkpoint is free, and no row goes through the log.
        self._run(
            self._admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy OWNER email_router")
        )
        if original:
            self._run(self._make_original(name))
        return name

    def drop(self, name: str) -> None:
        self._run(self._admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))

    @asynccontextmanager
    async def away(self, dsn: str) -> AsyncIterator[None]:
        """Take a database away from every router meanwhile."""
        name = urlsplit(dsn).path.removeprefix("/")
        admin = await asyncpg.connect(self._server.superuser_dsn("postgres"))
        try:
            await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            await admin.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = $1 AND application_name LIKE 'email-router%'",
                name,
            )
            yield
        finally:
            await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            await admin.close()

    def dsn(self, database: str) -> str:
        return self._server.dsn.replace("/email_router?", f"/{database}?")

    async def _start(self) -> "asyncpg.Connection[asyncpg.Record]":
        await self._server.__aenter__()
        await migrate(self._server.dsn)
        return await asyncpg.connect(self._server.superuser_dsn("postgres"))

    async def _make_original(self, name: str) -> None:
        connection = await asyncpg.connect(self.dsn(name))
        try:
            await connection.execute(
                "UPDATE router.installation SET database_oid = (SELECT oid FROM pg_database WHERE datname = $1)", name
            )
        finally:
            await connection.close()

    async def _stop(self) -> None:
        await self._admin.close()
        await self._server.__aexit__(None, None, None)

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for this test process."""
    folder = new_folder("pg-")  # each test copies a database into it: a thousand files
    try:
        with Postgres(folder) as running:
            yield running
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """The DSN of a new, migrated, empty database."""
    name = postgres.clone()
    yield postgres.dsn(name)
    postgres.drop(name)
