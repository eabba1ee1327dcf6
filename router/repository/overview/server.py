"""The database server itself, and what has waited too long in it, for whoever looks after it."""

from dataclasses import dataclass
from datetime import datetime

from router.repository.database import Database


@dataclass(frozen=True, slots=True)
class Server:
    """The server: its clock, its version, the last migration, the size of the database in bytes, and connections."""

    now: datetime
    version: str
    migration: str
    size: int
    connections: int
    most_connections: int


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A source whose mail server was not told yet of what became of copies; `since` is when the oldest was decided."""

    profile: str
    mailbox: str
    folder: str
    since: datetime


async def read_clock(database: Database) -> datetime:
    """Ask for the server's time."""
    async with database.connection() as connection:
        now: datetime = await connection.fetchval("SELECT clock_timestamp()")
    return now


async def read_server(database: Database) -> Server:
    """Ask the server about itself."""
    async with database.connection() as connection:
        row = await connection.fetchrow(
            """
            SELECT clock_timestamp() AS now, current_setting('server_version') AS version,
                (SELECT to_char(version, 'FM0000') || '_' || name FROM router.migration ORDER BY version DESC LIMIT 1)
                    AS migration,
                pg_database_size(current_database()) AS size,
                (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
                current_setting('max_connections')::int AS most_connections
            """
        )
    assert row is not None
    return Server(**row)


async def list_unsettled(database: Database) -> list[Unsettled]:
    """List the sources that are read and have something to settle, each by one look into the index of decisions."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT s.profile, s.mailbox, s.folder, d.since
            FROM router.source AS s
            CROSS JOIN LATERAL (
                SELECT decided_at AS since FROM router.decision
                WHERE source_id = s.id AND settled_at IS NULL ORDER BY decided_at LIMIT 1
            ) AS d
            WHERE s.process_id IS NOT NULL ORDER BY d.since
            """
        )
    return [Unsettled(**row) for row in rows]
