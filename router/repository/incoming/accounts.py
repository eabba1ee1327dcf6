"""The account on its server in which a source's cursor and places mean something, and what happens when it changes."""

from dataclasses import replace

from router.repository.database import Database
from router.repository.incoming.sources import HELD, NO_FAULT, Lease
from transports.base import Place


async def note_account(database: Database, lease: Lease, account: str) -> Lease:
    """Say that a source lies in this account by now. Raises LeaseLost if it is not ours any more.

    If it was read before, so do the folders of its mailbox that lay in the same account as it did.
    """
    async with database.connection() as connection:
        noted = await connection.fetch(
            """
            UPDATE router.source AS s SET account = $4 FROM router.source AS ours
            WHERE ours.id = $1 AND ours.process_id = $2 AND ours.epoch = $3
                AND (s.id = ours.id OR $5 AND s.identity = ours.identity AND s.account = ours.account)
            RETURNING s.id
            """,
            *lease.holder,
            account,
            lease.begun,
        )
    if not noted:
        raise lease.lost()
    return replace(lease, account=account)


async def begin_anew(database: Database, lease: Lease, account: str) -> None:
    """Let sources that nobody holds yet, in this account, take the place of the mailbox's in the account of the lease.

    They begin where those began, at no cursor: what has a disposition keeps it by its key. What became of copies in the
    former account stays known. Raises LeaseLost if the source is not ours any more.
    """
    async with database.transaction() as connection:
        identity = await connection.fetchval(
            f"SELECT identity FROM router.source WHERE {HELD} FOR UPDATE",  # noqa: S608  # constants
            *lease.holder,
        )
        if identity is None:
            raise lease.lost()
        rows = await connection.fetch(
            f"""
            UPDATE router.source SET identity = NULL, process_id = NULL, changed_at = now(),
                {NO_FAULT}
            WHERE identity = $1 AND account = $2 RETURNING id
            """,  # noqa: S608  # constants
            identity,
            lease.account,
        )
        former = [row["id"] for row in rows]
        await connection.execute(
            """
            INSERT INTO router.source (profile, mailbox, folder, owner_id, begins_at, identity, account)
            SELECT profile, mailbox, folder, owner_id, begins_at, $2, $3
            FROM router.source WHERE id = ANY($1::bigint[]) ORDER BY id
            """,
            former,
            identity,
            account,
        )
        await connection.execute(
            """
            DELETE FROM router.source AS s
            WHERE id = ANY($1::bigint[]) AND NOT EXISTS (SELECT FROM router.decision AS d WHERE d.source_id = s.id)
            """,
            former,
        )


async def newest_decided(database: Database, source_id: int, limit: int) -> list[tuple[Place, bytes]]:
    """List the places of the copies that were decided on last, newest first, with the keys of their messages."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT validity, coalesce(outer_place, place) AS place, key FROM router.decision
            WHERE source_id = $1 AND key IS NOT NULL ORDER BY decided_at DESC, id DESC LIMIT $2
            """,
            source_id,
            limit,
        )
    return [(Place(row["validity"], row["place"]), row["key"]) for row in rows]
