"""Whether the router may send: an admin can stop it; and a copy of the database neither sends nor reads.

A database is known by its PostgreSQL's system identifier and its own number there (oid). Both stay where it is renamed,
where a replica is promoted, and where the files are copied; a dump that is restored, a template's copy and pg_upgrade
change one of them.
"""

from dataclasses import dataclass
from datetime import datetime

from router.repository.database import Connection, Database, storable
from router.repository.outgoing.claim import OUTBOX_CHANNEL


@dataclass(frozen=True, slots=True)
class Sending:
    """Whether the router may send, since when, why and by whom (None: nobody has ever stopped or started it).

    `copied`: this is a copy, which neither sends nor reads.
    """

    on: bool
    reason: str | None
    changed_at: datetime
    copied: bool
    by: str | None = None


async def read_sending(database: Database) -> Sending:
    """Read only whether the router may send."""
    async with database.connection() as connection:
        return await sending_of(connection)


async def sending_of(connection: Connection) -> Sending:
    """The same, over a connection that is at hand."""
    row = await connection.fetchrow(
        """
        SELECT router.may_send() AS sending, i.reason, i.changed_at, router.is_copy() AS copied, i.changed_by
        FROM router.installation AS i
        """
    )
    assert row is not None
    return Sending(row["sending"], row["reason"], row["changed_at"], row["copied"], row["changed_by"])


async def set_sending(database: Database, *, on: bool, reason: str | None = None, by: str | None = None) -> bool:
    """Start or stop sending for every process of this database; `by` whom. Starting makes a copy the real one.

    Returns whether it was a copy until now.
    """
    async with database.transaction() as connection:
        copied: bool = await connection.fetchval("SELECT router.is_copy() FROM router.installation FOR UPDATE")
        await connection.execute(
            "UPDATE router.installation SET sending = $1, reason = $2, changed_by = $3, changed_at = now()",
            on,
            storable(reason),
            storable(by),
        )
        if on:
            await connection.execute(
                """
                UPDATE router.installation AS i SET system_identifier = c.system_identifier, database_oid = d.oid
                FROM pg_control_system() AS c, pg_database AS d WHERE d.datname = current_database()
                """
            )
        if on and copied:
            await connection.execute("SELECT router.count_transactions_on()")
            # The other database's routers may have put them into the Sent folders since: they are looked for there.
            await connection.execute(
                "UPDATE router.sent_copy SET attempts = 1 "
                "WHERE attempts = 0 AND appended_at IS NULL AND given_up_at IS NULL"
            )
        await connection.execute("SELECT pg_notify($1, '')", OUTBOX_CHANNEL)
    return copied
