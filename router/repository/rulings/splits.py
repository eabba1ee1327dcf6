"""Emails that a person splits off their threads, and puts back."""

from dataclasses import dataclass
from uuid import UUID

from router.errors import DatabaseError, UnknownName
from router.repository.database import Connection, Database


@dataclass(frozen=True, slots=True)
class Split:
    """An email, and the one that it answered before it was split off, or answers again."""

    email_id: UUID
    correlated_id: UUID


async def split(database: Database, email_id: UUID, by: str) -> Split:
    """Let an email begin a thread of its own. Raises UnknownName, or DatabaseError, in words, where it cannot be."""
    async with database.transaction() as connection:
        status, correlated_id = await _lock(connection, email_id)
        if correlated_id is None:
            raise DatabaseError(f"email {email_id} answers no other: there is nothing to split")
        if status in ("draft", "pending_send", "sending"):
            raise DatabaseError(f"email {email_id} is {status}: what it answers stands in what is sent")
        await connection.execute(
            """
            WITH noted AS (
                INSERT INTO router.split AS s (email_id, correlated_id, method, split_by)
                SELECT id, correlated_id, correlation_method, $2 FROM crm.email WHERE id = $1
                ON CONFLICT (email_id) DO UPDATE SET
                    correlated_id = excluded.correlated_id, method = excluded.method, split_by = excluded.split_by,
                    split_at = now()
                RETURNING s.email_id, s.correlated_id
            ), event AS (
                INSERT INTO crm.event (kind, email_id, details)
                SELECT 'split', email_id, jsonb_build_object('correlated_id', correlated_id, 'by', $2::text) FROM noted
            )
            UPDATE crm.email SET correlated_id = NULL, correlation_method = NULL WHERE id = $1
            """,
            email_id,
            by,
        )
        return Split(email_id, correlated_id)


async def undo(database: Database, email_id: UUID, by: str) -> Split:
    """Put an email back on its thread. Raises UnknownName, or DatabaseError, in words, where it cannot be."""
    async with database.transaction() as connection:
        _, answers = await _lock(connection, email_id)
        row = await connection.fetchrow(
            """
            SELECT s.correlated_id,
                EXISTS (SELECT FROM crm.email AS e WHERE e.id = s.correlated_id) AS is_there,
                EXISTS (SELECT FROM router.thread_above(s.correlated_id) AS up WHERE up.id = s.email_id) AS is_below
            FROM router.split AS s WHERE s.email_id = $1
            """,
            email_id,
        )
        if row is None:
            raise DatabaseError(f"email {email_id} was not split off a thread")
        if answers is not None:
            raise DatabaseError(f"email {email_id} was linked to another one since: {answers}")
        if not row["is_there"]:
            raise DatabaseError(f"the email that {email_id} answered is not there any more")
        if row["is_below"]:
            raise DatabaseError(f"the email that {email_id} answered is an answer to it by now")
        await connection.execute(
            """
            WITH undone AS (
                DELETE FROM router.split WHERE email_id = $1 RETURNING email_id, correlated_id, method
            ), event AS (
                INSERT INTO crm.event (kind, email_id, details)
                SELECT 'correlated', email_id,
                    jsonb_build_object('correlated_id', correlated_id, 'method', method, 'by', $2::text)
                FROM undone
            )
            UPDATE crm.email AS e SET correlated_id = u.correlated_id, correlation_method = u.method
            FROM undone AS u WHERE e.id = u.email_id
            """,
            email_id,
            by,
        )
        return Split(email_id, row["correlated_id"])


async def _lock(connection: Connection, email_id: UUID) -> tuple[str, UUID | None]:
    """Lock an email; return its status, and what it answers. Raises UnknownName."""
    row = await connection.fetchrow(
        "SELECT status, correlated_id FROM crm.email WHERE id = $1 FOR NO KEY UPDATE", email_id
    )
    if row is None:
        raise UnknownName(f"there is no email {email_id}")
    return row["status"], row["correlated_id"]
