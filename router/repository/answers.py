"""Acknowledgements: which incoming emails wait for one, what a template is given, and the answer as an ordinary email.

    promotion ─▶ router.acknowledgement ─begin─▶ (rendered, outside any transaction) ─write─▶ crm.email, pending_send
                                                      └─put_off─▶ later      └─give_up─▶ no answer, and an event why

Whoever has begun one has it for `_LEASE`; then another process may. The answer is written in the transaction that
deletes the row of work, and only by who began it last: so there is one answer, whichever process dies.

A template of which nothing can be made is tried again with growing pauses, by one of its emails; the others wait, and
cost nothing meanwhile.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from asyncpg import Record

from router.model import uuid7
from router.model.answer import Rendered, TemplateText, Values
from router.repository.database import Connection, Database, storable
from router.repository.template_values import VALUES, values_of

PIECE: Final = 1000
"""Rows that `forget_old` deletes at most."""

AT_ONCE: Final = 20
"""Emails that `begin` looks at; where there are so many, there may be more."""

_LEASE: Final = timedelta(minutes=1)
_GIVEN_UP: Final = timedelta(days=1)
_FIRST, _LONGEST = timedelta(seconds=30), timedelta(hours=1)
"""Between two tries, doubled each time."""
_KEPT: Final = timedelta(days=730)  # that a thread was acknowledged
_LOCK: Final = 0x61636B  # of our advisory locks, one for each domain
_HEADERS: Final = '[["X-Auto-Response-Suppress", "All"]]'  # Exchange knows no other way to ask for no automatic answer


@dataclass(frozen=True, slots=True)
class Limits:
    """How many acknowledgements one sender, and all senders of one domain, get within a day."""

    sender: int = 5
    domain: int = 500


@dataclass(frozen=True, slots=True)
class Begun:
    """An email that is to be acknowledged now, by a template as it was when `changed_at`.

    `attempt` tells who began it last. `late`: it is given up if it fails now. `fault`: why it is given up at once.
    """

    email_id: UUID
    attempt: int
    late: bool
    fault: str | None
    template: str
    changed_at: datetime
    source: TemplateText
    values: Values


async def begin(database: Database) -> tuple[list[Begun], int]:
    """Begin some of what is due, and return how many were looked at. Nothing in a copy of the database.

    What waits for a template that is at fault goes on waiting; what needs no answer any more is forgotten.
    """
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""
            WITH due AS MATERIALIZED (
                SELECT a.email_id, a.owner_id, a.since <= now() - $2::interval AS late
                FROM router.acknowledgement AS a WHERE a.due_at <= now() AND NOT router.is_copy()
                ORDER BY a.due_at LIMIT {AT_ONCE} FOR UPDATE SKIP LOCKED
            ), known AS MATERIALIZED (
                SELECT d.email_id, d.late, t.name, t.changed_at, t.subject, t.text_body, t.html_body, t.fault,
                    CASE WHEN NOT d.late AND t.next_try_at > now() THEN t.next_try_at END AS waits_until
                FROM due AS d JOIN crm.owner AS o ON o.record_id = d.owner_id AND o.approved AND o.mailbox IS NOT NULL
                JOIN crm.template AS t ON t.name = o.acknowledgement
                WHERE NOT EXISTS (SELECT FROM router.acknowledged AS k WHERE k.thread_id = crm.thread_id(d.email_id))
            ), forgotten AS (
                DELETE FROM router.acknowledgement AS a USING due
                WHERE a.email_id = due.email_id AND NOT EXISTS (SELECT FROM known WHERE known.email_id = a.email_id)
            ), begun AS (
                UPDATE router.acknowledgement AS a
                SET due_at = coalesce(k.waits_until, now() + $1::interval), attempts = a.attempts + 1,
                    fault = CASE WHEN k.waits_until IS NOT NULL THEN k.fault END,
                    for_template = k.waits_until IS NOT NULL
                FROM known AS k WHERE k.email_id = a.email_id
                RETURNING a.email_id, a.owner_id, a.attempts, k.late, k.waits_until,
                    CASE WHEN k.late THEN k.fault END AS fault, k.name AS template, k.changed_at,
                    k.subject AS template_subject, k.text_body, k.html_body
            )
            SELECT (SELECT count(*) FROM due) AS looked_at, b.*, v.*
            FROM (SELECT) AS one LEFT JOIN (
                begun AS b JOIN LATERAL ({VALUES} WHERE e.id = b.email_id AND o.record_id = b.owner_id LIMIT 1) AS v
                ON b.waits_until IS NULL
            ) ON true
            """,  # noqa: S608  # constants
            _LEASE,
            _GIVEN_UP,
        )
    found = [
        Begun(
            email_id=row["email_id"],
            attempt=row["attempts"],
            late=row["late"],
            fault=row["fault"],
            template=row["template"],
            changed_at=row["changed_at"],
            source=TemplateText(row["template_subject"], row["text_body"], row["html_body"]),
            values=values_of(row),
        )
        for row in rows
        if row["email_id"] is not None
    ]
    return found, rows[0]["looked_at"]


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


async def put_off(database: Database, one: Begun, words: str) -> None:
    """Try an email later, after a pause that grows with its attempts."""
    async with database.connection() as connection:
        await connection.execute(
            """
            UPDATE router.acknowledgement
            SET fault = $3, due_at = now() + least($5::interval, $4::interval * 2 ^ least(attempts - 1, 10))
            WHERE email_id = $1 AND attempts = $2
            """,
            one.email_id,
            one.attempt,
            storable(words),
            _FIRST,
            _LONGEST,
        )


async def give_back(database: Database, some: Sequence[Begun]) -> None:
    """Let these be begun again, by whoever comes first."""
    async with database.connection() as connection:
        await connection.execute(
            """
            UPDATE router.acknowledgement AS a SET due_at = now()
            FROM unnest($1::uuid[], $2::int[]) AS w (email_id, attempt)
            WHERE a.email_id = w.email_id AND a.attempts = w.attempt
            """,
            [one.email_id for one in some],
            [one.attempt for one in some],
        )


async def note_wrong(database: Database, one: Begun, words: str) -> None:
    """Say of a template, as it was, that nothing can be made of it; it is tried again after a pause that grows."""
    async with database.connection() as connection:
        await connection.execute(
            """
            UPDATE crm.template SET fault = $3, failures = failures + 1,
                next_try_at = now() + least($5::interval, $4::interval * 2 ^ least(failures, 10))
            WHERE name = $1 AND changed_at = $2
            """,
            one.template,
            one.changed_at,
            storable(words),
            _FIRST,
            _LONGEST,
        )


async def note_right(database: Database, one: Begun) -> None:
    """Say of a template that something was made of it: what waits for it is due."""
    async with database.transaction() as connection:
        mended = await connection.fetchval(
            """
            UPDATE crm.template SET fault = NULL, failures = 0, next_try_at = NULL
            WHERE name = $1 AND fault IS NOT NULL RETURNING true
            """,
            one.template,
        )
        if not mended:
            return  # as a rule; what waits has no index by its owner, and would be read whole each time
        await connection.execute(
            """
            UPDATE router.acknowledgement AS a SET due_at = now(), for_template = false
            FROM crm.owner AS o WHERE o.acknowledgement = $1 AND a.owner_id = o.record_id AND a.for_template
            """,
            one.template,
        )


async def faults(database: Database) -> list[str]:
    """Say what keeps acknowledgements from being written, and how many wait for that."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT coalesce('template ' || o.acknowledgement || ': ', '') || a.fault AS words, count(*) AS waiting
            FROM router.acknowledgement AS a LEFT JOIN crm.owner AS o ON o.record_id = a.owner_id
            WHERE a.fault IS NOT NULL GROUP BY 1 ORDER BY 1 LIMIT 20
            """
        )
    return [f"{row['words']} ({row['waiting']} waiting)" for row in rows]


async def forget_old(database: Database) -> int:
    """Forget threads that were acknowledged long ago; return how many there were in this piece."""
    async with database.connection() as connection:
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
