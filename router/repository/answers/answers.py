"""Acknowledgements as they are written: the answer is an ordinary email of the CRM's.

It is written in the transaction that deletes the row of work, and only by who began that last: so there is one answer,
whichever process dies. Which row is begun, `router/repository/answers/answer_lanes.py` says.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from asyncpg import Record

from router.model import uuid7
from router.model.answer import Rendered
from router.repository.answers.answer_lanes import Begun
from router.repository.database import Connection, Database, storable

PIECE: Final = 1000
"""Rows that `forget_old` deletes at most."""

_KEPT: Final = timedelta(days=730)  # that a thread was acknowledged
_LOCK: Final = 0x61636B  # of our advisory locks, one for each domain
_HEADERS: Final = '[["X-Auto-Response-Suppress", "All"]]'  # Exchange knows no other way to ask for no automatic answer


@dataclass(frozen=True, slots=True)
class Limits:
    """How many acknowledgements one sender, and all senders of one domain, get within a day."""

    sender: int = 5
    domain: int = 500


async def write(database: Database, one: Begun, rendered: Rendered, limits: Limits) -> UUID | None:
    """Write the answer, and set it to pending send, once; None where there is to be none. What forbids it is told."""
    async with database.transaction() as connection:
        row = await connection.fetchrow(
            """
            SELECT a.owner_id, o.mailbox, e.regarding_id, crm.thread_id(e.id) AS thread_id,
                substring($3 FROM '[^@]*$') AS domain
            FROM router.acknowledgement AS a JOIN crm.email AS e ON e.id = a.email_id
            JOIN crm.owner AS o ON o.record_id = a.owner_id
            WHERE a.email_id = $1 AND a.attempts = $2 FOR UPDATE OF a
            """,
            one.email_id,
            one.attempt,
            one.values.email["from_address"],
        )
        if row is None:
            return None  # it is another's by now, or the email is gone
        # Whoever counts for a domain counts alone.
        await connection.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", _LOCK, row["domain"])
        forbidden = await _forbidden(connection, one, row["domain"], limits)
        answer_id = None
        if forbidden is None and await _is_first(connection, row["thread_id"], one, row["domain"]):
            answer_id = await _write_email(connection, one, rendered, row)
        await _end(connection, one, forbidden)
        if answer_id is not None:
            await connection.execute(
                """
                INSERT INTO crm.event (kind, email_id, details) VALUES ('acknowledged', $1, jsonb_build_object(
                    'owner_id', $2::uuid, 'template', $3::text, 'answer_id', $4::uuid))
                """,
                one.email_id,
                row["owner_id"],
                one.template,
                answer_id,
            )
    return answer_id


async def _forbidden(connection: Connection, one: Begun, domain: str, limits: Limits) -> str | None:
    """Say why an email gets no answer; empty where that needs no telling."""
    words: str | None = await connection.fetchval(
        """
        SELECT CASE
            WHEN EXISTS (SELECT FROM crm.owner AS o WHERE o.mailbox = $1)
                OR NOT EXISTS (SELECT FROM crm.email AS e WHERE e.id = $5 AND e.direction = 'in') THEN ''
            WHEN NOT crm.is_sendable($1) THEN 'no mail can be sent to the address of its sender'
            WHEN (SELECT count(*) FROM router.acknowledged AS k
                  WHERE k.sender = router.message_id_hash($1) AND k.at > now() - interval '1 day') >= $3
                THEN format('its sender had %s acknowledgements within a day', $3)
            WHEN (SELECT count(*) FROM router.acknowledged AS k
                  WHERE k.domain = router.message_id_hash($2) AND k.at > now() - interval '1 day') >= $4
                THEN format('the domain of its sender had %s acknowledgements within a day', $4)
        END
        """,
        one.values.email["from_address"],
        domain,
        limits.sender,
        limits.domain,
        one.email_id,
    )
    return words


async def _is_first(connection: Connection, thread_id: UUID, one: Begun, domain: str) -> bool:
    return (
        await connection.fetchval(
            """
            INSERT INTO router.acknowledged (thread_id, sender, domain)
            VALUES ($1, router.message_id_hash($2), router.message_id_hash($3)) ON CONFLICT DO NOTHING RETURNING true
            """,
            thread_id,
            one.values.email["from_address"],
            domain,
        )
        is not None
    )


async def _write_email(connection: Connection, one: Begun, rendered: Rendered, row: Record) -> UUID:
    """Write an email as a CRM does: a draft, its parties, and then it is pending. The thread's headers follow."""
    answer_id = uuid7()
    await connection.execute(
        """
        INSERT INTO crm.email (id, direction, status, subject, text_body, html_body, owner_id, regarding_id,
            correlated_id, token, automatic, headers, template)
        VALUES ($1, 'out', 'draft', $2, $3, $4, $5, $6, $7, $8, true, $9::jsonb, $10)
        """,
        answer_id,
        *rendered,
        row["owner_id"],
        row["regarding_id"],
        one.email_id,
        one.values.token,
        _HEADERS,
        one.template,
    )
    await connection.execute(
        """
        INSERT INTO crm.party (email_id, role, position, address, name, record_id)
        VALUES ($1, 'from', 0, $2, $3, $4), ($1, 'to', 0, $5, $6, nullif($7, '')::uuid)
        """,
        answer_id,
        row["mailbox"],
        one.values.owner["name"],
        row["owner_id"],
        one.values.email["from_address"],
        one.values.email["from_name"],
        one.values.record["id"],
    )
    await connection.execute("UPDATE crm.email SET status = 'pending_send' WHERE id = $1", answer_id)
    return answer_id


async def give_up(database: Database, one: Begun, reason: str) -> None:
    """Write no answer, and tell why, where it is still whose attempt this is."""
    async with database.transaction() as connection:
        await _end(connection, one, reason)


async def _end(connection: Connection, one: Begun, reason: str | None) -> None:
    await connection.execute(
        """
        WITH ended AS (
            DELETE FROM router.acknowledgement WHERE email_id = $1 AND attempts = $2 RETURNING email_id, owner_id
        )
        INSERT INTO crm.event (kind, email_id, details)
        SELECT 'not_acknowledged', email_id, jsonb_build_object('owner_id', owner_id, 'reason', left($3::text, 1000))
        FROM ended WHERE $3 <> ''
        """,
        one.email_id,
        one.attempt,
        storable(reason),
    )


async def forget_old(database: Database) -> int:
    """Forget threads that were acknowledged long ago; return how many there were in this piece. And templates gone."""
    async with database.connection() as connection:
        await connection.execute(
            "DELETE FROM router.template AS s WHERE NOT EXISTS (SELECT FROM crm.template AS t WHERE t.name = s.name)"
        )
        status = await connection.execute(
            """
            DELETE FROM router.acknowledged WHERE thread_id IN (
                SELECT thread_id FROM router.acknowledged WHERE at < now() - $1::interval
                ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED)
            """,
            _KEPT,
            PIECE,
        )
    return int(status.rpartition(" ")[2])
