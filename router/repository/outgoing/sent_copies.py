"""Copies for the owners' Sent folders: which are wanted, whose turn it is, and what became of them.

A copy that is begun is due again after `_LEASE`: whoever tries it again looks first whether it lies there.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from router.errors import ContentRefused
from router.model import Outgoing
from router.repository.database import Connection, Database, storable
from router.repository.outgoing.outgoing import PARTIES, outgoing_of
from router.repository.outgoing.queue import MOST
from router.repository.owners.choices import TOKENS

_LEASE: Final = timedelta(minutes=15)
_NO_ATTEMPT: Final = UUID(int=0)
_AT_ONCE: Final = 100  # copies of one owner
_KEPT: Final = timedelta(days=30)  # what is done with
PIECE: Final = 1000
"""Rows that `forget_done` deletes at most."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A copy whose turn it is; `before` says how often it was begun before."""

    email_id: UUID
    before: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Due:
    """An owner of whom copies are due, the profile that was to put them, and the mailbox, if there is one still.

    Nothing may be put into one that is not `approved`: the CRM may have named another since.
    """

    owner_id: UUID
    profile: str
    mailbox: str | None
    approved: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """Copies that wait after a fault, or were given up within the last day, by the words that say why."""

    fault: str
    count: int
    given_up: bool


async def want_of(database: Database, found: Mapping[UUID, str | None]) -> None:
    """Say which profile puts the copies of these owners, or that none does; of all others it stays as it is."""
    async with database.connection() as connection:
        await connection.execute(
            """
            WITH gone AS (
                DELETE FROM router.sent_folder AS f
                WHERE NOT EXISTS (SELECT FROM crm.owner AS o WHERE o.record_id = f.owner_id)
            )
            INSERT INTO router.sent_folder AS f (owner_id, profile)
            SELECT w.* FROM unnest($1::uuid[], $2::text[]) AS w (owner_id, profile)
            WHERE NOT EXISTS (
                SELECT FROM router.sent_folder AS h
                WHERE h.owner_id = w.owner_id AND h.profile IS NOT DISTINCT FROM w.profile
            )
            ORDER BY w.owner_id ON CONFLICT (owner_id) DO UPDATE SET profile = excluded.profile
            """,
            list(found),
            list(found.values()),
        )


async def next_due(database: Database, owners: Collection[UUID], profiles: Collection[str]) -> Due | None:
    """Find whose copies have waited longest, but for these owners and profiles; in a copy of the database, nobody's.

    It costs one step through an index for each profile.
    """
    async with database.connection() as connection:
        row = await connection.fetchrow(
            """
            WITH RECURSIVE waiting AS (
                (SELECT c.profile FROM router.sent_copy AS c WHERE c.appended_at IS NULL AND c.given_up_at IS NULL
                 ORDER BY c.profile LIMIT 1)
                UNION ALL
                SELECT (SELECT c.profile FROM router.sent_copy AS c
                        WHERE c.appended_at IS NULL AND c.given_up_at IS NULL AND c.profile > w.profile
                        ORDER BY c.profile LIMIT 1)
                FROM waiting AS w WHERE w.profile IS NOT NULL
            )
            SELECT first.owner_id, w.profile, o.mailbox, coalesce(o.approved, false) AS approved
            FROM waiting AS w CROSS JOIN LATERAL (
                SELECT c.owner_id, c.due_at FROM router.sent_copy AS c
                WHERE c.appended_at IS NULL AND c.given_up_at IS NULL AND c.profile = w.profile AND c.due_at <= now()
                    AND c.owner_id <> ALL($1::uuid[])
                ORDER BY c.due_at LIMIT 1
            ) AS first
            LEFT JOIN crm.owner AS o ON o.record_id = first.owner_id
            WHERE w.profile <> ALL($2::text[]) AND NOT router.is_copy()
            ORDER BY first.due_at LIMIT 1
            """,
            list(owners),
            list(profiles),
        )
    return None if row is None else Due(row["owner_id"], row["profile"], row["mailbox"], row["approved"])


async def begin(database: Database, owner_id: UUID) -> list[Begun]:
    """Begin with copies of an owner that are due, and with new ones, since whoever does so has logged in."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            UPDATE router.sent_copy AS c SET attempts = c.attempts + 1, due_at = now() + $3::interval
            WHERE c.email_id IN (
                SELECT d.email_id FROM router.sent_copy AS d
                WHERE d.owner_id = $1 AND d.appended_at IS NULL AND d.given_up_at IS NULL
                    AND (d.due_at <= now() OR d.attempts = 0)
                    AND NOT router.is_copy()
                ORDER BY d.due_at LIMIT $2 FOR UPDATE SKIP LOCKED
            )
            RETURNING c.email_id, c.attempts - 1 AS before, c.since
            """,
            owner_id,
            _AT_ONCE,
            _LEASE,
        )
    return [Begun(row["email_id"], row["before"], row["since"]) for row in rows]


async def forget(database: Database, email_ids: Sequence[UUID]) -> None:
    """Forget copies that nobody wants."""
    async with database.connection() as connection:
        await connection.execute(
            "DELETE FROM router.sent_copy WHERE email_id = ANY($1::uuid[]) AND appended_at IS NULL", list(email_ids)
        )


async def give_back(database: Database, email_ids: Sequence[UUID]) -> None:
    """Make copies due at once that were begun and not ended, as when the process stops."""
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE router.sent_copy SET due_at = now() WHERE email_id = ANY($1::uuid[]) AND appended_at IS NULL",
            list(email_ids),
        )


async def read(database: Database, email_id: UUID, mailbox: str) -> Outgoing | ContentRefused:
    """Read an email as it was sent, but for its attachments; ContentRefused where it cannot be composed any more."""
    async with database.connection() as connection:
        row = await connection.fetchrow(
            f"""
            SELECT e.id AS email_id, $2::uuid AS attempt_id, 0 AS attempts, 0 AS spent, NULL::float8 AS deferred_for,
                e.owner_id, $3::text AS mailbox, e.lane, e.message_id, e.token,
                extract(epoch FROM e.dated_at)::float8 AS dated, e.subject, e.text_body, e.html_body, e.in_reply_to,
                e.thread_ids, ARRAY(SELECT p FROM ({PARTIES}) AS p) AS parties, {TOKENS} AS tokens,
                e.headers::text AS headers, e.automatic, e.unsubscribe_url,
                EXISTS (SELECT FROM crm.attachment AS a WHERE a.email_id = e.id) AS attached
            FROM crm.email AS e WHERE e.id = $1 AND e.message_id IS NOT NULL AND e.dated_at IS NOT NULL
            """,  # noqa: S608  # a constant
            email_id,
            _NO_ATTEMPT,
            mailbox,
        )
    return ContentRefused("the email is not there any more, or was changed") if row is None else outgoing_of(row)


async def note_appended(database: Database, email_id: UUID) -> None:
    """Say that a copy lies in the Sent folder."""
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE router.sent_copy SET appended_at = now(), fault = NULL WHERE email_id = $1 AND given_up_at IS NULL",
            email_id,
        )


async def put_off(database: Database, email_ids: Sequence[UUID], fault: str, delay: timedelta | None) -> None:
    """Say why copies could not be put there, and when it is tried again; None: never."""
    async with database.connection() as connection:
        await connection.execute(
            """
            UPDATE router.sent_copy SET fault = $2, due_at = now() + coalesce($3, interval '0'),
                given_up_at = CASE WHEN $3::interval IS NULL THEN now() END
            WHERE email_id = ANY($1::uuid[]) AND appended_at IS NULL
            """,
            list(email_ids),
            storable(fault),
            delay,
        )


async def read_waiting(database: Database) -> list[Waiting]:
    """Tell why copies wait, or were given up within the last day: at most ten reasons."""
    async with database.connection() as connection:
        return await waiting_of(connection)


async def waiting_of(connection: Connection) -> list[Waiting]:
    """The same, over a connection that is at hand. Of each kind `MOST` at the most are looked at, through an index."""
    rows = await connection.fetch(
        """
        SELECT c.fault, count(*) AS count, c.given_up FROM (
            (SELECT c.fault, false AS given_up FROM router.sent_copy AS c
             WHERE c.appended_at IS NULL AND c.given_up_at IS NULL ORDER BY c.profile, c.due_at LIMIT $1)
            UNION ALL
            (SELECT c.fault, true FROM router.sent_copy AS c
             WHERE c.given_up_at > now() - interval '1 day' ORDER BY c.given_up_at DESC LIMIT $1)
        ) AS c
        WHERE c.fault IS NOT NULL
        GROUP BY 1, 3 ORDER BY 2 DESC, 1 LIMIT 10
        """,
        MOST,
    )
    return [Waiting(row["fault"], row["count"], row["given_up"]) for row in rows]


async def forget_done(database: Database) -> int:
    """Forget copies that are done with for a month; return how many that were, PIECE at most."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            DELETE FROM router.sent_copy WHERE email_id IN (
                SELECT c.email_id FROM router.sent_copy AS c
                WHERE (c.appended_at IS NOT NULL OR c.given_up_at IS NOT NULL) AND c.since < now() - $2::interval
                ORDER BY c.since LIMIT $1 FOR UPDATE SKIP LOCKED
            ) RETURNING 1
            """,
            PIECE,
            _KEPT,
        )
    return len(rows)
