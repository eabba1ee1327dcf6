"""Which migrations there are, and which of them a database has had: migrations/NNNN_name.sql, in order.

Our own and not Alembic, because the files are plain SQL, run as they stand, and there is no model to compare with.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg

from router.errors import MigrationError
from router.repository.database import Connection, Database
from router.repository.faults import translated

MIGRATIONS: Final = Path(__file__).with_name("migrations")
_FILE: Final = re.compile(r"(\d{4})_(\w+)\.sql")
_NO_TRANSACTION: Final = "-- no transaction"


@dataclass(frozen=True)
class Migration:
    """One file."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the file, in hexadecimal: an applied one must not change."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def in_transaction(self) -> bool:
        """Whether it is applied in one transaction; otherwise each of its statements is by itself."""
        return not self.sql.startswith(_NO_TRANSACTION)

    def __str__(self) -> str:
        return f"{self.version:04}_{self.name}"


def read_migrations(folder: Path = MIGRATIONS) -> list[Migration]:
    """Read the files in order, numbered from 1 without a gap."""
    migrations = []
    for path in sorted(folder.glob("*.sql")):
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path.name} is not a migration's name, such as 0001_crm.sql")
        migrations.append(Migration(int(match[1]), match[2], path.read_text(encoding="utf-8")))
    for expected, migration in enumerate(migrations, start=1):
        if migration.version != expected:
            raise MigrationError(f"migration {expected:04} is missing, or there twice: the next one is {migration}")
    return migrations


async def missing_migrations(
    connection: "asyncpg.Connection[asyncpg.Record] | Connection", files: Sequence[Migration]
) -> list[Migration]:
    """List the files that were not applied. MigrationError if others were, or one of them was changed since."""
    applied: list[Any] = []
    if await connection.fetchval("SELECT to_regclass('router.migration') IS NOT NULL"):
        applied = await connection.fetch("SELECT version, name, checksum FROM router.migration ORDER BY version")
    if len(applied) > len(files):
        raise MigrationError(
            f"the database is at migration {applied[-1]['version']:04}_{applied[-1]['name']}, and this program knows "
            f"{len(files)}: it was migrated by a newer version; install that one"
        )
    for row, file in zip(applied, files, strict=False):
        if row["version"] != file.version:
            raise MigrationError(f"migration {file} was never applied, but {row['version']:04}_{row['name']} was")
        if row["checksum"] != file.checksum:
            raise MigrationError(
                f"migration {file} was changed after it was applied: restore the file, and put changes into a new one"
            )
    return list(files[len(applied) :])


async def check_schema(database: Database, folder: Path = MIGRATIONS) -> None:
    """Raise MigrationError, with what is to be done, unless the schema is the one that this program needs."""
    files = read_migrations(folder)
    async with database.connection() as connection:
        with translated():
            missing = await missing_migrations(connection, files)
    if not missing:
        return
    at = len(files) - len(missing)
    has = f"has schema {at}, this program needs {len(files)}" if at else "has no schema of the router"
    raise MigrationError(f'the database {has}: run "email-router migrate", or start the new version')
