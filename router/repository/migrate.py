"""Brings the schema to the version of this program: applies the migrations that are missing, in order.

The runner makes the schema `router` and its table `router.migration`; everything else is the files'.

A migration often needs a lock that bars everybody from a table, and whoever comes while it waits for that lock waits
behind it. So it waits only briefly, gives way, and is tried again later.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeAlias

import asyncpg
import structlog
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    retry_if_result,
    stop_after_delay,
    wait_exponential,
    wait_fixed,
    wait_random,
)

from router.errors import MigrationError
from router.postgres.binaries import OLDEST
from router.repository.connect import SESSION, Server
from router.repository.faults import translated, words_of
from router.repository.schema import MIGRATIONS, Migration, missing_migrations, read_migrations

_Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_LOCK: Final = 0x656D61696C7274  # "emailrt": any number, the same for all who migrate
_POLL: Final = 0.2  # seconds between two tries to get that lock
_LOOK: Final = 0.3  # seconds between two looks at what a migration waits for

# How long a migration may wait for a lock, and hold up those who come after it.
_GIVES_WAY: Final = "2s"
_GIVES_WAY_OUTSIDE: Final = "60s"  # without a transaction, as CREATE INDEX CONCURRENTLY is, it holds nobody up
_TRIES_FOR: Final = 300.0  # seconds, for each migration
_LONGEST_PAUSE: Final = 15.0  # seconds between two tries

_WHERE_A_TABLE: Final = re.compile(r"^-- where (\S+) is a table$", re.MULTILINE)

_BLOCKED: Final = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)  # others hold what it has to lock

_log = structlog.get_logger(__name__)

_OWN_TABLE: Final = """
CREATE SCHEMA IF NOT EXISTS router;
CREATE TABLE IF NOT EXISTS router.migration (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
"""


async def migrate(dsn: str, folder: Path = MIGRATIONS) -> list[str]:
    """Apply what is missing and return its names, such as "0001_crm". Any number of processes may do so at once.

    MigrationError if the database is not one that this program can work with, or if what a migration needs was locked
    for five minutes; DatabaseError if it cannot be reached.
    """
    files = read_migrations(folder)
    with translated():
        server = Server(dsn)
        async with _session(server) as connection:
            await _check_server(connection)
            if not await missing_migrations(connection, files):
                return []  # without a lock, and without the right to change the schema
            await _take_turn(connection)
            await _run(connection, "making the schema router", _OWN_TABLE)
            missing = await missing_migrations(connection, files)
            async with _session(server) as observer:
                # Of a new database they are all: a line for each would hide what the log tells besides.
                is_new = len(missing) == len(files)
                for file in missing:
                    await _Applying(file, connection, observer).apply()
                    (_log.debug if is_new else _log.info)("migrated", migration=str(file))
                if is_new:
                    _log.info("migrated", migrations=len(missing), last=str(missing[-1]))
            return [str(file) for file in missing]


async def _take_turn(connection: _Connection) -> None:
    """Wait until no other process migrates; the lock goes with the session.

    Asked for again and again: a session that waits in PostgreSQL would hold up CREATE INDEX CONCURRENTLY of the process
    that it waits for.
    """

    def tell(state: RetryCallState) -> None:
        if state.attempt_number % 50 == 5:  # after a second, and then every ten
            _log.warning("another process migrates the database: waiting", seconds=round(state.idle_for))

    await AsyncRetrying(wait=wait_fixed(_POLL), retry=retry_if_result(lambda ours: not ours), before_sleep=tell)(
        connection.fetchval, "SELECT pg_try_advisory_lock($1)", _LOCK
    )


class _Applying:
    """One migration, in as many tries as it takes."""

    def __init__(self, file: Migration, connection: _Connection, observer: _Connection) -> None:
        self._file = file
        self._connection = connection
        self._observer = observer
        self._blockers = "others, who are gone now"

    async def apply(self) -> None:
        try:
            await AsyncRetrying(
                stop=stop_after_delay(_TRIES_FOR),
                wait=wait_exponential(multiplier=0.5, max=_LONGEST_PAUSE) + wait_random(0, 0.5),
                retry=retry_if_exception_type(_BLOCKED),
                before_sleep=self._tell,
                reraise=True,
            )(self._try)
        except _BLOCKED as error:
            raise MigrationError(
                f"migration {self._file} gave way for {_TRIES_FOR / 60:.0f} minutes, since what it has to lock is held "
                f"by {self._blockers}: end that, and try again ({words_of(error)})"
            ) from error

    def _tell(self, state: RetryCallState) -> None:
        pause = state.next_action.sleep if state.next_action else 0.0
        _log.warning(
            "a migration gives way and is tried again: what it has to lock is held",
            migration=str(self._file),
            held_by=self._blockers,
            pause=round(pause, 1),
        )

    async def _try(self) -> None:
        async with self._observed():
            if self._file.in_transaction:
                async with self._connection.transaction():
                    await self._connection.execute(f"SET LOCAL lock_timeout = '{_GIVES_WAY}'")
                    await _run(self._connection, f"migration {self._file}", self._file.sql)
                    await self._record()
            else:
                await self._connection.execute(f"SET lock_timeout = '{_GIVES_WAY_OUTSIDE}'")
                line = 0
                for statement in self._file.sql.strip().split(";\n"):
                    if await self._concerns(statement):
                        await _run(self._connection, f"migration {self._file}", statement, line)
                    line += statement.count("\n") + 1
                await self._connection.execute("RESET lock_timeout")
                await self._record()

    async def _concerns(self, statement: str) -> bool:
        """Whether what a statement is only for is there: a table, in whose place the CRM may have put a view."""
        condition = _WHERE_A_TABLE.search(statement)
        return condition is None or bool(
            await self._connection.fetchval(
                "SELECT relkind IN ('r', 'p') FROM pg_class WHERE oid = to_regclass($1)", condition[1]
            )
        )

    async def _record(self) -> None:
        await self._connection.execute(
            "INSERT INTO router.migration (version, name, checksum) VALUES ($1, $2, $3)",
            self._file.version,
            self._file.name,
            self._file.checksum,
        )

    @asynccontextmanager
    async def _observed(self) -> AsyncIterator[None]:
        """Remember who is waited for: once PostgreSQL gives the wait up, it does not tell any more."""
        looking = asyncio.create_task(self._look(self._connection.get_server_pid()))
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _look(self, pid: int) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            found = await self._observer.fetch(
                """
                SELECT DISTINCT a.pid, a.usename, a.application_name, a.state, a.xact_start
                FROM unnest(pg_blocking_pids($1)) AS b (pid) JOIN pg_stat_activity AS a ON a.pid = b.pid ORDER BY a.pid
                """,
                pid,
            )
            if found:
                self._blockers = "; ".join(map(_words, found))


def _words(blocker: asyncpg.Record) -> str:
    """Tell who it is. State and time are there only for sessions of our own role, or with the right to see others'."""
    details = [blocker["usename"], blocker["application_name"], blocker["state"]]
    if blocker["xact_start"] is not None:
        details.append(f"since {blocker['xact_start']:%Y-%m-%d %H:%M:%S} UTC")
    return f"PostgreSQL process {blocker['pid']} ({', '.join(filter(None, details))})"


async def _run(connection: _Connection, what: str, sql: str, above: int = 0) -> None:
    """Run a script, and say where it failed; `above` counts the lines of the file before it."""
    try:
        await connection.execute(sql)
    except _BLOCKED:
        raise
    except asyncpg.PostgresError as error:
        # `position` counts characters of the whole script from 1; many errors have none.
        line = f", line {above + sql.count(chr(10), 0, int(error.position)) + 1}" if error.position else ""
        raise MigrationError(f"{what}{line}: {words_of(error)}") from error


async def _check_server(connection: _Connection) -> None:
    version = connection.get_server_version()
    if version.major < OLDEST:
        raise MigrationError(f"the server is PostgreSQL {version.major}; {OLDEST} is the oldest that will do")
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        raise MigrationError(
            f"the database is encoded in {encoding}: make another with "
            "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )


@asynccontextmanager
async def _session(server: Server) -> AsyncIterator[_Connection]:
    connection = await server.connect(server_settings={"application_name": "email-router migrate", **SESSION})
    try:
        yield connection
    except BaseException:
        # Without a word to the server: it may be what we wait for. Our lock goes with the session.
        connection.terminate()
        raise
    await connection.close()
