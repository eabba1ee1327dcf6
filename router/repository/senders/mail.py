"""One email as a person reads it, and what is around it: its thread, and the sender's other mail.

Each query takes the owners whose mail may be seen (None: all), and finds nothing of any other. Of a private email it
finds who wrote it and when.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from router.model import Mark, Verdict
from router.repository.database import Connection, Database
from router.repository.jsonb import read_verdict
from router.repository.senders.bound import bound
from router.repository.senders.seen import owners_seen

_MOST_PARTIES: Final = 100
_MOST_TEXT: Final = 200_000  # characters that are shown: a page of megabytes would hold up all others while it is made
_MOST_IN_THREAD: Final = 50

# Whether the email e may be seen: $1, and $2 where that is of all owners.
_SEEN: Final = """
    ($2 OR e.owner_id = ANY($1::uuid[])
        OR EXISTS (SELECT FROM crm.receipt AS r WHERE r.email_id = e.id AND r.owner_id = ANY($1::uuid[])))
"""


@dataclass(frozen=True, slots=True)
class Party:
    """Who is on an email: role is from, to, cc, bcc or reply_to. `record` is the name of one whose address it is."""

    role: str
    address: str
    name: str
    record_id: UUID | None
    record: str | None


@dataclass(frozen=True, slots=True)
class Attached:
    """An attachment; `size` in bytes, `inline` where the HTML shows it."""

    position: int
    filename: str
    media_type: str
    size: int
    inline: bool


@dataclass(frozen=True, slots=True)
class Mail:
    """An email. Of a private one subject and text are None, and it has no attachments.

    `marks` are ranges of characters of the text. `reasons` are those of the decision on the copy of the first owner who
    is seen, and `verdict` what our mail server found out about its sender; `mailboxes` those that it came to, as far as
    they are seen. `waits`: its sender is in the queue. With `is_cut` the text goes on.
    """

    email_id: UUID
    direction: str
    private: bool
    received_at: datetime
    dated_at: datetime | None
    subject: str | None
    text: str | None
    marks: tuple[Mark, ...]
    has_html: bool
    flags: tuple[str, ...]
    defects: tuple[str, ...]
    answers: UUID | None
    method: str | None
    waits: bool
    parties: tuple[Party, ...]
    parties_in_all: int
    attachments: tuple[Attached, ...]
    mailboxes: tuple[str, ...]
    reasons: tuple[str, ...]
    verdict: Verdict | None
    is_cut: bool

    @property
    def sender(self) -> Party | None:
        """Who wrote it, as From says."""
        return next((one for one in self.parties if one.role == "from"), None)


@dataclass(frozen=True, slots=True)
class Line:
    """An email as one line of a list; `subject` is None where it is private."""

    email_id: UUID
    direction: str
    at: datetime
    address: str
    name: str
    subject: str | None


async def read_mail(database: Database, seen: frozenset[UUID] | None, email_id: UUID) -> Mail | None:
    """Read an email; None: there is none that may be seen."""
    async with bound(database) as connection:
        row = await connection.fetchrow(
            f"""
            SELECT e.id AS email_id, e.direction, e.private, coalesce(e.received_at, e.created_at) AS received_at,
                e.dated_at, e.subject, left(e.text_body, $4) AS text_body, e.text_marks::text AS text_marks,
                e.html_body IS NOT NULL AS has_html, e.flags, e.defects, e.correlated_id, e.correlation_method,
                EXISTS (SELECT FROM router.unresolved_email AS q WHERE q.email_id = e.id) AS waits,
                (
                    SELECT count(DISTINCT (p.role, p.position)) FROM crm.party AS p WHERE p.email_id = e.id
                )::int AS parties,
                -- Not joined in their order: all mailboxes would be read for those of one email.
                ARRAY(
                    SELECT (SELECT o.mailbox FROM crm.owner AS o WHERE o.record_id = r.owner_id) FROM (
                        SELECT e.owner_id
                        UNION SELECT r.owner_id FROM crm.receipt AS r WHERE r.email_id = e.id LIMIT 100
                    ) AS r (owner_id)
                    WHERE $2 OR r.owner_id = ANY($1::uuid[])
                ) AS mailboxes,
                coalesce(d.reasons, '{{}}') AS reasons, d.verdict::text AS verdict
            FROM crm.email AS e
            LEFT JOIN LATERAL (
                SELECT d.reasons, d.verdict FROM router.decision AS d
                WHERE d.email_id = e.id AND d.disposition = 'promoted' AND ($2 OR d.owner_id = ANY($1::uuid[]))
                ORDER BY d.id LIMIT 1
            ) AS d ON true
            WHERE e.id = $3 AND {_SEEN}
            """,  # noqa: S608  # a constant
            *_seen(seen),
            email_id,
            _MOST_TEXT + 1,
        )
        if row is None:
            return None
        parties = await _parties(connection, email_id)
        attachments = await connection.fetch(
            """
            SELECT position, filename, media_type, size, inline FROM crm.attachment WHERE email_id = $1
            ORDER BY position LIMIT 1000
            """,
            email_id,
        )
    hidden = row["private"]
    return Mail(
        row["email_id"],
        row["direction"],
        hidden,
        row["received_at"],
        row["dated_at"],
        None if hidden else row["subject"],
        None if hidden else row["text_body"] and row["text_body"][:_MOST_TEXT],
        () if hidden else tuple(Mark(*mark) for mark in json.loads(row["text_marks"] or "[]")),
        row["has_html"] and not hidden,
        tuple(row["flags"]),
        () if hidden else tuple(row["defects"]),
        row["correlated_id"],
        row["correlation_method"],
        row["waits"],
        tuple(one for one in parties if one.role == "from" or not hidden),
        row["parties"],
        () if hidden else tuple(Attached(**one) for one in attachments),
        tuple(sorted(filter(None, row["mailboxes"]))),
        () if hidden else tuple(row["reasons"]),
        read_verdict(row["verdict"]),
        not hidden and len(row["text_body"] or "") > _MOST_TEXT,
    )


async def _parties(connection: Connection, email_id: UUID) -> list[Party]:
    rows = await connection.fetch(
        """
        SELECT p.role, p.address, p.name, p.record_id, r.name AS record FROM (
            SELECT DISTINCT ON (array_position(ARRAY['from', 'reply_to', 'to', 'cc', 'bcc'], p.role), p.position)
                p.role, p.position, p.address, p.name, p.record_id
            FROM crm.party AS p WHERE p.email_id = $1
            ORDER BY array_position(ARRAY['from', 'reply_to', 'to', 'cc', 'bcc'], p.role), p.position, p.record_id
            LIMIT $2
        ) AS p
        LEFT JOIN LATERAL (SELECT r.name::text FROM crm.record AS r WHERE r.id = p.record_id LIMIT 1) AS r ON true
        ORDER BY array_position(ARRAY['from', 'reply_to', 'to', 'cc', 'bcc'], p.role), p.position
        """,
        email_id,
        _MOST_PARTIES,
    )
    return [Party(**row) for row in rows]


async def list_thread(database: Database, seen: frozenset[UUID] | None, email_id: UUID) -> list[Line]:
    """List the thread of an email, the oldest first, as far as it may be seen; the latest 50 of it."""
    async with bound(database) as connection:
        rows = await connection.fetch(
            f"""
            SELECT * FROM (
                {_line("crm.thread($3)")} AND e.status <> 'draft'
                    -- Of an email that may not be seen, nothing is told by its thread, either.
                    AND EXISTS (SELECT FROM crm.email AS e WHERE e.id = $3 AND {_SEEN})
                ORDER BY 3 DESC LIMIT $4
            ) AS t ORDER BY t.at, t.email_id
            """,  # noqa: S608  # constants
            *_seen(seen),
            email_id,
            _MOST_IN_THREAD,
        )
    return [Line(**row) for row in rows]


async def list_of_sender(
    database: Database, seen: frozenset[UUID] | None, address: str, before: tuple[datetime, UUID] | None, limit: int
) -> list[Line]:
    """List the emails of a sender that wait, the latest first."""
    async with bound(database) as connection:
        rows = await connection.fetch(
            """
            SELECT e.id AS email_id, e.direction, m.received_at AS at, m.address, coalesce(p.name, '') AS name,
                CASE WHEN NOT e.private THEN e.subject END AS subject
            FROM (
                SELECT DISTINCT m.received_at, m.email_id, m.address
                FROM unnest($1::uuid[]) AS o (id) CROSS JOIN LATERAL (
                    SELECT m.* FROM router.sender_mail AS m
                    WHERE m.owner_id = o.id AND m.address = $2
                        AND ($3::timestamptz IS NULL OR (m.received_at, m.email_id) < ($3, $4::uuid))
                    ORDER BY m.received_at DESC, m.email_id DESC LIMIT $5
                ) AS m ORDER BY m.received_at DESC, m.email_id DESC LIMIT $5
            ) AS m JOIN crm.email AS e ON e.id = m.email_id
            LEFT JOIN LATERAL (
                SELECT p.name FROM crm.party AS p
                WHERE p.email_id = m.email_id AND p.role = 'from' AND p.position = 0 LIMIT 1
            ) AS p ON true
            ORDER BY m.received_at DESC, m.email_id DESC
            """,
            owners_seen(seen),
            address,
            *(before or (None, None)),
            limit,
        )
    return [Line(**row) for row in rows]


def _line(source: str) -> str:
    return f"""
        SELECT e.id AS email_id, e.direction, coalesce(e.received_at, e.sent_at, e.created_at) AS at,
            coalesce(p.address, '') AS address, coalesce(p.name, '') AS name,
            CASE WHEN NOT e.private THEN e.subject END AS subject
        FROM {source} AS e
        LEFT JOIN LATERAL (
            SELECT p.address, p.name FROM crm.party AS p
            WHERE p.email_id = e.id AND p.role = 'from' AND p.position = 0 LIMIT 1
        ) AS p ON true
        WHERE {_SEEN}
    """  # noqa: S608  # constants


def _seen(seen: frozenset[UUID] | None) -> tuple[list[UUID], bool]:
    return sorted(seen or ()), seen is None
