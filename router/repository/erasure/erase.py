"""Erasing a person: the emails that an address is on, one by one, each whole or the address's part of it.

`erased_bytes` has what is to be unpacked to look into it, and `mentions` all other text, in whatever column. An email
is locked as everywhere: Message-IDs, keys, outbox, `crm.email` and what hangs on it.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from router.repository.database import Connection, Database
from router.repository.erasure.sealed import delete_unneeded
from router.repository.erasure.taken_back import lock_email

NOBODY: Final = "@erased.invalid"
"""The domain of addresses that name nobody, in the place of erased ones."""

_PIECE: Final = 100

Became = Literal["whole", "part", "waits", "gone"]
"""Of an email: all of it is gone; the person's part of it; nothing, since it is to be sent; or it was gone before."""

_INSIDE: Final = """
    (p.address = '' OR p.address LIKE 'erased-%@erased.invalid'
    OR EXISTS (SELECT FROM crm.owner AS o WHERE o.mailbox = p.address)
    OR EXISTS (
        SELECT FROM crm.address AS a JOIN crm.record AS r ON r.id = a.record_id
        WHERE a.address = p.address AND r.kind::text IN ('user', 'queue')
    ))
"""

_EMAIL: Final = f"""
    SELECT
        e.status IN ('pending_send', 'sending') AS waits,
        EXISTS (SELECT FROM crm.party AS p WHERE p.email_id = e.id AND p.address = $2) AS names_it,
        EXISTS (SELECT FROM crm.party AS p WHERE p.email_id = e.id AND p.address = $2 AND p.role = 'from') AS wrote_it,
        NOT EXISTS (
            SELECT FROM crm.party AS p WHERE p.email_id = e.id AND p.address <> $2 AND NOT {_INSIDE}
        ) AS is_only
    FROM crm.email AS e WHERE e.id = $1
"""  # noqa: S608  # a constant


async def is_inside(database: Database, address: str) -> bool:
    """Whether it is the address of a user or queue, or an owner's mailbox."""
    async with database.connection() as connection:
        inside: bool = await connection.fetchval(
            f"SELECT {_INSIDE} FROM (VALUES ($1::text)) AS p (address)",  # noqa: S608  # a constant
            address,
        )
    return inside


async def list_waiting(database: Database, address: str) -> list[UUID]:
    """List emails of or to an address that are pending or being sent."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT DISTINCT e.id FROM crm.party AS p JOIN crm.email AS e ON e.id = p.email_id
            WHERE p.address = $1 AND e.status IN ('pending_send', 'sending') ORDER BY e.id
            """,
            address,
        )
    return [row["id"] for row in rows]


async def list_emails(database: Database, address: str) -> AsyncIterator[UUID]:
    """Yield the emails that an address is on."""
    after = UUID(int=0)
    while True:
        async with database.connection() as connection:
            rows = await connection.fetch(
                """
                SELECT DISTINCT email_id FROM crm.party WHERE address = $1 AND email_id > $2 ORDER BY email_id LIMIT $3
                """,
                address,
                after,
                _PIECE,
            )
        for row in rows:
            yield row["email_id"]
        if len(rows) < _PIECE:
            return
        after = rows[-1]["email_id"]


async def look_at_email(database: Database, email_id: UUID, address: str) -> Became:
    """Say what `erase_email` would do."""
    async with database.connection() as connection:
        return await _became(connection, email_id, address)


async def erase_email(
    database: Database, email_id: UUID, address: str, instead: str, by: str, *, forget_hashes: bool
) -> Became:
    """Erase an email if the address is the only one on it from outside, or else its part; raises DatabaseAway."""
    async with database.transaction() as connection:
        hashes = await lock_email(connection, email_id)
        await connection.execute("SELECT FROM router.outbox WHERE email_id = $1 FOR UPDATE", email_id)
        await connection.execute("SELECT FROM crm.email WHERE id = $1 FOR UPDATE", email_id)
        became = await _became(connection, email_id, address)
        if became == "whole":
            await _erase_whole(connection, email_id)
            if forget_hashes:
                await forget_hashes_of(connection, email_id, hashes)
        elif became == "part":
            await _erase_part(connection, email_id, address, instead)
        if became in ("whole", "part"):
            await connection.execute(
                """
                INSERT INTO crm.event (kind, email_id, details)
                VALUES ('erased', $1, jsonb_build_object('by', $2::text, 'whole', $3::boolean))
                """,
                email_id,
                by,
                became == "whole",
            )
    return became


async def _became(connection: Connection, email_id: UUID, address: str) -> Became:
    row = await connection.fetchrow(_EMAIL, email_id, address)
    if row is None or not row["names_it"]:
        return "gone"
    return "waits" if row["waits"] else "whole" if row["is_only"] else "part"


async def _erase_whole(connection: Connection, email_id: UUID) -> None:
    digests = await _digests(connection, email_id)
    await _empty_case(connection, email_id)
    await connection.execute("DELETE FROM crm.email WHERE id = $1", email_id)
    await connection.execute("UPDATE router.decision SET forward = NULL WHERE email_id = $1", email_id)
    await connection.execute("UPDATE router.taken_back SET receipt = NULL WHERE email_id = $1", email_id)
    await delete_unneeded(connection, digests)


async def _erase_part(connection: Connection, email_id: UUID, address: str, instead: str) -> None:
    row = await connection.fetchrow(_EMAIL, email_id, address)
    assert row is not None, "it is locked"
    if row["wrote_it"]:
        digests = await _digests(connection, email_id)
        await connection.execute("DELETE FROM crm.attachment WHERE email_id = $1", email_id)
        await connection.execute(
            """
            UPDATE crm.email SET subject = '', text_body = NULL, html_body = NULL, text_marks = NULL, calendar = NULL,
                raw_headers = NULL, headers = '[]', defects = '{}', unsubscribe_url = NULL
            WHERE id = $1
            """,
            email_id,
        )
        await delete_unneeded(connection, digests)
        await _empty_case(connection, email_id)
        await connection.execute(
            "UPDATE router.creation SET sender = '', sender_name = '', fields = '{}', fault = NULL WHERE email_id = $1",
            email_id,
        )
    await connection.execute(
        "UPDATE crm.party SET address = $3, name = '', record_id = NULL WHERE email_id = $1 AND address = $2",
        email_id,
        address,
        instead,
    )
    # There is nobody to say who it is.
    await connection.execute(
        "DELETE FROM router.unresolved_email WHERE email_id = $1 AND address = $2", email_id, instead
    )


async def _empty_case(connection: Connection, email_id: UUID) -> None:
    """Take what an email said out of the case that it opened, and out of its record."""
    await connection.execute(
        """
        WITH emptied AS (
            UPDATE crm.case SET subject = '', requester_address = '' WHERE email_id = $1 RETURNING record_id
        )
        UPDATE crm.record AS r SET name = '', attributes = '{}' FROM emptied AS e WHERE r.id = e.record_id
        """,
        email_id,
    )


async def _digests(connection: Connection, email_id: UUID) -> list[bytes]:
    rows = await connection.fetch("SELECT DISTINCT sha256 FROM crm.attachment WHERE email_id = $1", email_id)
    return [row["sha256"] for row in rows]


async def forget_hashes_of(connection: Connection, email_id: UUID, hashes: Sequence[bytes]) -> None:
    """Forget by what a copy of the email would be known, but not which places were read."""
    await connection.execute("DELETE FROM router.message_id WHERE hash = ANY($1::bytea[])", list(hashes))
    await connection.execute("DELETE FROM router.known_id WHERE email_id = $1", email_id)
    await connection.execute("DELETE FROM router.message WHERE email_id = $1", email_id)
    await connection.execute(
        """
        UPDATE router.decision SET key = NULL, content = NULL, gist = NULL, sender_gist = NULL, gist_version = NULL
        WHERE email_id = $1
        """,
        email_id,
    )
    await connection.execute("DELETE FROM router.taken_back WHERE email_id = $1", email_id)


async def erase_rulings(database: Database, part: str, pattern: str) -> dict[str, int]:
    """Forget the rulings on an address, and what is to be carried out of them; return how many rows, by table.

    Whoever carries them out holds the work, and whoever rules the subject: this comes before or after them. What they
    gave the record before is erased with the party; a walk through a domain that has come to the address begins anew.
    Raises DatabaseAway.
    """
    async with database.transaction() as connection:
        subjects = await connection.fetch(
            """
            SELECT DISTINCT subject FROM router.ruling
            WHERE strpos(lower(subject), $1) > 0 AND subject ~* $2 ORDER BY subject
            """,
            part,
            pattern,
        )
        for row in subjects:
            await connection.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended('router.ruling ' || $1::text, 0))", row["subject"]
            )
        ruled = [row["subject"] for row in subjects]
        # The work first, then the rulings: as all lock them.
        work = await connection.fetch(
            "DELETE FROM router.ruling_work WHERE strpos(lower(subject), $1) > 0 AND subject ~* $2 RETURNING 1",
            part,
            pattern,
        )
        await connection.execute(
            """
            UPDATE router.ruling_work SET after_address = '', passed_over = true
            WHERE strpos(lower(after_address), $1) > 0 AND after_address ~* $2
            """,
            part,
            pattern,
        )
        await connection.execute("DELETE FROM router.ruling WHERE subject = ANY($1::text[])", ruled)
    return {"router.ruling": len(ruled), "router.ruling_work": len(work)}


async def erase_state(database: Database, address: str, *, forget_hashes: bool) -> int:
    """Forget that an address bounced, and with hashes that it was acknowledged; return how many rows that were."""
    async with database.transaction() as connection:
        deleted: int = await connection.fetchval(
            """
            WITH state AS (
                DELETE FROM crm.address_state WHERE address = $1 RETURNING 1
            ), acknowledged AS (
                DELETE FROM router.acknowledged WHERE $2 AND sender = router.message_id_hash($1) RETURNING 1
            )
            SELECT (SELECT count(*) FROM state) + (SELECT count(*) FROM acknowledged)
            """,
            address,
            forget_hashes,
        )
    return deleted


async def now(database: Database) -> datetime:
    """Tell the time of the database."""
    async with database.connection() as connection:
        moment: datetime = await connection.fetchval("SELECT now()")
    return moment


async def forget_statistics(database: Database, tables: Sequence[str]) -> None:
    """Have PostgreSQL make its statistics of tables anew: they hold values.

    Of a table that is empty now ANALYZE leaves those of before; PostgreSQL 18 or newer forgets them all the same.
    """
    async with database.connection() as connection:
        if connection.get_server_version().major >= 18:
            await connection.execute(
                """
                SELECT pg_clear_attribute_stats(schemaname, tablename, attname, inherited) FROM pg_stats
                WHERE format('%I.%I', schemaname, tablename) = ANY($1::text[])
                """,
                list(tables),
            )
    for table in tables:
        async with database.connection() as connection:
            await connection.execute(f"ANALYZE {table}")
