"""Mail that is held back, as a page lists it: for whom, since when, why, and what it may answer.

Who wrote it is not kept, but in its bytes where these are. What is found is of owners whose mail is seen; None: of all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from router.model import Verdict
from router.repository.database import Database
from router.repository.jsonb import read_verdict
from router.repository.senders.bound import bound

_COUNTED: Final = 10_000  # held messages that are counted, the latest first
_NEWS: Final = 100


@dataclass(frozen=True, slots=True)
class Held:
    """A held message. `kind` is the class of its reason, as `router.held_kind` says.

    `kept_until` says until when its bytes are kept, None: they are only where it lies in the mailbox. `may_answer` is
    the email that it would be linked with, and `may_answer_subject` None where that may not be told. `verdict` is what
    our mail server found out about the sender.
    """

    id: int
    owner_id: UUID | None
    owner: str | None
    received_at: datetime
    decided_at: datetime
    reasons: tuple[str, ...]
    kind: str
    kept_until: datetime | None
    may_answer: UUID | None
    may_answer_subject: str | None
    verdict: Verdict | None


@dataclass(frozen=True, slots=True)
class HeldFilter:
    """Which held mail is meant: of a class of reasons, and decided before a time; or all."""

    kind: str | None = None
    before: datetime | None = None


@dataclass(frozen=True, slots=True)
class HeldCount:
    """How many held messages of one owner, one class of reasons and one age there are.

    `age` counts the times of `ages` that it is older than.
    """

    owner_id: UUID | None
    owner: str | None
    kind: str
    age: int
    number: int


_MEANT: Final = """
    ($2::text IS NULL OR router.held_kind(d.reasons) = $2) AND ($3::timestamptz IS NULL OR d.decided_at < $3)
"""


def _pages(seen: frozenset[UUID] | None, which: str, limit: int) -> str:
    """SQL for the ids of the latest held mail; $1: the owners."""
    page = f"""
        SELECT d.id FROM router.decision AS d
        WHERE d.disposition = 'held' AND d.disposition IN ('held', 'dead') AND {{owner}} AND {which}
        ORDER BY d.id DESC LIMIT {limit}
    """  # noqa: S608  # constants
    if seen is None:
        return page.format(owner="cardinality($1::uuid[]) = 0")
    return f"""
        SELECT p.id FROM unnest($1::uuid[]) AS o (id)
        CROSS JOIN LATERAL ({page.format(owner="d.owner_id = o.id")}) AS p ORDER BY p.id DESC LIMIT {limit}
    """  # noqa: S608  # constants


async def list_held(
    database: Database, seen: frozenset[UUID] | None, which: HeldFilter, before: int | None, limit: int
) -> list[Held]:
    """List held mail, the latest decision first, before one of these ids."""
    async with bound(database) as connection:
        rows = await connection.fetch(
            f"""
            SELECT d.id, d.owner_id, o.mailbox AS owner, d.received_at, d.decided_at, d.reasons,
                router.held_kind(d.reasons) AS kind, k.expires_at AS kept_until, e.id AS may_answer,
                CASE WHEN NOT e.private THEN e.subject END AS may_answer_subject, d.verdict::text AS verdict
            FROM ({_pages(seen, f"{_MEANT} AND ($4::bigint IS NULL OR d.id < $4)", limit)}) AS p
            JOIN router.decision AS d ON d.id = p.id
            LEFT JOIN crm.owner AS o ON o.record_id = d.owner_id
            LEFT JOIN router.kept_content AS k ON k.decision_id = d.id AND k.expires_at > now()
            LEFT JOIN LATERAL (
                SELECT e.id, e.private, e.subject FROM crm.email AS e
                WHERE e.id = (d.candidates -> 0 ->> 'email_id')::uuid
                    AND ($5 OR e.owner_id = ANY($1::uuid[]) OR EXISTS (
                        SELECT FROM crm.receipt AS r WHERE r.email_id = e.id AND r.owner_id = ANY($1::uuid[])))
            ) AS e ON true
            ORDER BY d.id DESC
            """,  # noqa: S608  # constants
            sorted(seen or ()),
            which.kind,
            which.before,
            before,
            seen is None,
        )
    return [Held(**{**row, "reasons": tuple(row["reasons"]), "verdict": read_verdict(row["verdict"])}) for row in rows]


async def count_held(database: Database, seen: frozenset[UUID] | None, ages: Sequence[datetime]) -> list[HeldCount]:
    """Count held mail by owner, class of reasons, and how many of these times it is older than; the latest 10,000."""
    async with database.transaction() as connection:
        rows = await connection.fetch(
            f"""
            -- Of ten thousand rows few reasons are left, whose class is asked for.
            SELECT d.owner_id, o.mailbox AS owner, router.held_kind(ARRAY[d.reason]) AS kind, d.age,
                sum(d.number)::int AS number
            FROM (
                SELECT d.owner_id, d.reasons[cardinality(d.reasons)] AS reason,
                    cardinality($2::timestamptz[]) - width_bucket(d.decided_at, $2) AS age, count(*) AS number
                FROM ({_pages(seen, "true", _COUNTED)}) AS p JOIN router.decision AS d ON d.id = p.id
                GROUP BY 1, 2, 3
            ) AS d LEFT JOIN crm.owner AS o ON o.record_id = d.owner_id
            GROUP BY 1, 2, 3, 4 ORDER BY 2, 3, 4
            """,  # noqa: S608  # constants
            sorted(seen or ()),
            sorted(ages),
        )
    return [HeldCount(**row) for row in rows]


async def count_news(
    database: Database, seen: frozenset[UUID] | None, which: HeldFilter, after: int, known: Sequence[int]
) -> tuple[int, list[int]]:
    """Count held mail that came after an id, a hundred at most; and tell which of the known is not held any more."""
    async with bound(database) as connection:
        number: int = await connection.fetchval(
            f"SELECT count(*) FROM ({_pages(seen, f'{_MEANT} AND d.id > $4', _NEWS)}) AS p",  # noqa: S608  # constants
            sorted(seen or ()),
            which.kind,
            which.before,
            after,
        )
        gone = await connection.fetchval(
            """
            SELECT coalesce(array_agg(w.id), '{}') FROM unnest($1::bigint[]) AS w (id)
            WHERE NOT EXISTS (SELECT FROM router.decision AS d WHERE d.id = w.id AND d.disposition = 'held')
            """,
            list(known),
        )
    return number, list(gone)


async def may_rule_on_held(database: Database, seen: frozenset[UUID] | None, ids: Sequence[int]) -> bool:
    """Whether all of these are held mail that may be seen."""
    async with bound(database) as connection:
        number: int = await connection.fetchval(
            """
            SELECT count(*) FROM router.decision AS d
            WHERE d.id = ANY($1::bigint[]) AND d.disposition = 'held' AND ($3 OR d.owner_id = ANY($2::uuid[]))
            """,
            list(ids),
            sorted(seen or ()),
            seen is None,
        )
    return number == len(set(ids))
