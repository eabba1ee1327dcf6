"""What became of mail, as a person reads it: copies with their reasons, sent email with the server's words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from router.model import Copy, Disposition
from router.repository.database import Database
from router.repository.incoming.decided_before import SAYS_THE_SAME


@dataclass(frozen=True, slots=True)
class NamedRecord:
    """A record as a person knows it."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class CopyAccount:
    """What became of one copy, in the mailbox of one owner. Of what the CRM does not have, no content is known."""

    id: int
    key: bytes | None
    mailbox: str
    disposition: Disposition
    reasons: tuple[str, ...]
    email_id: UUID | None
    sender: str
    subject: str
    sender_record: NamedRecord | None
    regarding: NamedRecord | None
    attachments: int
    defects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Delivered:
    """What the relay said of one recipient; `state` is empty before it was asked."""

    address: str
    state: str
    code: str
    words: str


@dataclass(frozen=True, slots=True)
class SentAccount:
    """What became of one outgoing email. `message_id` and `token` are None before it is first tried."""

    id: UUID
    status: str
    reason: str | None
    sender: str
    subject: str
    message_id: str | None
    token: str | None
    regarding: NamedRecord | None
    deliveries: tuple[Delivered, ...]

    @property
    def ended(self) -> bool:
        """Whether nothing more will become of it by itself."""
        return self.status not in {"pending_send", "sending"}


@dataclass(frozen=True, slots=True)
class Position:
    """How far the feed of events was read."""

    transaction: str = "0"
    event_id: int = 0

    @classmethod
    async def now(cls, database: Database) -> Self:
        """Stand behind the last event there is."""
        async with database.connection() as connection:
            row = await connection.fetchrow(
                "SELECT transaction::text, id FROM crm.event ORDER BY transaction DESC, id DESC LIMIT 1"
            )
        return cls(row["transaction"], row["id"]) if row else cls()


async def last_decision(database: Database) -> int:
    """Number of the newest decision; 0 before the first."""
    async with database.connection() as connection:
        newest: int = await connection.fetchval("SELECT coalesce(max(id), 0) FROM router.decision")
    return newest


async def copies_of(database: Database, keys: Sequence[bytes]) -> list[CopyAccount]:
    """Tell what became of every copy of these messages, oldest decision first."""
    return await _copies(database, "d.key = ANY($1::bytea[])", list(keys))


async def copies_after(database: Database, decision_id: int) -> list[CopyAccount]:
    """Tell what became of the copies that were decided after this decision."""
    return await _copies(database, "d.id > $1", decision_id)


async def _copies(database: Database, which: str, argument: object) -> list[CopyAccount]:
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""
            SELECT d.id, d.key, coalesce(o.mailbox, '') AS mailbox, d.disposition, d.reasons, d.email_id,
                coalesce(p.address, '') AS sender, coalesce(e.subject, '') AS subject,
                s.name AS sender_name, s.kind AS sender_kind, r.name AS regarding_name, r.kind AS regarding_kind,
                (SELECT count(*) FROM crm.attachment AS a WHERE a.email_id = e.id) AS attachments,
                coalesce(e.defects, '{{}}') AS defects
            FROM router.decision AS d
            LEFT JOIN crm.owner AS o ON o.record_id = d.owner_id
            LEFT JOIN crm.email AS e ON e.id = d.email_id
            LEFT JOIN crm.party AS p ON p.email_id = e.id AND p.role = 'from' AND p.position = 0
            LEFT JOIN crm.record AS s ON s.id = p.record_id
            LEFT JOIN crm.record AS r ON r.id = e.regarding_id
            WHERE {which} ORDER BY d.id
            """,  # noqa: S608  # one of the two conditions above
            argument,
        )
    return [
        CopyAccount(
            id=row["id"],
            key=row["key"],
            mailbox=row["mailbox"],
            disposition=Disposition(row["disposition"]),
            reasons=tuple(row["reasons"]),
            email_id=row["email_id"],
            sender=row["sender"],
            subject=row["subject"],
            sender_record=_record(row["sender_name"], row["sender_kind"]),
            regarding=_record(row["regarding_name"], row["regarding_kind"]),
            attachments=row["attachments"],
            defects=tuple(row["defects"]),
        )
        for row in rows
    ]


async def sent_emails(database: Database, email_ids: Sequence[UUID]) -> list[SentAccount]:
    """Tell what became of these outgoing emails, in their order; those that were erased are left out."""
    async with database.connection() as connection:
        emails = await connection.fetch(
            """
            SELECT e.id, e.status, e.status_reason, coalesce(o.mailbox, '') AS sender, e.subject, e.message_id, e.token,
                r.name AS regarding_name, r.kind AS regarding_kind
            FROM unnest($1::uuid[]) WITH ORDINALITY AS w (id, position)
            JOIN crm.email AS e USING (id)
            LEFT JOIN crm.owner AS o ON o.record_id = e.owner_id
            LEFT JOIN crm.record AS r ON r.id = e.regarding_id
            ORDER BY w.position
            """,
            list(email_ids),
        )
        recipients = await connection.fetch(
            """
            SELECT DISTINCT ON (p.email_id, p.address) p.email_id, p.address,
                coalesce(d.state, '') AS state, coalesce(d.code, '') AS code, coalesce(d.text, '') AS text
            FROM crm.party AS p LEFT JOIN crm.delivery AS d USING (email_id, address)
            WHERE p.email_id = ANY($1::uuid[]) AND p.role IN ('to', 'cc', 'bcc')
            ORDER BY p.email_id, p.address
            """,
            list(email_ids),
        )
    deliveries: dict[UUID, list[Delivered]] = {}
    for row in recipients:
        delivered = Delivered(row["address"], row["state"], row["code"], row["text"])
        deliveries.setdefault(row["email_id"], []).append(delivered)
    return [
        SentAccount(
            id=row["id"],
            status=row["status"],
            reason=row["status_reason"],
            sender=row["sender"],
            subject=row["subject"],
            message_id=row["message_id"],
            token=row["token"],
            regarding=_record(row["regarding_name"], row["regarding_kind"]),
            deliveries=tuple(deliveries.get(row["id"], ())),
        )
        for row in emails
    ]


async def sent_since(database: Database, position: Position) -> tuple[list[SentAccount], Position]:
    """Tell what became of the emails that ended after this position in the feed, and where it stands then."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            "SELECT transaction::text, id, kind, email_id FROM crm.events_after($1::text::xid8, $2)",
            position.transaction,
            position.event_id,
        )
    if not rows:
        return [], position
    ended = [row["email_id"] for row in rows if row["kind"] in {"sent", "failed", "unknown"}]
    return await sent_emails(database, ended), Position(rows[-1]["transaction"], rows[-1]["id"])


def _record(name: str | None, kind: str | None) -> NamedRecord | None:
    return NamedRecord(name or "", kind) if kind else None


async def first_reasons(database: Database, owner_id: UUID, copies: Sequence[Copy]) -> dict[bytes, tuple[str, ...]]:
    """Tell why messages were ignored or held when they first came to an owner's mailbox, by key."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""
            SELECT DISTINCT ON (w.key) w.key, d.reasons
            FROM unnest($2::bytea[], $3::bytea[]) AS w (key, sender_gist) JOIN router.decision AS d ON d.key = w.key
            WHERE d.owner_id = $1 AND d.disposition IN ('ignored', 'held') AND {SAYS_THE_SAME}
            ORDER BY w.key, d.decided_at, d.id
            """,  # noqa: S608  # a constant
            owner_id,
            [copy.key for copy in copies],
            [copy.sender_gist for copy in copies],
        )
    return {row["key"]: tuple(row["reasons"]) for row in rows}
