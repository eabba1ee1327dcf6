"""Who waits, a page at a time: parts (a domain, or a lone address), and the senders in one; of owners who are seen.

Each page is read from the end of an index, for each owner who is seen, and these are merged: the newest parts of all
are among the newest of each. So it costs the same however many wait. What several owners have received counts once for
each, where there are more than a few: one page does not count 100,000 emails.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, NamedTuple
from uuid import UUID

from asyncpg import Record

from router.repository.database import Connection, Database
from router.repository.senders.bound import bound
from router.repository.senders.care import LOOKS
from router.repository.senders.seen import owners_seen

Order = Literal["newest", "oldest"]

_COUNTED: Final = 100  # emails of a sender or part that are counted exactly where several owners have received them
_MOST_OWNERS: Final = 12  # that are named of one sender


class Place(NamedTuple):
    """Where a page ended: the time it is ordered by, and the part or address."""

    at: datetime
    key: str


@dataclass(frozen=True, slots=True)
class Part:
    """A domain with all its senders (`@kestrel.example`), or a lone address."""

    part: str
    senders: int
    number: int
    latest_at: datetime
    oldest_at: datetime


@dataclass(frozen=True, slots=True)
class Sender:
    """A sender who waits, as a row shows it. `subject` is None where the latest email is private.

    `owners` are the mailboxes the mail came to, of those that are seen; `attached`: the latest email has a file.
    """

    address: str
    part: str
    number: int
    latest_at: datetime
    oldest_at: datetime
    latest_id: UUID
    name: str = ""
    subject: str | None = None
    attached: bool = False
    owners: tuple[str, ...] = ()
    assigned_to: str | None = None
    snoozed_until: datetime | None = None
    looking: tuple[str, ...] = ()


async def list_parts(
    database: Database, seen: frozenset[UUID] | None, *, after: Place | None, limit: int, older_than: datetime | None
) -> list[Part]:
    """List parts, that with the newest email first; with `older_than` those where one waits longer, longest first."""
    page = _page("sender_part", "part", "NOT r.aside", "oldest" if older_than else "newest")
    return await _parts(database, seen, page, *_arguments(seen, after, limit, older_than))


async def find_parts(database: Database, seen: frozenset[UUID] | None, parts: Sequence[str]) -> list[Part]:
    """Find these parts, as far as somebody waits in them, that with the newest email first."""
    named = "SELECT w.key, w.position FROM unnest($2::text[]) WITH ORDINALITY AS w (key, position)"
    found = await _parts(database, seen, named, owners_seen(seen), list(parts))
    return sorted(found, key=lambda one: (one.latest_at, one.part), reverse=True)


async def _parts(database: Database, seen: frozenset[UUID] | None, page: str, *arguments: object) -> list[Part]:
    """Read the parts of a page; `page` is SQL for their keys with their positions, $1 the owners."""
    async with bound(database) as connection:
        rows = await connection.fetch(
            f"""
            WITH page AS ({page})
            SELECT page.key AS part, r.senders::bigint, r.number::bigint, r.latest_at, r.oldest_at, r.owners
            FROM page CROSS JOIN LATERAL (
                SELECT max(p.senders) AS senders, sum(p.number) AS number, max(p.latest_at) AS latest_at,
                    min(p.oldest_at) AS oldest_at, count(*) AS owners
                FROM router.sender_part AS p WHERE p.owner_id = ANY($1::uuid[]) AND p.part = page.key
                HAVING count(*) > 0
            ) AS r ORDER BY page.position
            """,  # noqa: S608  # constants
            *arguments,
        )
        exact = await connection.fetch(
            """
            SELECT w.part, n.senders, n.mails FROM unnest($2::text[]) AS w (part) CROSS JOIN LATERAL (
                SELECT array_agg(s.address) AS senders, array_agg(m.email_id) AS mails
                FROM router.sender_waiting AS s
                JOIN router.sender_mail AS m ON m.owner_id = s.owner_id AND m.address = s.address
                WHERE s.owner_id = ANY($1::uuid[]) AND s.part = w.part
            ) AS n
            """,
            owners_seen(seen),
            [row["part"] for row in rows if row["owners"] > 1 and row["number"] <= _COUNTED],
        )
    counted = {row["part"]: (len(set(row["senders"])), len(set(row["mails"]))) for row in exact}
    found = []
    for row in rows:
        senders, number = counted.get(row["part"], (row["senders"], row["number"]))
        found.append(Part(row["part"], senders, number, row["latest_at"], row["oldest_at"]))
    return found


async def list_senders(
    database: Database,
    seen: frozenset[UUID] | None,
    *,
    part: str | None = None,
    domain: str | None = None,
    reason: str | None = None,
    after: Place | None = None,
    limit: int = 50,
    older_than: datetime | None = None,
) -> list[Sender]:
    """List the senders of a part, of a domain, or who wait for a reason, in the order of `list_parts`."""
    named = {"r.part": part, "r.domain": domain, "r.reason": reason}
    meant = {column: value for column, value in named.items() if value is not None}
    of = " AND ".join(f"{column} = ${number}" for number, column in enumerate(meant, 6))
    if reason is not None:
        of += " AND left(r.part, 1) <> '/'"  # what is folded away is listed apart
    async with bound(database) as connection:
        # Of a domain or reason, those who wait longer are in no index of their own: they are told from the newest ones.
        order: Order = "oldest" if older_than and part is not None else "newest"
        page = _page("sender_waiting", "address", of, order)
        rows = await connection.fetch(
            f"WITH page AS ({page}) {_SENDERS}", *_arguments(seen, after, limit, older_than), *meant.values()
        )
        return await _described(connection, seen, rows)


async def first_of_parts(
    database: Database, seen: frozenset[UUID] | None, parts: Sequence[str], limit: int
) -> dict[str, list[Sender]]:
    """List the newest senders of each of these parts."""
    async with bound(database) as connection:
        rows = await connection.fetch(
            f"""
            WITH page AS (
                SELECT DISTINCT r.address AS key, 0 AS position FROM unnest($2::text[]) AS w (part)
                CROSS JOIN unnest($1::uuid[]) AS o (id)
                CROSS JOIN LATERAL (
                    SELECT r.address FROM router.sender_waiting AS r
                    WHERE r.owner_id = o.id AND r.part = w.part ORDER BY r.latest_at DESC, r.address DESC LIMIT $3::int
                ) AS r
            ) {_SENDERS}
            """,  # noqa: S608  # constants
            owners_seen(seen),
            list(parts),
            limit,
        )
        found: dict[str, list[Sender]] = {part: [] for part in parts}
        newest = sorted(rows, key=lambda row: (row["latest_at"], row["address"]), reverse=True)
        chosen = []
        taken = dict.fromkeys(parts, 0)
        for row in newest:
            if taken.get(row["part"], limit) < limit:
                taken[row["part"]] += 1
                chosen.append(row)
        for one in await _described(connection, seen, chosen):
            found[one.part].append(one)
    return found


async def find_senders(database: Database, seen: frozenset[UUID] | None, addresses: Sequence[str]) -> list[Sender]:
    """Find these senders, as far as they wait, in this order."""
    async with bound(database) as connection:
        rows = await connection.fetch(
            f"""
            WITH page AS (SELECT w.key, w.position FROM unnest($2::text[]) WITH ORDINALITY AS w (key, position))
            {_SENDERS}
            """,  # noqa: S608  # a constant
            owners_seen(seen),
            list(addresses),
        )
        return await _described(connection, seen, rows)


async def list_assigned(
    database: Database, seen: frozenset[UUID] | None, to: str, *, after: str, limit: int
) -> list[Sender]:
    """List the senders who are assigned to a person, in the order of their addresses."""
    async with bound(database) as connection:
        rows = await connection.fetch(
            f"""
            WITH page AS (
                SELECT c.address AS key, row_number() OVER (ORDER BY c.address) AS position FROM (
                    SELECT c.address FROM router.sender_care AS c
                    WHERE c.assigned_to = $2 AND c.address > $3 AND EXISTS (
                        SELECT FROM router.sender_waiting AS s
                        WHERE s.owner_id = ANY($1::uuid[]) AND s.address = c.address
                    )
                    ORDER BY c.address LIMIT $4
                ) AS c
            ) {_SENDERS}
            """,  # noqa: S608  # a constant
            owners_seen(seen),
            to,
            after,
            limit,
        )
        return await _described(connection, seen, rows)


_TIME: Final = {"newest": ("latest_at", "DESC", "<"), "oldest": ("oldest_at", "ASC", ">")}


def _page(table: str, key: str, which: str, order: Order) -> str:
    """SQL for the keys of a page with their positions.

    $1: the owners, $2 and $3: where the page before ended, $4: how many, $5: only those of whom one waits for longer.
    """
    at, direction, beyond = _TIME[order]
    return f"""
        SELECT p.key, row_number() OVER (ORDER BY p.at {direction}, p.key {direction}) AS position FROM (
            SELECT r.key, {"max" if order == "newest" else "min"}(r.at) AS at
            FROM unnest($1::uuid[]) AS o (id) CROSS JOIN LATERAL (
                SELECT r.{key} AS key, r.{at} AS at FROM router.{table} AS r
                WHERE r.owner_id = o.id AND {which}
                    AND ($2::timestamptz IS NULL OR (r.{at}, r.{key}) {beyond} ($2, $3::text))
                    AND ($5::timestamptz IS NULL OR r.oldest_at < $5)
                    -- One that another owner has brought onto a page before.
                    AND ($2::timestamptz IS NULL OR cardinality($1::uuid[]) = 1 OR (
                        SELECT bool_and((other.{at}, other.{key}) {beyond} ($2, $3::text)) FROM router.{table} AS other
                        WHERE other.owner_id = ANY($1::uuid[]) AND other.{key} = r.{key}
                    ))
                ORDER BY r.{at} {direction}, r.{key} {direction} LIMIT $4
            ) AS r GROUP BY r.key ORDER BY 2 {direction}, 1 {direction} LIMIT $4
        ) AS p
    """  # noqa: S608  # constants


def _arguments(
    seen: frozenset[UUID] | None, after: Place | None, limit: int, older_than: datetime | None
) -> tuple[object, ...]:
    return owners_seen(seen), after.at if after else None, after.key if after else None, limit, older_than


# What is in `page`, with what several owners have of it put together.
_SENDERS: Final = """
    SELECT page.key AS address, s.part, s.number, s.latest_at, s.latest_id, s.oldest_at, s.owners
    FROM page CROSS JOIN LATERAL (
        SELECT min(s.part) AS part, sum(s.number)::bigint AS number, max(s.latest_at) AS latest_at,
            (array_agg(s.latest_id ORDER BY s.latest_at DESC))[1] AS latest_id, min(s.oldest_at) AS oldest_at,
            count(*) AS owners
        FROM router.sender_waiting AS s WHERE s.owner_id = ANY($1::uuid[]) AND s.address = page.key
        HAVING count(*) > 0
    ) AS s ORDER BY page.position
"""


async def _described(connection: Connection, seen: frozenset[UUID] | None, rows: Sequence[Record]) -> list[Sender]:
    """Add what a row shows beside numbers and times; nothing of mail that is not seen."""
    owners = owners_seen(seen)
    addresses = [row["address"] for row in rows]
    exact = {
        row["address"]: len(set(row["mails"]))
        for row in await connection.fetch(
            """
            SELECT w.address, n.mails FROM unnest($2::text[]) AS w (address) CROSS JOIN LATERAL (
                SELECT array_agg(m.email_id) AS mails FROM router.sender_mail AS m
                WHERE m.owner_id = ANY($1::uuid[]) AND m.address = w.address
            ) AS n
            """,
            owners,
            [row["address"] for row in rows if row["owners"] > 1 and row["number"] <= _COUNTED],
        )
    }
    more = await connection.fetch(
        """
        SELECT coalesce(p.name, '') AS name, CASE WHEN NOT e.private THEN e.subject END AS subject,
            NOT e.private AND EXISTS (
                SELECT FROM crm.attachment AS a WHERE a.email_id = e.id AND NOT a.inline
            ) AS attached,
            -- Each by itself: joined in the order of mailboxes, all of these would be read for a sender.
            ARRAY(
                SELECT (SELECT o.mailbox FROM crm.owner AS o WHERE o.record_id = s.owner_id)
                FROM router.sender_waiting AS s
                WHERE s.address = w.address AND ($4 OR s.owner_id = ANY($1::uuid[])) LIMIT $5
            ) AS owners, c.assigned_to, c.snoozed_until,
            ARRAY(
                SELECT l.by FROM router.sender_look AS l
                WHERE l.address = w.address AND l.seen_at > now() - $6 * interval '1 second' ORDER BY l.by LIMIT 5
            ) AS looking
        FROM unnest($2::text[], $3::uuid[]) WITH ORDINALITY AS w (address, latest_id, n)
        LEFT JOIN crm.email AS e ON e.id = w.latest_id
        LEFT JOIN LATERAL (
            SELECT p.name FROM crm.party AS p
            WHERE p.email_id = w.latest_id AND p.role = 'from' AND p.position = 0 LIMIT 1
        ) AS p ON true
        LEFT JOIN router.sender_care AS c ON c.address = w.address
        ORDER BY w.n
        """,
        owners,
        addresses,
        [row["latest_id"] for row in rows],
        seen is None,
        _MOST_OWNERS,
        LOOKS,
    )
    return [
        Sender(
            row["address"],
            row["part"],
            exact.get(row["address"], row["number"]),
            row["latest_at"],
            row["oldest_at"],
            row["latest_id"],
            also["name"],
            also["subject"],
            bool(also["attached"]),
            tuple(sorted(filter(None, also["owners"]))),
            also["assigned_to"],
            also["snoozed_until"],
            tuple(also["looking"]),
        )
        for row, also in zip(rows, more, strict=True)
    ]
