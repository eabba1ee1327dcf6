"""How many wait: in all, for each owner, for how long, and for which reason; of owners who are seen.

Each is counted up to a bound or read from sums that are kept, so that it costs the same however many wait.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from router.repository.database import Database
from router.repository.senders.bound import bound
from router.repository.senders.seen import owners_seen

MACHINES: Final = "/machines"
"""The part of the senders that are machines."""

SNOOZED: Final = "/snoozed"
"""The part of the senders who are put off for a while."""

OLDER: Final = 100
"""Parts of one age, and senders of one reason, that are counted."""


@dataclass(frozen=True, slots=True)
class Total:
    """How many senders and emails wait in one list; of what several owners have received, once for each."""

    senders: int = 0
    number: int = 0


@dataclass(frozen=True, slots=True)
class OwnerTotal:
    """What waits for one owner; `kind` is user or queue, as the CRM says."""

    owner_id: UUID
    mailbox: str
    kind: str
    senders: int
    number: int


async def list_totals(database: Database, seen: frozenset[UUID] | None) -> dict[str, Total]:
    """Count who waits: by MACHINES, SNOOZED, and the empty name for all others."""
    async with bound(database) as connection:
        rows = await connection.fetch(
            """
            SELECT t.part, sum(t.senders)::bigint AS senders, sum(t.number)::bigint AS number
            FROM router.sender_total AS t WHERE t.owner_id = ANY($1::uuid[]) GROUP BY t.part
            """,
            owners_seen(seen),
        )
    found = {row["part"]: Total(row["senders"], row["number"]) for row in rows}
    return {part: found.get(part, Total()) for part in ("", MACHINES, SNOOZED)}


async def count_older(database: Database, seen: frozenset[UUID] | None, before: Sequence[datetime]) -> list[int]:
    """Count the parts in which a sender waits since before each of these times; what is folded away apart.

    Up to OLDER of each.
    """
    async with bound(database) as connection:
        rows = await connection.fetch(
            """
            SELECT (
                SELECT count(*) FROM (
                    SELECT DISTINCT r.part FROM unnest($1::uuid[]) AS o (id) CROSS JOIN LATERAL (
                        SELECT p.part FROM router.sender_part AS p
                        WHERE p.owner_id = o.id AND NOT p.aside AND p.oldest_at < w.at ORDER BY p.oldest_at LIMIT $3
                    ) AS r LIMIT $3
                ) AS r
            ) AS number
            FROM unnest($2::timestamptz[]) WITH ORDINALITY AS w (at, n) ORDER BY w.n
            """,
            owners_seen(seen),
            list(before),
            OLDER,
        )
    return [row["number"] for row in rows]


async def count_reasons(database: Database, seen: frozenset[UUID] | None, reasons: Sequence[str]) -> list[int]:
    """Count who waits for each of these reasons, what is folded away apart; up to OLDER of each."""
    async with bound(database) as connection:
        rows = await connection.fetch(
            """
            SELECT (
                SELECT count(*) FROM (
                    SELECT DISTINCT r.address FROM unnest($1::uuid[]) AS o (id) CROSS JOIN LATERAL (
                        SELECT s.address FROM router.sender_waiting AS s
                        WHERE s.owner_id = o.id AND s.reason = w.reason AND left(s.part, 1) <> '/'
                        ORDER BY s.latest_at DESC LIMIT $3
                    ) AS r LIMIT $3
                ) AS r
            ) AS number
            FROM unnest($2::text[]) WITH ORDINALITY AS w (reason, n) ORDER BY w.n
            """,
            owners_seen(seen),
            list(reasons),
            OLDER,
        )
    return [row["number"] for row in rows]


async def list_by_owner(database: Database, seen: frozenset[UUID] | None) -> list[OwnerTotal]:
    """Count who waits for each owner, those with most emails first; machines, and who is put off, apart."""
    async with bound(database) as connection:
        rows = await connection.fetch(
            """
            SELECT t.owner_id, coalesce(o.mailbox, '') AS mailbox, coalesce(r.kind, 'user') AS kind, t.senders, t.number
            FROM router.sender_total AS t JOIN crm.owner AS o ON o.record_id = t.owner_id
            LEFT JOIN LATERAL (SELECT r.kind::text FROM crm.record AS r WHERE r.id = t.owner_id LIMIT 1) AS r ON true
            WHERE t.part = '' AND t.number > 0 AND ($2 OR t.owner_id = ANY($1::uuid[]))
            ORDER BY t.number DESC, o.mailbox LIMIT 1000
            """,
            owners_seen(seen),
            seen is None,
        )
    return [OwnerTotal(**row) for row in rows]
