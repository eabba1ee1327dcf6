"""Whether the router may send: an admin can stop it, and a copy of the database never does."""

from dataclasses import dataclass
from datetime import datetime

from router.repository.claim import OUTBOX_CHANNEL
from router.repository.database import Connection, Database


@dataclass(frozen=True, slots=True)
class Sending:
    """Whether the router may send, since when and why; `copied`: this is a copy of the database, which never sends."""

    on: bool
    reason: str | None
    changed_at: datetime
    copied: bool


async def read_sending(database: Database) -> Sending:
    """Read only whether the router may send."""
    async with database.connection() as connection:
        return await sending_of(connection)


async def sending_of(connection: Connection) -> Sending:
    """The same, over a connection that is at hand."""
    row = await connection.fetchrow(
        """
        SELECT router.may_send() AS sending, i.reason, i.changed_at,
            i.system_identifier <> c.system_identifier AS copied
        FROM router.installation AS i, pg_control_system() AS c
        """
    )
    assert row is not None
    return Sending(row["sending"], row["reason"], row["changed_at"], row["copied"])


async def set_sending(database: Database, *, on: bool, reason: str | None = None) -> None:
    """Start or stop sending for every process of this database; starting makes a copied database the real one."""
    async with database.transaction() as connection:
        await connection.execute(
            """
            UPDATE router.installation SET sending = $1, reason = $2, changed_at = now(),
                system_identifier = CASE WHEN $1 THEN (SELECT c.system_identifier FROM pg_control_system() AS c)
                    ELSE system_identifier END
            """,
            on,
            reason,
        )
        await connection.execute("SELECT pg_notify($1, '')", OUTBOX_CHANNEL)
