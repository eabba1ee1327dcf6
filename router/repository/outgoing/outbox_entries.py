"""Outgoing email that is not sent yet, as a person looks at it and rules on it. What is listed comes by an index."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal
from uuid import UUID

from router.model import message_id_hash
from router.repository.database import Database, storable
from router.repository.outgoing.claim import OUTBOX_CHANNEL

State = Literal["pending", "sending", "unknown", "failed", "given_up"]
"""`given_up` are those of the failed that were tried for too long."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which emails are meant: of an owner's mailbox, and of the outgoing profile that carries it or tried it last.

    `since` and `before` bound when it failed or became unknown; of what is pending or being sent, when it was made.
    """

    owner: str | None = None
    profile: str | None = None
    since: datetime | None = None
    before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """An outgoing email, and how far it is. `at` and `email_id` are where a list goes on.

    `waits_for`, `because` and `next_try_at` are as of crm.email_progress.
    """

    email_id: UUID
    at: datetime
    status: str
    reason: str | None
    owner: str | None
    subject: str | None
    message_id: str | None
    recipients: int
    accepted: int
    profile: str | None
    attempts: int
    last_attempt_at: datetime | None
    waits_for: str | None
    because: str | None
    next_try_at: datetime | None
    send_after: datetime | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a list goes on: behind this email."""

    at: datetime
    email_id: UUID


@dataclass(frozen=True, slots=True)
class Recipient:
    """What is known of one recipient: `code` is the enhanced status code, `text` what the server said.

    `state` is as of crm.delivery; "bounced": nothing became of it yet, and nothing is sent to it (crm.address_state).
    """

    address: str
    state: str
    code: str | None
    text: str | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt; `replies` are as of router.attempt. `started_at` is None where no relay heard of it."""

    number: int
    started_at: datetime | None
    finished_at: datetime | None
    profile: str | None
    relay: str | None
    outcome: str | None
    replies: Any


# $1 status, $2 given up only, $3 owner, $4 profile, $5 since, $6 before, $7 and $8 where it goes on
_UNSENT: Final = """
    FROM router.unsent AS u JOIN crm.email AS e ON e.id = u.email_id
    LEFT JOIN crm.owner AS o ON o.record_id = e.owner_id
    WHERE u.status = $1 AND (u.since, u.email_id) > ($7::timestamptz, $8::uuid)
        AND ($5::timestamptz IS NULL OR u.since >= $5) AND ($6::timestamptz IS NULL OR u.since < $6)
        AND (NOT $2::boolean
            OR EXISTS (SELECT FROM crm.delivery AS d WHERE d.email_id = u.email_id AND d.state = 'given_up'))
        AND ($3::text IS NULL OR o.mailbox = $3)
        AND ($4::text IS NULL OR $4 = (SELECT t.profile FROM router.attempt AS t
            WHERE t.email_id = u.email_id ORDER BY t.claimed_at DESC LIMIT 1))
"""
_QUEUED: Final = """
    FROM router.outbox AS u JOIN crm.email AS e ON e.id = u.email_id
    LEFT JOIN crm.owner AS o ON o.record_id = u.owner_id
    WHERE (u.process_id IS NOT NULL) = ($1::text = 'sending') AND NOT $2::boolean
        AND $7::timestamptz IS NOT NULL AND u.email_id > $8::uuid
        AND ($5::timestamptz IS NULL OR e.created_at >= $5) AND ($6::timestamptz IS NULL OR e.created_at < $6)
        AND ($3::text IS NULL OR o.mailbox = $3) AND ($4::text IS NULL OR u.profile = $4)
"""
_START: Final = (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0))


async def list_entries(
    database: Database, state: State, which: Selection, *, after: Entry | Place | None = None, limit: int = 1000
) -> list[Entry]:
    """List emails: those that failed or are unknown from the oldest on, the others in the order of their ids."""
    from_, at, order = _source(state)
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"SELECT u.email_id, {at} AS at {from_} ORDER BY {order} LIMIT $9",  # constants
            *_arguments(state, which, after),
            limit,
        )
    found = await find_entries(database, {row["email_id"]: row["at"] for row in rows})
    return [found[row["email_id"]] for row in rows if row["email_id"] in found]


async def count_entries(database: Database, state: State, which: Selection) -> int:
    """Count emails, for who waits until all of them are done."""
    async with database.connection() as connection:
        number: int = await connection.fetchval(
            f"SELECT count(*) {_source(state)[0]}",  # constants
            *_arguments(state, which, None),
        )
    return number


async def count_unsent(database: Database, status: str, most: int) -> int:
    """Count emails that failed, or whose outcome is unknown, up to a bound."""
    async with database.connection() as connection:
        number: int = await connection.fetchval(
            "SELECT count(*) FROM (SELECT FROM router.unsent WHERE status = $1 LIMIT $2) AS u", status, most
        )
    return number


async def list_latest(database: Database, status: str, limit: int, looked_at: int = 5000) -> list[UUID]:
    """List emails that became so lately, the latest first: of those that the latest events tell."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT email_id FROM (SELECT id, kind, email_id FROM crm.event ORDER BY id DESC LIMIT $3) AS e
            WHERE kind = $1 AND email_id IS NOT NULL ORDER BY id DESC LIMIT $2
            """,
            status,
            limit,
            looked_at,
        )
    return list(dict.fromkeys(row["email_id"] for row in rows))


async def put_off(database: Database, email_id: UUID, until: datetime | None) -> bool:
    """Have a pending email not sent before a moment, None: as soon as it may be; returns whether it was pending."""
    async with database.connection() as connection:
        found = await connection.fetchval(
            """
            WITH picked AS MATERIALIZED (
                SELECT e.id FROM crm.email AS e JOIN router.outbox AS q ON q.email_id = e.id
                WHERE e.id = $1 AND e.status = 'pending_send' AND q.process_id IS NULL
                FOR UPDATE OF e, q SKIP LOCKED
            )
            UPDATE crm.email AS e SET send_after = $2 FROM picked WHERE e.id = picked.id RETURNING e.id
            """,
            email_id,
            until,
        )
    return found is not None


async def find_entries(database: Database, ids: dict[UUID, datetime] | Collection[UUID]) -> dict[UUID, Entry]:
    """Find outgoing emails, whatever became of them."""
    at = ids if isinstance(ids, dict) else {}
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT p.email_id, e.created_at, p.status, p.status_reason AS reason, w.mailbox AS owner, e.subject,
                e.message_id, p.recipients, p.accepted, coalesce(q.profile, p.last_profile) AS profile, p.attempts,
                p.last_attempt_at, p.waits_for, p.waits_because AS because, p.next_try_at, e.send_after
            FROM unnest($1::uuid[]) AS i (id)
            -- Each by itself: a join would read the view of all emails.
            CROSS JOIN LATERAL (SELECT v.* FROM crm.email_progress AS v WHERE v.email_id = i.id OFFSET 0) AS p
            JOIN crm.email AS e ON e.id = i.id
            LEFT JOIN router.outbox AS q ON q.email_id = i.id
            LEFT JOIN crm.owner AS w ON w.record_id = e.owner_id
            """,
            list(ids),
        )
    entries = {}
    for row in rows:
        columns = dict(row)
        made = columns.pop("created_at")
        entries[row["email_id"]] = Entry(**columns, at=at.get(row["email_id"], made))
    return entries


async def find_ids(database: Database, message_ids: Sequence[str]) -> dict[str, UUID]:
    """Find outgoing emails by their Message-IDs, or by those that a relay gave them."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT w.message_id, e.id FROM unnest($1::text[], $2::bytea[]) AS w (message_id, hash)
            JOIN router.message_id AS m ON m.hash = w.hash
            JOIN crm.email AS e ON e.id = m.email_id AND e.direction = 'out'
            """,
            list(message_ids),
            [message_id_hash(one) for one in message_ids],
        )
    return {row["message_id"]: row["id"] for row in rows}


async def read_attempts(database: Database, email_id: UUID) -> tuple[list[Recipient], list[Attempt]]:
    """Read what became of each recipient so far, and of each attempt, the oldest first."""
    async with database.connection() as connection:
        recipients = await connection.fetch(
            """
            SELECT address, state, code, text FROM crm.delivery WHERE email_id = $1
            UNION ALL
            SELECT DISTINCT b.address, b.state, b.code, b.text
            FROM crm.email AS e JOIN crm.party AS p ON p.email_id = e.id AND p.role IN ('to', 'cc', 'bcc')
            JOIN crm.address_state AS b ON b.address = p.address AND b.state = 'bounced'
            WHERE e.id = $1 AND e.status IN ('draft', 'pending_send') AND NOT e.send_anyway AND NOT EXISTS (
                SELECT FROM crm.delivery AS d WHERE d.email_id = e.id AND d.address = p.address)
            ORDER BY address
            """,
            email_id,
        )
        attempts = await connection.fetch(
            """
            SELECT number, started_at, finished_at, profile, relay, outcome, replies
            FROM router.attempt WHERE email_id = $1 ORDER BY claimed_at
            """,
            email_id,
        )
    return [Recipient(**row) for row in recipients], [Attempt(**row) for row in attempts]


async def move(
    database: Database, ids: Collection[UUID], old: Collection[str], new: str, reason: str | None
) -> set[UUID]:
    """Give emails that have an old status a new one; return whose status changed. What others have locked is left."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            WITH picked AS MATERIALIZED (
                SELECT e.id FROM crm.email AS e WHERE e.id = ANY($1::uuid[]) AND e.status = ANY($2::text[])
                    AND e.direction = 'out'
                ORDER BY e.id FOR UPDATE SKIP LOCKED
            )
            UPDATE crm.email AS e SET status = $3, status_reason = $4 FROM picked WHERE e.id = picked.id RETURNING e.id
            """,
            list(ids),
            list(old),
            new,
            storable(reason),
        )
    return {row["id"] for row in rows}


async def hasten(database: Database, ids: Collection[UUID]) -> set[UUID]:
    """Make pending emails due now that wait for a retry; return which are due. `send_after` still holds."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            WITH picked AS MATERIALIZED (
                SELECT q.email_id FROM crm.email AS e JOIN router.outbox AS q ON q.email_id = e.id
                WHERE e.id = ANY($1::uuid[]) AND e.status = 'pending_send' AND q.process_id IS NULL
                    AND (e.send_after IS NULL OR e.send_after <= now())
                ORDER BY e.id FOR UPDATE OF e, q SKIP LOCKED
            ), made AS (
                UPDATE router.outbox AS q SET next_at = least(q.next_at, now()), ready = true
                FROM picked AS p WHERE q.email_id = p.email_id RETURNING q.email_id, coalesce(q.profile, '') AS profile
            ), told AS (
                SELECT pg_notify($2, m.profile) FROM (SELECT DISTINCT profile FROM made) AS m
            )
            SELECT email_id, (SELECT count(told) FROM told) FROM made
            """,
            list(ids),
            OUTBOX_CHANNEL,
        )
    return {row["email_id"] for row in rows}


async def read_now(database: Database) -> datetime:
    """Read the time of the database."""
    async with database.connection() as connection:
        now: datetime = await connection.fetchval("SELECT now()")
    return now


def _source(state: State) -> tuple[str, str, str]:
    if state in ("pending", "sending"):
        return _QUEUED, "e.created_at", "u.email_id"
    return _UNSENT, "u.since", "u.since, u.email_id"


def _arguments(state: State, which: Selection, after: Entry | Place | None) -> Sequence[object]:
    at, email_id = (after.at, after.email_id) if after else _START
    status = "failed" if state == "given_up" else state
    return (status, state == "given_up", which.owner, which.profile, which.since, which.before, at, email_id)
