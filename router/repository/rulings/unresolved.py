"""Senders who wait for a person to say who they are: the queue, read by its indexes, and who each of them may be."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from router.repository.database import Connection, Database
from router.repository.rulings.subjects import address_of

MOST_LISTED: Final = 10_000
"""Senders, or domains, that are listed at once, at most."""

_MOST_SENDERS: Final = 1_000  # that are counted: each is a step of its own through the index
_MOST_EMAILS: Final = 10_000  # that are counted
_PATIENCE: Final = "5s"  # for candidates: where the CRM has views without the indexes that its page names


@dataclass(frozen=True, slots=True)
class Waiting:
    """A sender, or a domain, and how many emails of theirs wait; `name` is what the latest email calls the sender."""

    subject: str
    name: str
    number: int
    since: datetime
    latest: datetime


@dataclass(frozen=True, slots=True)
class Total:
    """How many unresolved senders there are, and emails that wait for them; at least so many, where there are more."""

    senders: int = 0
    emails: int = 0
    more_senders: bool = False
    more_emails: bool = False


@dataclass(frozen=True, slots=True)
class Mail:
    """One email that waits."""

    email_id: UUID
    received_at: datetime
    owner: str | None
    subject: str


_SAME_DOMAIN: Final = "has an address of the same domain"
_SAME_NAME: Final = "has the name of the sender"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A record that a sender may be, and why. `address` is one of its own, if there is one of the sender's domain."""

    record_id: UUID
    kind: str
    name: str
    active: bool
    why: tuple[str, ...]
    address: str | None = None

    @property
    def is_likely(self) -> bool:
        """Whether it may be the sender without a closer look.

        Of who has but the domain in common, that is the company alone; anybody can write under the name of one of us.
        """
        if self.kind in ("user", "queue"):
            return self.why != (_SAME_NAME,)
        return self.kind == "account" or self.why != (_SAME_DOMAIN,)


async def total_of(connection: Connection) -> Total:
    """Count who waits, and the emails; both up to a bound, through an index, so that it costs the same however many."""
    row = await connection.fetchrow(
        """
        WITH RECURSIVE senders AS (
            (SELECT q.domain, q.address FROM router.unresolved_email AS q ORDER BY q.domain, q.address LIMIT 1)
            UNION ALL
            SELECT n.domain, n.address FROM senders AS s CROSS JOIN LATERAL (
                SELECT q.domain, q.address FROM router.unresolved_email AS q
                WHERE (q.domain, q.address) > (s.domain, s.address) ORDER BY q.domain, q.address LIMIT 1
            ) AS n
        )
        SELECT (SELECT count(*) FROM (SELECT FROM senders LIMIT $1::int) AS s) AS senders, (
            SELECT count(*) FROM (
                SELECT FROM router.unresolved_email AS q ORDER BY q.received_at, q.email_id LIMIT $2::int
            ) AS e
        ) AS emails
        """,
        _MOST_SENDERS + 1,
        _MOST_EMAILS + 1,
    )
    assert row is not None
    senders, emails = row["senders"], row["emails"]
    return Total(min(senders, _MOST_SENDERS), min(emails, _MOST_EMAILS), senders > _MOST_SENDERS, emails > _MOST_EMAILS)


@dataclass(frozen=True, slots=True)
class WaitingMail:
    """One email that waits; `owner` is the mailbox that it came to, `name` what it calls its sender.

    `subject` is None where it is private.
    """

    email_id: UUID
    received_at: datetime
    address: str
    name: str
    owner: str | None
    subject: str | None


async def list_waiting(
    database: Database,
    owner: str | None,
    domain: str | None,
    address: str | None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> list[WaitingMail]:
    """List emails that wait, the latest first, from the one `before` which the page ended; of all that are named."""
    of_address = "q.domain = router.domain_of($6) AND q.address = $6" if address else "$6::text IS NULL"
    older = "(q.received_at, q.email_id) < ($4, $5)" if before else "$4::timestamptz IS NULL AND $5::uuid IS NULL"
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""
            SELECT q.email_id, q.received_at, q.address, coalesce(p.name, '') AS name, o.mailbox AS owner,
                CASE WHEN NOT e.private THEN e.subject END AS subject
            FROM (
                SELECT q.* FROM router.unresolved_email AS q
                WHERE {_meant(owner, domain)} AND {of_address} AND {older}
                ORDER BY q.received_at DESC, q.email_id DESC LIMIT $3
            ) AS q
            JOIN crm.email AS e ON e.id = q.email_id
            LEFT JOIN crm.owner AS o ON o.record_id = q.owner_id
            LEFT JOIN LATERAL (
                SELECT p.name FROM crm.party AS p
                WHERE p.email_id = q.email_id AND p.role = 'from' AND p.position = 0 LIMIT 1
            ) AS p ON true
            ORDER BY q.received_at DESC, q.email_id DESC
            """,  # noqa: S608  # constants
            owner,
            domain,
            limit,
            *(before or (None, None)),
            address,
        )
    return [WaitingMail(**row) for row in rows]


async def list_senders(database: Database, owner: str | None, domain: str | None, limit: int) -> list[Waiting]:
    """List senders, the one with most emails first; of an owner's mailbox, or of a domain, or all."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""
            SELECT s.address AS subject, coalesce(p.name, '') AS name, s.number, s.since, s.latest
            FROM (
                SELECT q.domain, q.address, count(*) AS number, min(q.received_at) AS since,
                    max(q.received_at) AS latest
                FROM router.unresolved_email AS q WHERE {_meant(owner, domain)} GROUP BY q.domain, q.address
                ORDER BY number DESC, since LIMIT $3
            ) AS s
            LEFT JOIN LATERAL (
                SELECT p.name FROM router.unresolved_email AS q
                JOIN crm.party AS p ON p.email_id = q.email_id AND p.role = 'from' AND p.position = 0
                WHERE q.domain = s.domain AND q.address = s.address ORDER BY q.received_at DESC, q.email_id DESC LIMIT 1
            ) AS p ON true
            ORDER BY s.number DESC, s.since, s.address
            """,  # noqa: S608  # constants
            owner,
            domain,
            limit,
        )
    return [Waiting(**row) for row in rows]


async def list_domains(database: Database, owner: str | None, domain: str | None, limit: int) -> list[Waiting]:
    """List domains, as `list_senders` lists senders."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""
            SELECT '@' || q.domain AS subject, '' AS name, count(*) AS number, min(q.received_at) AS since,
                max(q.received_at) AS latest
            FROM router.unresolved_email AS q WHERE {_meant(owner, domain)} GROUP BY q.domain
            ORDER BY number DESC, since LIMIT $3
            """,  # noqa: S608  # constants
            owner,
            domain,
            limit,
        )
    return [Waiting(**row) for row in rows]


def _meant(owner: str | None, domain: str | None) -> str:
    """SQL for those of $1, an owner's mailbox, and of $2, a domain; either may be null, and the other has an index."""
    of_owner = "q.owner_id = (SELECT o.record_id FROM crm.owner AS o WHERE o.mailbox = $1)"
    return f"{of_owner if owner else '$1::text IS NULL'} AND {'q.domain = $2' if domain else '$2::text IS NULL'}"


async def list_mail(database: Database, address: str, limit: int) -> list[Mail]:
    """List the emails of a sender that wait, the latest first."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT q.email_id, q.received_at, o.mailbox AS owner, e.subject
            FROM router.unresolved_email AS q JOIN crm.email AS e ON e.id = q.email_id
            LEFT JOIN crm.owner AS o ON o.record_id = q.owner_id
            WHERE q.domain = router.domain_of($1) AND q.address = $1
            ORDER BY q.received_at DESC, q.email_id DESC LIMIT $2
            """,
            address,
            limit,
        )
    return [Mail(**row) for row in rows]


async def count_mail(database: Database, subject: str, owner_id: UUID | None = None) -> int:
    """Count the emails of an address, or of @ and a domain, that wait; with an owner, only in that one's mailbox."""
    async with database.connection() as connection:
        number: int = await connection.fetchval(
            f"""
            SELECT count(*) FROM router.unresolved_email AS q
            WHERE {_of_subject(subject, "q.domain")} AND ($2::uuid IS NULL OR q.owner_id = $2)
            """,  # noqa: S608  # constants
            address_of(subject),
            owner_id,
        )
    return number


async def count_parties(database: Database, subject: str) -> int:
    """Count the unresolved parties of an address, or of a domain's addresses that have no ruling of their own."""
    domain = "substring(q.address FROM '[^@]*$')"
    own = "AND NOT EXISTS (SELECT FROM router.rulings_on(q.address) AS r WHERE r.subject = q.address)"
    async with database.connection() as connection:
        number: int = await connection.fetchval(
            f"""
            SELECT count(*) FROM crm.party AS q
            WHERE q.record_id IS NULL AND {_of_subject(subject, domain)} {own if subject.startswith("@") else ""}
            """,  # noqa: S608  # constants
            address_of(subject),
        )
    return number


def _of_subject(subject: str, domain: str) -> str:
    of_domain = f"{domain} = router.domain_of($1)"
    return of_domain if subject.startswith("@") else f"{of_domain} AND q.address = $1"


async def why_unresolved(database: Database, addresses: Sequence[str]) -> list[str]:
    """Say of each of these addresses why its mail is unresolved."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT router.why_unresolved(a.address) AS why
            FROM unnest($1::text[]) WITH ORDINALITY AS a (address, n) ORDER BY a.n
            """,
            list(addresses),
        )
    return [row["why"] for row in rows]


async def find_candidates(database: Database, address: str) -> list[Candidate]:
    """Find the records that a sender may be, the likeliest first. Raises DatabaseAway where that takes too long."""
    async with database.rolled_back() as connection:
        await connection.execute(f"SET LOCAL statement_timeout = '{_PATIENCE}'")
        return await _candidates(connection, address)


async def _candidates(connection: Connection, address: str) -> list[Candidate]:
    rows = await connection.fetch("SELECT record_id, kind, name, active, why FROM crm.candidates($1)", address)
    addresses = await connection.fetch(
        """
        SELECT a.address FROM unnest($1::uuid[]) WITH ORDINALITY AS w (id, n) LEFT JOIN LATERAL (
            SELECT a.address FROM (SELECT a.address::text FROM crm.address AS a WHERE a.record_id = w.id LIMIT 20) AS a
            ORDER BY substring(a.address FROM '[^@]*$') = $2 DESC, a.address LIMIT 1
        ) AS a ON true ORDER BY w.n
        """,
        [row["record_id"] for row in rows],
        address.rpartition("@")[2],
    )
    return [
        Candidate(row["record_id"], row["kind"], row["name"], row["active"], tuple(row["why"]), also["address"])
        for row, also in zip(rows, addresses, strict=True)
    ]
