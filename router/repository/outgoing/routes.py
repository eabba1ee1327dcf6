"""Which outgoing profile carries what an owner sends, and that what waits knows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID

from router.repository.database import Database
from router.repository.halves import by_halves
from router.repository.outgoing.claim import OUTBOX_CHANNEL

OWNERS_CHANNEL: Final = "router_owners"
"""Tells that owners have changed."""

_PIECE: Final = 500
_REFUSALS: Final = 20  # after so many, no more emails of an owner are told why they wait


@dataclass(frozen=True, slots=True)
class Sender:
    """An owner, who may send or not; `mailbox` is None where nobody has named it."""

    owner_id: UUID
    mailbox: str | None
    approved: bool


@dataclass(frozen=True, slots=True)
class Route:
    """The `profile` that carries what an owner sends; or None, with the reason. `domain` is for Message-IDs."""

    owner_id: UUID
    profile: str | None
    reason: str | None
    domain: str


async def senders(database: Database) -> list[Sender]:
    """List all owners."""
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT record_id, mailbox, approved FROM crm.owner ORDER BY record_id")
    return [Sender(row["record_id"], row["mailbox"], row["approved"]) for row in rows]


async def write(
    database: Database, process_id: UUID, lease: timedelta, routes: Sequence[Route], served: Sequence[str]
) -> None:
    """Write those routes that have changed, by what the profiles say that this process has `served`.

    A route to a profile that another living process has, and this one has not, is left to that process.
    """
    for start in range(0, len(routes), _PIECE):
        piece = routes[start : start + _PIECE]
        async with database.connection() as connection:
            await connection.execute(
                """
                WITH others AS MATERIALIZED (
                    SELECT DISTINCT s ->> 'name' AS name
                    FROM router.process AS p, jsonb_array_elements(p.profiles) AS s
                    WHERE p.id <> $5 AND p.seen_at > clock_timestamp() - $6::interval
                        AND s ->> 'direction' = 'outgoing' AND s ->> 'name' <> ALL ($7::text[])
                ), w AS (
                    SELECT w.* FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[])
                        AS w (owner_id, profile, reason, domain)
                    LEFT JOIN router.route AS r ON r.owner_id = w.owner_id
                    WHERE (w.profile, w.reason, w.domain) IS DISTINCT FROM (r.profile, r.reason, r.domain)
                        AND (r.profile IS NULL OR r.profile NOT IN (SELECT name FROM others))
                )
                INSERT INTO router.route AS r (owner_id, profile, reason, domain, aligned)
                SELECT w.*, NOT EXISTS (
                    SELECT FROM router.outbox AS o WHERE o.owner_id = w.owner_id AND o.process_id IS NULL)
                FROM w ORDER BY w.owner_id
                ON CONFLICT (owner_id) DO UPDATE SET profile = excluded.profile, reason = excluded.reason,
                    domain = excluded.domain, aligned = excluded.aligned
                """,
                [one.owner_id for one in piece],
                [one.profile for one in piece],
                [one.reason for one in piece],
                [one.domain for one in piece],
                process_id,
                lease,
                list(served),
            )
    async with database.connection() as connection:
        await connection.execute(
            """
            UPDATE router.route AS r SET profile = NULL, reason = 'it is of nobody who is an owner', aligned = false
            WHERE r.profile IS NOT NULL AND NOT EXISTS (SELECT FROM crm.owner AS o WHERE o.record_id = r.owner_id)
            """
        )


async def find_strays(database: Database) -> None:
    """Find owners of whom something waits that does not know the route, as what was queued while it changed.

    Its cost is one step through an index for each owner of whom something waits.
    """
    async with database.connection() as connection:
        await connection.execute(
            """
            WITH RECURSIVE waiting AS (
                (SELECT o.owner_id, coalesce(o.profile, '') AS profile FROM router.outbox AS o
                 WHERE o.process_id IS NULL ORDER BY o.owner_id, coalesce(o.profile, '') LIMIT 1)
                UNION ALL
                SELECT n.owner_id, n.profile FROM waiting AS w CROSS JOIN LATERAL (
                    SELECT o.owner_id, coalesce(o.profile, '') AS profile FROM router.outbox AS o
                    WHERE o.process_id IS NULL AND (o.owner_id, coalesce(o.profile, '')) > (w.owner_id, w.profile)
                    ORDER BY o.owner_id, coalesce(o.profile, '') LIMIT 1
                ) AS n
            ), strays AS (
                UPDATE router.route AS r SET aligned = false FROM waiting AS w
                WHERE r.owner_id = w.owner_id AND r.aligned AND coalesce(r.profile, '') <> w.profile
            )
            INSERT INTO router.route (owner_id, reason, domain)
            SELECT DISTINCT w.owner_id, 'it is of nobody who is an owner', '' FROM waiting AS w
            WHERE NOT EXISTS (SELECT FROM router.route AS r WHERE r.owner_id = w.owner_id)
                AND NOT EXISTS (SELECT FROM crm.owner AS o WHERE o.record_id = w.owner_id)
            ORDER BY 1
            ON CONFLICT DO NOTHING
            """
        )


async def align(database: Database) -> bool:
    """Tell what waits of one owner the route, piece by piece; False if there is no owner to do it for.

    What others have locked is left to `find_strays`. What the CRM's database refuses to be told (a trigger, a check
    that holds no more) is sent all the same.
    """
    async with database.connection() as connection:
        route = await connection.fetchrow(
            "SELECT owner_id, profile, reason FROM router.route WHERE NOT aligned ORDER BY owner_id LIMIT 1"
        )
    if route is None:
        return False
    owner_id, profile, reason = route
    after: tuple[str, UUID] | None = ("", UUID(int=0))
    refusals = 0
    while after is not None:
        async with database.connection() as connection:
            rows = await connection.fetch(
                """
                WITH piece AS MATERIALIZED (
                    SELECT o.email_id, coalesce(o.profile, '') AS profile FROM router.outbox AS o
                    WHERE o.owner_id = $1 AND o.process_id IS NULL AND (coalesce(o.profile, ''), o.email_id) > ($3, $4)
                    ORDER BY coalesce(o.profile, ''), o.email_id LIMIT $5
                ), locked AS MATERIALIZED (
                    SELECT o.email_id FROM router.outbox AS o
                    WHERE o.email_id = ANY(ARRAY(SELECT p.email_id FROM piece AS p)) AND o.process_id IS NULL
                        AND o.profile IS DISTINCT FROM $2
                    FOR UPDATE SKIP LOCKED
                ), moved AS (
                    UPDATE router.outbox AS o SET profile = $2, ready = o.next_at <= now()
                    WHERE o.email_id = ANY(ARRAY(SELECT l.email_id FROM locked AS l)) RETURNING o.email_id
                ), woken AS (
                    SELECT pg_notify($6, $2) FROM (SELECT FROM moved LIMIT 1) AS m WHERE $2::text IS NOT NULL
                )
                SELECT p.profile, p.email_id, (SELECT count(woken) FROM woken) AS woken
                FROM piece AS p ORDER BY p.profile, p.email_id
                """,
                owner_id,
                profile,
                *after,
                _PIECE,
                OUTBOX_CHANNEL,
            )
        after = (rows[-1]["profile"], rows[-1]["email_id"]) if rows else None
        # Of an email that was carried before, and is, the reason is another.
        to_tell = [row["email_id"] for row in rows if profile is None or not row["profile"]]
        if refusals < _REFUSALS:
            errors = await by_halves(to_tell, partial(_tell, database, profile, reason))
            refusals += sum(error is not None for error in errors)
    async with database.connection() as connection:
        await connection.execute(
            """
            UPDATE router.route SET aligned = true
            WHERE owner_id = $1 AND profile IS NOT DISTINCT FROM $2 AND reason IS NOT DISTINCT FROM $3
            """,
            owner_id,
            profile,
            reason,
        )
    return True


async def _tell(database: Database, profile: str | None, reason: str | None, email_ids: Sequence[UUID]) -> None:
    async with database.connection() as connection:
        await connection.execute(
            """
            WITH locked AS MATERIALIZED (
                SELECT e.id FROM crm.email AS e JOIN router.outbox AS o ON o.email_id = e.id
                WHERE e.id = ANY($1::uuid[]) AND e.status = 'pending_send' AND e.status_reason IS DISTINCT FROM $3
                    AND o.profile IS NOT DISTINCT FROM $2
                FOR UPDATE OF e SKIP LOCKED
            )
            UPDATE crm.email AS e SET status_reason = $3 WHERE e.id = ANY(ARRAY(SELECT l.id FROM locked AS l))
            """,
            list(email_ids),
            profile,
            reason,
        )
