"""Brings the schema to the version of this program: migrations/NNNN_name.sql, in order, each in one transaction.

Our own and not Alembic, because the files are plain SQL, run as they stand, and there is no model to compare with.
The runner makes the schema `router` and its table `router.migration`; everything else is the files'.
"""

import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
import structlog

from router.errors import DatabaseError, MigrationError
from router.postgres.binaries import OLDEST

MIGRATIONS: Final = Path(__file__).with_name("migrations")
_LOCK: Final = 0x656D61696C7274  # "emailrt": any number, the same for all who migrate
_FILE: Final = re.compile(r"(\d{4})_(\w+)\.sql")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Migration:
    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    def __str__(self) -> str:
        return f"{self.version:04}_{self.name}"


async def migrate(database: "str | asyncpg.Connection[asyncpg.Record]", folder: Path = MIGRATIONS) -> list[str]:
    """Apply what is missing and return its names, such as "0001_crm". Any number of processes may do so at once.

    MigrationError if the database is not one that this program can work with; DatabaseError if it cannot be reached.
    """
    files = _read(folder)
    async with _connection(database) as connection:
        await _check_server(connection)
        # Two CREATE SCHEMA IF NOT EXISTS at once may fail, so that is done under the lock, too.
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        try:
            applied = await _apply(connection, files)
        except Exception:
            if not connection.is_closed():
                await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)
            raise
        await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)
        return applied


async def _apply(connection: "asyncpg.Connection[asyncpg.Record]", files: list[_Migration]) -> list[str]:
    await _run(connection, "making the schema router", _OWN_TABLE)
    rows = await connection.fetch("SELECT version, name, checksum FROM router.migration ORDER BY version")
    if len(rows) > len(files):
        raise MigrationError(
            f"the database is at migration {rows[-1]['version']:04}_{rows[-1]['name']}, and this program knows "
            f"{len(files)}: it was migrated by a newer version; install that one"
        )
    for row, file in zip(rows, files, strict=False):
        if row["version"] != file.version:
            raise MigrationError(f"migration {file} was never applied, but {row['version']:04}_{row['name']} was")
        if row["checksum"] != file.checksum:
            raise MigrationError(
                f"migration {file} was changed after it was applied: restore the file, and put changes into a new one"
            )
    missing = files[len(rows) :]
    for file in missing:
        async with connection.transaction():
            await _run(connection, f"migration {file}", file.sql)
            await connection.execute(
                "INSERT INTO router.migration (version, name, checksum) VALUES ($1, $2, $3)",
                file.version,
                file.name,
                file.checksum,
            )
        _log.info("migrated", migration=str(file))
    return [str(file) for file in missing]


_OWN_TABLE: Final = """
CREATE SCHEMA IF NOT EXISTS router;
CREATE TABLE IF NOT EXISTS router.migration (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
"""


async def _run(connection: "asyncpg.Connection[asyncpg.Record]", what: str, sql: str) -> None:
    """Run a script, and say where it failed."""
    try:
        await connection.execute(sql)
    except asyncpg.PostgresError as error:
        # `position` counts characters of the whole script from 1; many errors have none.
        line = f", line {sql.count(chr(10), 0, int(error.position)) + 1}" if error.position else ""
        raise MigrationError(f"{what}{line}: {error} (SQLSTATE {error.sqlstate})") from error


async def _check_server(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    version = connection.get_server_version()
    if version.major < OLDEST:
        raise MigrationError(f"the server is PostgreSQL {version.major}; {OLDEST} is the oldest that will do")
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        raise MigrationError(
            f"the database is encoded in {encoding}: make another with "
            "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )


def _read(folder: Path) -> list[_Migration]:
    """Read the files in order, numbered from 1 without a gap."""
    migrations = []
    for path in sorted(folder.glob("*.sql")):
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path.name} is not a migration's name, such as 0001_crm.sql")
        migrations.append(_Migration(int(match[1]), match[2], path.read_text(encoding="utf-8")))
    for expected, migration in enumerate(migrations, start=1):
        if migration.version != expected:
            raise MigrationError(f"migration {expected:04} is missing, or there twice: the next one is {migration}")
    return migrations


@asynccontextmanager
async def _connection(
    database: "str | asyncpg.Connection[asyncpg.Record]",
) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    if not isinstance(database, str):
        yield database
        return
    try:
        connection = await asyncpg.connect(database)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DatabaseError(f"cannot connect to the database: {error}") from error
    try:
        yield connection
    except BaseException:
        # Without a word to the server: it may be what we wait for. Our lock goes with the session.
        connection.terminate()
        raise
    await connection.close()
