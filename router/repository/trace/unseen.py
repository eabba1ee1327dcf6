"""What is known of mail that is no email: where it would have been read, and what became of an owner's mail in a time.

Of mail that was ignored nothing is kept but where it lay, when, and why.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from asyncpg import Record

from router.model import Candidate, Disposition, Likeness, Rule, Verdict, message_id_hash
from router.repository.database import Database
from router.repository.incoming.decided_before import SAYS_THE_SAME
from router.repository.jsonb import read_candidates, read_verdict
from router.repository.owners.owners import ListedOwner, find_owners
from transports.base import Cursor, Place

_MOST: Final = 50  # different reasons, and letters, that are told of one owner


@dataclass(frozen=True, slots=True)
class Reader:
    """One source as it is read now, or is not. `reader` is the process that reads it, None where nobody does.

    `begins_at` is None before it has begun, or where it began with all there was. `cursor` and places are of `account`.
    """

    id: int
    profile: str
    mailbox: str
    folder: str
    account: str
    cursor: Cursor | None
    begun: bool
    begins_at: datetime | None
    reader: str | None
    fault: str | None
    fault_since: datetime | None
    next_try_at: datetime | None
    last_at: datetime | None


@dataclass(frozen=True, slots=True)
class Refused:
    """How many copies of an owner's mail became no email for the same reasons, and the last of them.

    `letters` are the numbers of those that are held or dead, some at most.
    """

    owner_id: UUID
    disposition: Disposition
    reasons: tuple[str, ...]
    number: int
    last_at: datetime
    letters: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """What became of one copy, or of another copy of the same message: an email, or a decision without one.

    `erased`: the CRM has that email no longer. `letter` is the number of one that is held or dead.
    Of a decision are `rule`, `decided_at`, `candidates`, the emails that it may answer, and our server's `verdict`.
    """

    disposition: Disposition
    reasons: tuple[str, ...] = ()
    letter: int | None = None
    email_id: UUID | None = None
    erased: bool = False
    rule: Rule | None = None
    decided_at: datetime | None = None
    candidates: tuple[Candidate, ...] = ()
    verdict: Verdict | None = None


_OF_ADDRESS: Final = """
    SELECT o.mailbox FROM crm.owner AS o WHERE o.mailbox = $1
    UNION
    SELECT o.mailbox FROM crm.address AS a JOIN crm.owner AS o ON o.record_id = a.record_id
    WHERE a.address = $1 AND o.mailbox IS NOT NULL
"""
_OF_DOMAIN: Final = "SELECT mailbox FROM crm.owner WHERE right(mailbox, length($1)) = $1 ORDER BY mailbox"


@dataclass(frozen=True, slots=True)
class SeenId:
    """A Message-ID that came, in a message's own header or in one that refers to it.

    `email_id` is the email that has or had it; `erased`: the CRM has that email no longer.
    """

    seen_at: datetime
    email_id: UUID | None
    erased: bool


async def seen_id(database: Database, message_id: str) -> SeenId | None:
    """Tell what is known of a Message-ID; None if it was never seen."""
    async with database.connection() as connection:
        row = await connection.fetchrow(
            """
            SELECT i.seen_at, i.email_id, i.email_id IS NOT NULL AND e.id IS NULL AS erased
            FROM router.message_id AS i LEFT JOIN crm.email AS e ON e.id = i.email_id WHERE i.hash = $1
            """,
            message_id_hash(message_id),
        )
    return SeenId(**row) if row else None


async def owners_of(database: Database, address: str) -> list[ListedOwner]:
    """Find the owners whose mailbox an address is, or whose record has it; of "@" and a domain, those within it."""
    async with database.connection() as connection:
        rows = await connection.fetch(_OF_DOMAIN if address.startswith("@") else _OF_ADDRESS, address)
    found = await find_owners(database, [row["mailbox"] for row in rows])
    return [found[mailbox] for mailbox in sorted(found)]


async def kinds_of(database: Database, address: str) -> list[str]:
    """Tell of which kinds the active records are that have this address."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT DISTINCT r.kind FROM crm.address AS a JOIN crm.record AS r ON r.id = a.record_id
            WHERE a.address = $1 AND r.active ORDER BY 1
            """,
            address,
        )
    return [row["kind"] for row in rows]


async def readers_of(
    database: Database, lease: timedelta, mailboxes: Collection[str], shared: Collection[str] = ()
) -> list[Reader]:
    """List the sources of these mailboxes, and of the forward mailboxes and listeners of these `shared` profiles."""
    rows = []
    async with database.connection() as connection:
        for which, names in (("s.identity = ANY($2)", mailboxes), ("s.mailbox = '' AND s.profile = ANY($2)", shared)):
            rows += await connection.fetch(
                f"""
                SELECT s.id, s.profile, s.mailbox, s.folder, s.account, s.cursor, s.begins_at < 'infinity' AS begun,
                    CASE WHEN isfinite(s.begins_at) THEN s.begins_at END AS begins_at,
                    (
                        SELECT concat(p.host, ':', p.pid) FROM router.process AS p
                        WHERE p.id = s.process_id AND p.seen_at > clock_timestamp() - $1::interval
                    ) AS reader,
                    s.fault, s.fault_since, s.next_try_at,
                    (SELECT c.last_at FROM router.source_count AS c WHERE c.source_id = s.id) AS last_at
                FROM router.source AS s WHERE s.identity IS NOT NULL AND {which} ORDER BY s.folder <> 'INBOX', s.folder
                """,  # noqa: S608  # constants
                lease,
                list(names),
            )
    return [Reader(**{**row, "cursor": Cursor(row["cursor"]) if row["cursor"] else None}) for row in rows]


async def refused(
    database: Database, owner_ids: Sequence[UUID], since: datetime | None, until: datetime | None
) -> list[Refused]:
    """Tell how much of these owners' mail of a time was ignored, is held or dead, by reasons, the most first."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""
            SELECT d.owner_id, d.disposition, d.reasons, count(*) AS number, max(d.received_at) AS last_at,
                (array_agg(d.id ORDER BY d.id DESC) FILTER (WHERE d.disposition <> 'ignored'))[:{_MOST}] AS letters
            FROM router.decision AS d
            WHERE d.owner_id = ANY($1::uuid[]) AND d.email_id IS NULL
                AND d.received_at >= coalesce($2, '-infinity'::timestamptz)
                AND d.received_at <= coalesce($3, 'infinity'::timestamptz)
            GROUP BY d.owner_id, d.disposition, d.reasons
            ORDER BY d.disposition = 'ignored', number DESC LIMIT {_MOST}
            """,  # noqa: S608  # constants
            list(owner_ids),
            since,
            until,
        )
    return [
        Refused(
            row["owner_id"],
            Disposition(row["disposition"]),
            tuple(row["reasons"]),
            row["number"],
            row["last_at"],
            tuple(row["letters"] or ()),
        )
        for row in rows
    ]


async def known_places(database: Database, source_id: int, places: Sequence[Place]) -> dict[Place, Known]:
    """Tell what became of the copies at these places of a source."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT d.validity, d.place, d.id, d.disposition, d.reasons, d.rule, d.decided_at,
                d.candidates::text AS candidates, d.verdict::text AS verdict, d.email_id,
                d.email_id IS NOT NULL AND (SELECT e.id FROM crm.email AS e WHERE e.id = d.email_id) IS NULL AS erased
            FROM unnest($2::text[], $3::text[]) AS w (validity, place)
            JOIN router.decision AS d ON d.source_id = $1 AND d.validity = w.validity AND d.place = w.place
            """,
            source_id,
            [place.validity for place in places],
            [place.id for place in places],
        )
    return {Place(row["validity"], row["place"]): _known(row) for row in rows}


async def known_messages(
    database: Database, owner_id: UUID, keys: Sequence[Sequence[bytes]], likenesses: Sequence[Likeness | None]
) -> list[Known | None]:
    """Tell what became of messages, in their order: the email that one is; else why it was refused in one's mailbox.

    Of the keys that one may have, the first counts of which anything is known. That goes for a message with the same
    key that says the same, as far as is known what either says (None: nothing).
    """
    asked = [
        (number, key, likeness)
        for number, (of_one, likeness) in enumerate(zip(keys, likenesses, strict=True))
        for key in of_one
    ]
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""
            SELECT w.number, d.*
            FROM unnest($2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[])
                WITH ORDINALITY AS w (key, content, gist, sender_gist, number)
            CROSS JOIN LATERAL (
                SELECT NULL::bigint AS id, 'duplicate' AS disposition, '{{}}'::text[] AS reasons,
                    NULL AS rule, NULL::timestamptz AS decided_at, NULL AS candidates, NULL AS verdict, m.email_id,
                    (SELECT e.id FROM crm.email AS e WHERE e.id = m.email_id) IS NULL AS erased
                FROM router.message AS m
                WHERE m.key = w.key AND m.email_id IS NOT NULL AND (
                    (m.content <> w.content AND m.gist <> w.gist) IS NOT TRUE
                    -- A duplicate that says something else has what it said itself.
                    OR EXISTS (
                        SELECT FROM router.decision AS d WHERE d.email_id = m.email_id AND d.content = w.content
                    )
                )
                UNION ALL
                SELECT d.id, d.disposition, d.reasons, d.rule, d.decided_at, d.candidates::text,
                    d.verdict::text, NULL, false
                FROM router.decision AS d
                WHERE d.key = w.key AND d.disposition IN ('ignored', 'held') AND d.owner_id = $1 AND {SAYS_THE_SAME}
                LIMIT 1
            ) AS d
            """,  # noqa: S608  # a constant
            owner_id,
            [key for _, key, _ in asked],
            [one and one.content for *_, one in asked],
            [one and one.gist for *_, one in asked],
            [one and one.sender_gist for *_, one in asked],
        )
    of_asked = {row["number"]: row for row in rows}
    known: dict[int, Known] = {}
    for position, (number, *_) in enumerate(asked, 1):
        if position in of_asked:
            known.setdefault(number, _known(of_asked[position]))
    return [known.get(number) for number in range(len(keys))]


def _known(row: Record) -> Known:
    disposition = Disposition(row["disposition"])
    letter = row["id"] if disposition in (Disposition.HELD, Disposition.DEAD) else None
    return Known(
        disposition,
        tuple(row["reasons"]),
        letter,
        row["email_id"],
        row["erased"],
        Rule(row["rule"]) if row["rule"] else None,
        row["decided_at"],
        read_candidates(row["candidates"]),
        read_verdict(row["verdict"]),
    )
