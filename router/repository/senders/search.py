"""Searching: the emails that wait, by their words; and records of the CRM, as a name or an address is typed.

Both by indexes of words (GIN), in which each word that was typed is the beginning of one; case and marks on letters do
not count. PostgreSQL alone has these: an index of trigrams needs an extension that another's server may lack.

An index of words gives what it finds in no order. What is found in few emails is put in order here. What is found in
many is looked for among the newest instead, a bounded number of them for each page: such a page can be short, and its
place says where to go on.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from router.repository.database import Database
from router.repository.senders.bound import BOUND, bound
from router.repository.senders.seen import owners_seen

_FEW: Final = 1000  # emails that are put in order
_WALKED: Final = (300, 2700)  # emails that a page goes through at most, and in which pieces
_BEGIN: Final = 3000  # records that begin with a letter or two, of which some of a kind are found
_MOST_WORDS: Final = 8
_RECORDS: Final = 200  # that are found, of which the likeliest are listed
_PATIENCE: Final = "3s"  # where the CRM has views without the indexes that its page names
_WORD: Final = re.compile(r"[^\W_]+")


_NAMED: Final = "r.id AS record_id, r.kind::text AS kind, r.name::text AS name, r.active"

_BEGINNING: Final = f"""
    SELECT * FROM (
        SELECT {_NAMED} FROM crm.record AS r
        WHERE crm.plain_words(left(r.name, 50)) COLLATE "C" >= crm.plain_words(array_to_string($1::text[], ' '))
            AND crm.plain_words(left(r.name, 50)) COLLATE "C"
                < crm.plain_words(array_to_string($1::text[], ' ')) || chr(1114111)
        LIMIT $4
    ) AS r WHERE $2::text[] IS NULL OR r.kind = ANY($2) LIMIT $3
"""  # noqa: S608  # a constant

_WORDS: Final = f"""
    (
        SELECT {_NAMED} FROM crm.record AS r
        WHERE crm.record_words(r.name::text, r.kind::text) @@ router.prefixes($1::text[], $2::text[]) LIMIT $3
    )
    UNION ALL
    (
        SELECT {_NAMED} FROM (
            SELECT DISTINCT a.record_id FROM (
                SELECT a.record_id FROM crm.address AS a
                WHERE crm.address_words(a.address::text) @@ router.prefixes($1::text[]) LIMIT $3
            ) AS a
        ) AS a
        CROSS JOIN LATERAL (
            SELECT r.* FROM crm.record AS r
            WHERE r.id = a.record_id AND ($2::text[] IS NULL OR r.kind::text = ANY($2)) LIMIT 1
        ) AS r
    )
"""  # noqa: S608  # a constant


@dataclass(frozen=True, slots=True)
class Found:
    """An email that waits and has all words."""

    email_id: UUID
    address: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class FoundPage:
    """Emails that were found, the newest first. `goes_on` is where the next page begins; None: that is all."""

    mails: Sequence[Found]
    goes_on: tuple[datetime, UUID] | None


@dataclass(frozen=True, slots=True)
class FoundRecord:
    """A record, with the first of its addresses that has the words, or else any of them."""

    record_id: UUID
    kind: str
    name: str
    active: bool
    address: str | None


async def search_mail(
    database: Database,
    seen: frozenset[UUID] | None,
    text: str,
    *,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> FoundPage:
    """Find the emails that wait and have all words that were typed: in subject, text, names and addresses.

    Private ones are found by their people alone.
    """
    query = _query(text)
    if not query:
        return FoundPage((), None)
    owners = owners_seen(seen)
    async with bound(database) as connection:
        few = await connection.fetch(
            """
            SELECT w.email_id FROM router.sender_words AS w
            WHERE w.words @@ router.prefixes($1::text[]) LIMIT $2
            """,
            query,
            _FEW + 1,
        )
        if len(few) <= _FEW:
            rows = await connection.fetch(
                """
                SELECT DISTINCT m.email_id, m.address, m.received_at FROM router.sender_mail AS m
                WHERE m.email_id = ANY($2::uuid[]) AND m.owner_id = ANY($1::uuid[])
                    AND ($3::timestamptz IS NULL OR (m.received_at, m.email_id) < ($3, $4::uuid))
                ORDER BY m.received_at DESC, m.email_id DESC LIMIT $5
                """,
                owners,
                [row["email_id"] for row in few],
                *(before or (None, None)),
                limit,
            )
            found = [Found(**row) for row in rows]
            more = len(found) == limit
            return FoundPage(found, (found[-1].received_at, found[-1].email_id) if more else None)
        # What most emails have is among the first of them.
        place, having, is_all = before, [], False
        for walked in _WALKED:
            rows = await connection.fetch(
                """
                SELECT n.email_id, n.address, n.received_at, w.words @@ router.prefixes($5::text[]) AS has_them FROM (
                    SELECT DISTINCT m.email_id, m.address, m.received_at
                    FROM unnest($1::uuid[]) AS o (id) CROSS JOIN LATERAL (
                        SELECT m.* FROM router.sender_mail AS m
                        WHERE m.owner_id = o.id
                            AND ($2::timestamptz IS NULL OR (m.received_at, m.email_id) < ($2, $3::uuid))
                        ORDER BY m.received_at DESC, m.email_id DESC LIMIT $4
                    ) AS m ORDER BY m.received_at DESC, m.email_id DESC LIMIT $4
                ) AS n LEFT JOIN router.sender_words AS w ON w.email_id = n.email_id
                ORDER BY n.received_at DESC, n.email_id DESC
                """,
                owners,
                *(place or (None, None)),
                walked,
                query,
            )
            having += [row for row in rows if row["has_them"]]
            is_all = len(rows) < walked
            if len(having) > limit or is_all:
                break
            place = rows[-1]["received_at"], rows[-1]["email_id"]
    chosen = [Found(row["email_id"], row["address"], row["received_at"]) for row in having[:limit]]
    if len(having) > limit:
        return FoundPage(chosen, (chosen[-1].received_at, chosen[-1].email_id))
    return FoundPage(chosen, None if is_all else place)


async def search_records(database: Database, text: str, kinds: Sequence[str] | None, limit: int) -> list[FoundRecord]:
    """Find records by the beginnings of words in their name, or in one of their addresses; active ones first.

    One or two letters alone are the beginning of a name. Raises DatabaseAway where that takes too long.
    """
    query = _query(text)
    if not query:
        return []
    async with database.rolled_back() as connection:
        await connection.execute(f"SET LOCAL statement_timeout = '{_PATIENCE}'; {BOUND}")
        # So many words begin with one or two letters that an index of words would take long.
        find = _BEGINNING if max(map(len, query)) < 3 else _WORDS
        found = await connection.fetch(
            find,
            query,
            list(kinds) if kinds is not None else None,
            _RECORDS,
            *([_BEGIN] if find is _BEGINNING else []),
        )
        begins = " ".join(query).lower()
        likeliest = sorted(
            {row["record_id"]: row for row in found}.values(),
            key=lambda row: (
                not row["active"],
                not row["name"].lower().startswith(begins),
                len(row["name"]),
                row["name"],
            ),
        )[:limit]
        addresses = await connection.fetch(
            """
            SELECT a.address FROM unnest($1::uuid[]) WITH ORDINALITY AS w (id, n) LEFT JOIN LATERAL (
                SELECT a.address::text AS address FROM (
                    SELECT a.address FROM crm.address AS a WHERE a.record_id = w.id LIMIT 20
                ) AS a
                ORDER BY crm.address_words(a.address::text) @@ router.prefixes($2::text[]) DESC, a.address LIMIT 1
            ) AS a ON true ORDER BY w.n
            """,
            [row["record_id"] for row in likeliest],
            query,
        )
    return [FoundRecord(**row, address=also["address"]) for row, also in zip(likeliest, addresses, strict=True)]


def _query(text: str) -> list[str]:
    """Cut what was typed into words, as `crm.plain_words` has them after it has them in lower case."""
    return _WORD.findall(text[:300])[:_MOST_WORDS]
