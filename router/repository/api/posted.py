"""Emails that come by the API: inserted as a CRM does by SQL (docs/database.md), and read with what became of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from router.model import uuid7
from router.model.new_email import NewEmail, Once
from router.repository.database import Connection, Database

PIECE: Final = 1000
"""Rows that `forget_old` deletes at most."""

_KEPT: Final = timedelta(days=7)  # that an email was posted with a key


@dataclass(frozen=True, slots=True)
class Posted:
    """An email that was posted, now or by the same request before; `is_other`: that one asked for something else."""

    email_id: UUID
    is_new: bool
    is_other: bool = False


@dataclass(frozen=True, slots=True)
class Party:
    """Who is on an email; `record_id` is None for who is no record, or one of several."""

    role: str
    address: str
    name: str
    record_id: UUID | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one recipient, as in crm.delivery."""

    address: str
    state: str
    code: str
    text: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Email:
    """An email, and what became of it. Of a private one only its id, times and status are there."""

    id: UUID
    direction: str
    status: str
    private: bool
    created_at: datetime
    received_at: datetime | None
    sent_at: datetime | None
    status_reason: str | None
    subject: str | None
    message_id: str | None
    regarding_id: UUID | None
    correlated_id: UUID | None
    send_after: datetime | None
    waits_for: str | None
    waits_because: str | None
    next_try_at: datetime | None
    parties: Sequence[Party] = ()
    deliveries: Sequence[Delivery] = ()

    def without_content(self) -> "Email":
        """Tell what may be told of a private one."""
        hidden: dict[str, Any] = dict.fromkeys(_HIDDEN)
        return replace(self, **hidden, parties=(), deliveries=())


@dataclass(frozen=True, slots=True)
class Listed:
    """An email in a list. Of a private one only its id, times and status are there."""

    id: UUID
    direction: str
    status: str
    private: bool
    created_at: datetime
    received_at: datetime | None
    sent_at: datetime | None
    subject: str | None
    regarding_id: UUID | None
    correlated_id: UUID | None


async def post(database: Database, new: NewEmail, once: Once | None) -> Posted:
    """Insert an email and set it to pending send. Raises ContentRefused, or DatabaseError, where the schema refuses it.

    Of two requests with one key the second waits until the first is committed, and then finds its email.
    """
    async with database.transaction() as connection:
        email_id = uuid7()
        if once is not None and (before := await _before(connection, once, email_id)):
            return before
        await connection.execute(
            """
            INSERT INTO crm.email (id, direction, status, subject, text_body, html_body, regarding_id, send_after)
            VALUES ($1, 'out', 'draft', $2, $3, $4, $5, $6)
            """,
            email_id,
            new.subject,
            new.text,
            new.html,
            new.regarding_id,
            new.send_after,
        )
        await _insert_parties(connection, email_id, new)
        await _insert_attachments(connection, email_id, new)
        await connection.execute("UPDATE crm.email SET status = 'pending_send' WHERE id = $1", email_id)
    return Posted(email_id, is_new=True)


async def _before(connection: Connection, once: Once, email_id: UUID) -> Posted | None:
    """Take a key for an email; where it is taken, tell by which."""
    taken = await connection.fetchval(
        """
        INSERT INTO router.posted_email (key, body, email_id) VALUES ($1, $2, $3)
        ON CONFLICT DO NOTHING RETURNING true
        """,
        once.key,
        once.body,
        email_id,
    )
    if taken:
        return None
    row = await connection.fetchrow("SELECT body, email_id FROM router.posted_email WHERE key = $1", once.key)
    if row is None:  # forgotten at this moment: it is as good as new
        return await _before(connection, once, email_id)
    return Posted(row["email_id"], is_new=False, is_other=row["body"] != once.body)


async def _insert_parties(connection: Connection, email_id: UUID, new: NewEmail) -> None:
    places: dict[str, int] = {}
    rows = []
    for party in new.parties:
        places[party.role] = places.get(party.role, -1) + 1
        rows.append((party.role, places[party.role], party.address, party.name))
    await connection.execute(
        """
        INSERT INTO crm.party (email_id, role, position, address, name, record_id)
        SELECT $1, w.role, w.position, w.address, w.name, known.record_id
        FROM (
            SELECT u.role, u.position, crm.normalise(u.address) AS address, u.name
            FROM unnest($2::text[], $3::int[], $4::text[], $5::text[]) AS u (role, position, address, name)
        ) AS w
        -- Whose it is is known where it is one record's.
        LEFT JOIN LATERAL (
            SELECT (array_agg(a.record_id))[1] AS record_id FROM (
                SELECT a.record_id FROM crm.address AS a JOIN crm.record AS r ON r.id = a.record_id AND r.active
                WHERE a.address = w.address LIMIT 2
            ) AS a HAVING count(*) = 1
        ) AS known ON true
        ORDER BY w.role, w.position
        """,
        email_id,
        *([row[column] for row in rows] for column in range(4)),
    )


async def _insert_attachments(connection: Connection, email_id: UUID, new: NewEmail) -> None:
    # In one order, so that two who store the same contents do not wait for each other.
    for one in sorted({one.sha256: one for one in new.attachments}.values(), key=lambda one: one.sha256):
        await connection.execute(
            "INSERT INTO crm.blob (sha256, content) VALUES ($1, $2) ON CONFLICT DO NOTHING", one.sha256, one.content
        )
    await connection.executemany(
        """
        INSERT INTO crm.attachment (email_id, position, filename, media_type, size, sha256)
        VALUES ($1, $2, $3, $4, $5, $6)
        """,
        [
            (email_id, place, one.name, one.media_type, len(one.content), one.sha256)
            for place, one in enumerate(new.attachments)
        ],
    )


async def read(database: Database, email_id: UUID) -> Email | None:
    """Read an email, incoming or outgoing; None where there is none."""
    async with database.connection() as connection:
        row = await connection.fetchrow(
            """
            SELECT e.id, e.direction, e.status, e.private, e.created_at, e.received_at, e.sent_at, e.status_reason,
                e.subject, e.message_id, e.regarding_id, e.correlated_id, e.send_after, p.waits_for, p.waits_because,
                p.next_try_at
            FROM crm.email AS e
            LEFT JOIN LATERAL (SELECT v.* FROM crm.email_progress AS v WHERE v.email_id = e.id OFFSET 0) AS p ON true
            WHERE e.id = $1
            """,
            email_id,
        )
        if row is None:
            return None
        found: dict[str, Any] = dict(row)
        if row["private"]:
            return Email(**found | dict.fromkeys(_HIDDEN))
        parties = await connection.fetch(
            """
            SELECT role, address, name, record_id FROM crm.party WHERE email_id = $1
            ORDER BY array_position(ARRAY['from', 'to', 'cc', 'bcc', 'reply_to'], role), position, record_id
            """,
            email_id,
        )
        deliveries = await connection.fetch(
            "SELECT address, state, code, text, at FROM crm.delivery WHERE email_id = $1 ORDER BY address", email_id
        )
    return Email(**found, parties=[Party(**one) for one in parties], deliveries=[Delivery(**one) for one in deliveries])


async def list_emails(database: Database, before: tuple[datetime, UUID] | None, limit: int) -> Sequence[Listed]:
    """List emails, the newest first, those before a place; of private ones there is little, or nothing."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""
            SELECT {_LISTED} FROM crm.visible_emails(
                NULL, $3, coalesce($1::timestamptz, 'infinity'),
                coalesce($2::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
            ) AS v JOIN crm.email AS e ON e.id = v.id
            ORDER BY e.created_at DESC, e.id DESC
            """,  # noqa: S608  # constants
            *(before or (None, None)),
            limit,
        )
    return [Listed(**row) for row in rows]


async def list_thread(database: Database, email_id: UUID, limit: int) -> Sequence[Listed]:
    """List the latest emails of a thread, the oldest first."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""
            SELECT * FROM (
                SELECT {_LISTED} FROM crm.thread($1) AS e ORDER BY e.created_at DESC, e.id DESC LIMIT $2
            ) AS t ORDER BY created_at, id
            """,  # noqa: S608  # constants
            email_id,
            limit,
        )
    return [Listed(**row) for row in rows]


_LISTED: Final = """e.id, e.direction, e.status, e.private, e.created_at, e.received_at, e.sent_at,
    CASE WHEN NOT e.private THEN e.subject END AS subject,
    CASE WHEN NOT e.private THEN e.regarding_id END AS regarding_id,
    CASE WHEN NOT e.private THEN e.correlated_id END AS correlated_id"""

_HIDDEN: Final = (
    "status_reason",
    "subject",
    "message_id",
    "regarding_id",
    "correlated_id",
    "waits_because",
)


async def forget_old(database: Database) -> int:
    """Forget keys of a week ago; return how many there were in this piece."""
    async with database.connection() as connection:
        status = await connection.execute(
            """
            DELETE FROM router.posted_email WHERE key IN (
                SELECT key FROM router.posted_email WHERE at < now() - $1::interval
                ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED)
            """,
            _KEPT,
            PIECE,
        )
    return int(status.rpartition(" ")[2])
