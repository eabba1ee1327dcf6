"""Emails that an owner takes back: their receipt goes, and the email where nobody's receipt is left.

One transaction each, in the order of all locks: Message-IDs, keys, `crm.email` and what hangs on it. So it comes before
or after another copy of the message, which waits for the key, and before or after the CRM deletes the email. The key
stays, by which `decide.dedupe` ignores what comes later.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from asyncpg import Record

from router.model import message_id_hash
from router.repository.database import Connection, Database
from router.repository.erasure.sealed import seal, unseal
from router.repository.incoming.waiting import tell_awaited
from router.repository.records import merges
from router.repository.retention import PIECE, Piece

_SOME: Final = 100  # sealed emails whose contents are deleted at once

_AGAIN: Final = "an email that was taken back is restored, so it was decided again"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one email: how many owners have it now, or why nothing changed."""

    owners: int = 0
    fault: str | None = None

    @property
    def gone(self) -> bool:
        """Whether the CRM does not have it."""
        return self.fault is None and not self.owners


class _Refused(Exception):  # no error: it ends the transaction
    """Nothing is to be done, for this reason."""


async def find_emails(database: Database, message_ids: Sequence[str]) -> dict[str, UUID]:
    """Find emails by their Message-IDs, also those that the CRM does not have any more."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT w.message_id, m.email_id FROM unnest($1::text[], $2::bytea[]) AS w (message_id, hash)
            JOIN router.message_id AS m ON m.hash = w.hash AND m.email_id IS NOT NULL
            """,
            list(message_ids),
            [message_id_hash(one) for one in message_ids],
        )
    return {row["message_id"]: row["email_id"] for row in rows}


async def find_owner(database: Database, mailbox: str) -> UUID | None:
    """Find the owner of a mailbox, approved or not."""
    async with database.connection() as connection:
        found: UUID | None = await connection.fetchval("SELECT record_id FROM crm.owner WHERE mailbox = $1", mailbox)
    return found


async def take_back(database: Database, email_id: UUID, owner_id: UUID, by: str) -> Outcome:
    """Take one owner's receipt of an email back; raises DatabaseAway where somebody has it locked."""
    try:
        async with database.transaction() as connection:
            return Outcome(await _take_back(connection, email_id, owner_id, by))
    except _Refused as refused:
        return Outcome(fault=str(refused))


async def restore(database: Database, email_id: UUID, owner_id: UUID, by: str) -> Outcome:
    """Undo what `take_back` did; raises DatabaseAway where somebody has it locked."""
    try:
        async with database.transaction() as connection:
            return Outcome(await _restore(connection, email_id, owner_id, by))
    except _Refused as refused:
        return Outcome(fault=str(refused))


async def _take_back(connection: Connection, email_id: UUID, owner_id: UUID, by: str) -> int:
    await lock_email(connection, email_id)
    email = await _locked(connection, email_id)
    before = await connection.fetchrow(
        "SELECT by_name, at FROM router.taken_back WHERE email_id = $1 AND owner_id = $2", email_id, owner_id
    )
    if before is not None:
        raise _Refused(f"{before['by_name']} took it back already, on {_day(before['at'])}")
    if email is None:
        raise _Refused("the CRM does not have it any more")
    if email["is_crms"]:
        raise _Refused("the CRM wrote it: it did not come by a mailbox")
    receipt: str | None = await connection.fetchval(
        "DELETE FROM crm.receipt AS r WHERE email_id = $1 AND owner_id = $2 RETURNING to_jsonb(r)::text",
        email_id,
        owner_id,
    )
    if receipt is None:
        raise _Refused("it did not come to a mailbox of this owner")
    await connection.execute(
        """
        INSERT INTO router.taken_back (email_id, owner_id, by_name, was_owner, receipt)
        -- Whoever had it from another who took it back was not the first.
        SELECT $1, $2, $3, $4 AND NOT EXISTS (SELECT FROM router.taken_back WHERE email_id = $1 AND was_owner), $5
        """,
        email_id,
        owner_id,
        by,
        email["owner_id"] == owner_id,
        receipt,
    )
    await connection.execute(
        """
        UPDATE router.decision SET reasons = reasons || $3::text,
            -- Its mail server is not told to delete or move it any more; a forward is elsewhere, too.
            settled_at = CASE WHEN outer_place IS NULL THEN coalesce(settled_at, now()) ELSE settled_at END
        WHERE email_id = $1 AND owner_id = $2
        """,
        email_id,
        owner_id,
        f"taken back by {by}",
    )
    await connection.execute(
        "DELETE FROM router.acknowledgement WHERE email_id = $1 AND owner_id = $2", email_id, owner_id
    )
    # What was made stays, and is made once; what was not made yet is not wanted any more.
    await connection.execute(
        "DELETE FROM router.creation WHERE email_id = $1 AND owner_id = $2 AND state <> 'done'", email_id, owner_id
    )
    await connection.execute("DELETE FROM crm.queue_item WHERE email_id = $1 AND owner_id = $2", email_id, owner_id)
    left = await _owners(connection, email_id)
    if not left:
        await seal(connection, email_id)
    elif email["owner_id"] == owner_id:
        await connection.execute("UPDATE crm.email SET owner_id = $2 WHERE id = $1", email_id, left[0])
    await _tell(connection, "taken_back", email_id, owner_id, by)
    return len(left)


async def _restore(connection: Connection, email_id: UUID, owner_id: UUID, by: str) -> int:
    hashes = await lock_email(connection, email_id)
    email = await _locked(connection, email_id)
    taken = await connection.fetchrow(
        "SELECT at, was_owner, receipt IS NULL AS is_late FROM router.taken_back WHERE email_id = $1 AND owner_id = $2",
        email_id,
        owner_id,
    )
    if taken is None:
        raise _Refused("this owner has not taken it back")
    if taken["is_late"]:
        raise _Refused("it is too late: what was taken back is deleted by now")
    was_sealed = email is None and await unseal(connection, email_id)
    if email is None and not was_sealed:
        raise _Refused("the CRM deleted it meanwhile")
    await connection.execute(
        """
        UPDATE crm.email SET owner_id = $2 WHERE id = $1 AND owner_id IS DISTINCT FROM $2
            -- What the CRM has made of it stays: of the owners who had it, the first has it again.
            AND (owner_id IN (SELECT t.owner_id FROM router.taken_back AS t WHERE t.email_id = $1)
                OR $3 AND owner_id IN (SELECT r.owner_id FROM crm.receipt AS r WHERE r.email_id = $1))
        """,
        email_id,
        owner_id,
        taken["was_owner"],
    )
    await connection.execute(
        """
        WITH taken AS (
            DELETE FROM router.taken_back WHERE email_id = $1 AND owner_id = $2 RETURNING receipt
        )
        INSERT INTO crm.receipt SELECT r.* FROM taken, jsonb_populate_record(NULL::crm.receipt, taken.receipt) AS r
        ON CONFLICT DO NOTHING
        """,
        email_id,
        owner_id,
    )
    await connection.execute(
        "UPDATE router.decision SET reasons = reasons || $3::text WHERE email_id = $1 AND owner_id = $2",
        email_id,
        owner_id,
        f"restored by {by}",
    )
    await connection.execute(
        """
        INSERT INTO crm.queue_item (email_id, owner_id, record_id)
        SELECT email_id, owner_id, record_id FROM router.creation
        WHERE email_id = $1 AND owner_id = $2 AND state = 'done' AND makes = 'case'
        ON CONFLICT DO NOTHING
        """,
        email_id,
        owner_id,
    )
    await merges.take_up(connection, email_id, taken["at"])
    await _know_again(connection, email_id, hashes)
    await _tell(connection, "restored", email_id, owner_id, by)
    return len(await _owners(connection, email_id))


async def lock_email(connection: Connection, email_id: UUID) -> list[bytes]:
    """Lock the Message-IDs of an email, and then its keys, as who promotes a copy does; return the ids' hashes."""
    hashes: list[bytes] = await connection.fetchval(
        """
        SELECT coalesce(array_agg(hash), '{}') FROM (
            SELECT hash FROM router.message_id WHERE email_id = $1 ORDER BY hash FOR UPDATE
        ) AS ids
        """,
        email_id,
    )
    await connection.execute("SELECT FROM router.message WHERE email_id = $1 ORDER BY key FOR UPDATE", email_id)
    return hashes


async def _locked(connection: Connection, email_id: UUID) -> Record | None:
    return await connection.fetchrow(
        """
        SELECT e.owner_id, e.direction = 'out' AND e.raw_headers IS NULL AND NOT EXISTS (
            SELECT FROM router.decision AS d WHERE d.email_id = e.id AND d.disposition = 'promoted'
        ) AS is_crms
        FROM crm.email AS e WHERE e.id = $1 FOR UPDATE OF e
        """,
        email_id,
    )


async def _owners(connection: Connection, email_id: UUID) -> list[UUID]:
    rows = await connection.fetch(
        "SELECT owner_id FROM crm.receipt WHERE email_id = $1 ORDER BY received_at, owner_id", email_id
    )
    return [row["owner_id"] for row in rows]


async def _know_again(connection: Connection, email_id: UUID, hashes: Sequence[bytes]) -> None:
    """Have answers linked that came meanwhile, and copies decided again that were ignored meanwhile."""
    await tell_awaited(connection, hashes)
    await connection.execute(
        """
        INSERT INTO router.decide_again (decision_id, source_id, reason)
        SELECT d.id, d.source_id, $2
        FROM router.message AS m JOIN router.decision AS d ON d.key = m.key
        JOIN router.source AS s ON s.id = d.source_id
        WHERE m.email_id = $1 AND d.disposition = 'ignored' AND s.folder <> '' AND d.owner_id IS NOT NULL
            AND NOT EXISTS (
                SELECT FROM router.taken_back AS t WHERE t.email_id = $1 AND t.owner_id = d.owner_id
            )
        ON CONFLICT DO NOTHING
        """,
        email_id,
        _AGAIN,
    )


async def _tell(connection: Connection, kind: str, email_id: UUID, owner_id: UUID, by: str) -> None:
    await connection.execute(
        """
        INSERT INTO crm.event (kind, email_id, details)
        VALUES ($1, $2, jsonb_build_object('owner_id', $3::uuid, 'by', $4::text))
        """,
        kind,
        email_id,
        owner_id,
        by,
    )


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"


async def forget(database: Database, age: timedelta) -> Piece:
    """Delete what can no longer be restored, the oldest first."""
    async with database.transaction() as connection:
        forgotten: int = await connection.fetchval(
            """
            WITH late AS MATERIALIZED (
                SELECT email_id FROM router.sealed WHERE at < now() - $1::interval
                ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED
            ), gone AS (
                DELETE FROM router.sealed WHERE email_id IN (SELECT email_id FROM late) RETURNING email_id
            ), envelopes AS (
                UPDATE router.decision SET forward = NULL
                WHERE email_id IN (SELECT email_id FROM gone) AND forward IS NOT NULL
            )
            SELECT count(*) FROM gone
            """,
            age,
            _SOME,
        )
        late: str = await connection.execute(
            """
            UPDATE router.taken_back SET receipt = NULL WHERE (email_id, owner_id) IN (
                SELECT email_id, owner_id FROM router.taken_back
                WHERE at < now() - $1::interval AND receipt IS NOT NULL ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED
            )
            """,
            age,
            PIECE,
        )
    return Piece(forgotten, more=forgotten == _SOME or late == f"UPDATE {PIECE}")
