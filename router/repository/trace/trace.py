"""Emails by what a person knows of them, and what became of each: its copies, or its recipients."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, NamedTuple
from uuid import UUID

from router.model import Candidate, Disposition, Rule, Verdict, message_id_hash
from router.repository.database import Connection, Database
from router.repository.jsonb import read_candidates, read_verdict
from router.repository.trace.history import Delivered, sent_emails

_RECIPIENTS: Final = 100  # of one email that are named


@dataclass(frozen=True, slots=True)
class Sought:
    """What is known of mail; what is empty says nothing.

    `sender` and `recipient` are normalized addresses, or "@" and a domain; `words` are those of the subject,
    `message_id` is without angle brackets, and `email_id` is the CRM's. The times are of arrival, of outgoing
    email of its writing.
    """

    sender: str = ""
    recipient: str = ""
    words: tuple[str, ...] = ()
    message_id: str = ""
    email_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None


class Within(NamedTuple):
    """What of the mail may be told: that of these owners, None of all; of private emails, the subject or not."""

    owners: frozenset[UUID] | None = None
    private_subjects: bool = True

    @property
    def ids(self) -> list[UUID] | None:
        """The owners, as queries take them."""
        return None if self.owners is None else sorted(self.owners)


EVERYTHING: Final = Within()


@dataclass(frozen=True, slots=True)
class CopyFound:
    """One copy of an email. `mailbox` is its owner's; `folder` and `place` are where it lay, empty for a listener.

    `decided_at` is None, and `reasons` are empty, where the decision is no longer kept and only the receipt tells.
    `forwarder` is who forwarded it, if it came by a forward mailbox. `candidates` are the emails that it may answer.
    `letter` is the number of one that is held, `verdict` what our mail server found out about the sender.
    """

    mailbox: str
    profile: str
    folder: str
    place: str
    received_at: datetime
    disposition: Disposition | None = None
    rule: Rule | None = None
    reasons: tuple[str, ...] = ()
    decided_at: datetime | None = None
    forwarder: str | None = None
    candidates: tuple[Candidate, ...] = ()
    letter: int | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class EmailFound:
    """An email of the CRM; `at` is when it came, or was written. `regarding` is the record's name and kind.

    The subject is empty where it may not be told. `next_at` and `attempts` are of one that waits to be sent.
    `copies` came in, `deliveries` go out.
    """

    id: UUID
    direction: Literal["in", "out"]
    status: str
    status_reason: str | None
    at: datetime
    sent_at: datetime | None
    message_id: str | None
    subject: str
    sender: str
    recipients: tuple[str, ...]
    regarding: str | None
    next_at: datetime | None
    attempts: int
    copies: tuple[CopyFound, ...] = ()
    deliveries: tuple[Delivered, ...] = ()
    private: bool = False


async def find_emails(
    database: Database, sought: Sought, recipients: Sequence[UUID], limit: int, within: Within = EVERYTHING
) -> tuple[list[EmailFound], bool]:
    """Find emails, the newest first, and say whether there are more than `limit`.

    `recipients` are the owners who the recipient may be: what their mailboxes received is found, too, whoever it was
    addressed to. What `within` leaves out is not found, and neither are copies of it.
    """
    async with database.transaction() as connection:
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        ids = await _matching(connection, sought, recipients, limit + 1, within)
        if not ids:
            return [], False
        rows = await connection.fetch(_DESCRIBED, ids[:limit], within.private_subjects)
        copies = await _copies(connection, ids[:limit], within)
    sent = await sent_emails(database, [row["id"] for row in rows if row["direction"] == "out"])
    deliveries = {one.id: one.deliveries for one in sent}
    emails = [
        EmailFound(
            **{**row, "recipients": tuple(row["recipients"])},
            copies=tuple(copies.get(row["id"], ())),
            deliveries=deliveries.get(row["id"], ()),
        )
        for row in rows
    ]
    return emails, len(ids) > limit


_AT: Final = "coalesce(e.received_at, e.created_at)"  # an index is of this expression

_DESCRIBED: Final = f"""
    SELECT e.id, e.direction, e.status, e.status_reason, {_AT} AS at, e.sent_at, e.message_id, e.private,
        CASE WHEN e.private AND NOT $2 THEN '' ELSE e.subject END AS subject,
        coalesce((
            SELECT p.address FROM crm.party AS p WHERE p.email_id = e.id AND p.role = 'from' ORDER BY p.position LIMIT 1
        ), '') AS sender,
        array(
            SELECT DISTINCT p.address FROM crm.party AS p
            WHERE p.email_id = e.id AND p.role IN ('to', 'cc', 'bcc') ORDER BY 1 LIMIT {_RECIPIENTS}
        ) AS recipients,
        (SELECT concat(r.name, ' (', r.kind, ')') FROM crm.record AS r WHERE r.id = e.regarding_id) AS regarding,
        q.next_at, coalesce(q.attempts, 0) AS attempts
    FROM unnest($1::uuid[]) WITH ORDINALITY AS w (id, position)
    JOIN crm.email AS e USING (id)
    LEFT JOIN router.outbox AS q ON q.email_id = e.id
    ORDER BY w.position
"""  # noqa: S608  # constants


async def _matching(
    connection: Connection, sought: Sought, recipients: Sequence[UUID], limit: int, within: Within
) -> list[UUID]:
    arguments: list[object] = []

    def argument(value: object) -> str:
        arguments.append(value)
        return f"${len(arguments)}"

    def between(time: str) -> list[str]:
        since = [f"{time} >= {argument(sought.since)}"] if sought.since else []
        return since + ([f"{time} <= {argument(sought.until)}"] if sought.until else [])

    def has_party(address: str, roles: str) -> str:
        value = argument(address)
        same = f"right(p.address, length({value}::text)) = {value}" if address[0] == "@" else f"p.address = {value}"
        return f"EXISTS (SELECT FROM crm.party AS p WHERE p.email_id = e.id AND p.role IN ({roles}) AND {same})"

    said = [f"e.subject ILIKE {argument(_like(word))}" for word in sought.words]
    if said and not within.private_subjects:
        said.append("NOT e.private")  # nor may it be guessed word by word
    if within.owners is not None:
        seen = argument(within.ids)
        received = f"SELECT FROM crm.receipt AS r WHERE r.email_id = e.id AND r.owner_id = ANY({seen}::uuid[])"
        said.append(f"(e.owner_id = ANY({seen}::uuid[]) OR EXISTS ({received}))")
    if sought.email_id:
        said.append(f"e.id = {argument(sought.email_id)}")
    if sought.message_id:
        hashed = argument(message_id_hash(sought.message_id))
        said.append(
            f"e.id IN (SELECT m.email_id FROM router.message_id AS m WHERE m.hash = {hashed} "  # noqa: S608  # its number
            f"UNION SELECT k.email_id FROM router.known_id AS k WHERE k.hash = {hashed})"
        )
    if sought.sender:
        said.append(has_party(sought.sender, "'from'"))
    came = between(_AT)
    ways = [[*came, has_party(sought.recipient, "'to', 'cc', 'bcc'")] if sought.recipient else came]
    if sought.recipient and recipients:
        # By Bcc, an alias or a list, the recipient is nowhere in it; and each owner's copy has its own time.
        received = " AND ".join([f"r.owner_id = ANY({argument(list(recipients))})", *between("r.received_at")])
        ways.append([f"e.id IN (SELECT r.email_id FROM crm.receipt AS r WHERE {received})"])  # noqa: S608  # conditions of ours
    found = " UNION ".join(
        f"(SELECT e.id, {_AT} AS at FROM crm.email AS e WHERE {' AND '.join([*said, *way]) or 'true'} "  # noqa: S608
        f"ORDER BY at DESC, e.id DESC LIMIT {limit:d})"
        for way in ways
    )
    query = f"SELECT id FROM ({found}) AS e ORDER BY at DESC, id DESC LIMIT {limit:d}"  # noqa: S608
    rows = await connection.fetch(query, *arguments)
    return [row["id"] for row in rows]


def _like(word: str) -> str:
    """Make a pattern that matches what holds the word."""
    escaped = word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


_OF_OWNERS: Final = "AND (d.owner_id = ANY($2::uuid[])) IS TRUE", "AND (r.owner_id = ANY($2::uuid[])) IS TRUE"


async def _copies(connection: Connection, email_ids: Sequence[UUID], within: Within) -> dict[UUID, list[CopyFound]]:
    """Tell what became of the copies of each email, the first decided first; then what only receipts tell.

    In another mailbox a copy of the same message may have been ignored, or be held.
    """
    # As a test of what is found: an index of owners would lead to all of their mail.
    decided, received = ("", "") if within.owners is None else _OF_OWNERS
    arguments = [] if within.owners is None else [within.ids]
    rows = await connection.fetch(
        f"""
        SELECT d.email_id, coalesce(o.mailbox, '') AS mailbox, s.profile, s.folder,
            concat_ws(':', nullif(d.validity, ''), d.place) AS place, d.received_at, d.disposition, d.rule, d.reasons,
            d.decided_at, d.forward ->> 'forwarder' AS forwarder, d.candidates::text AS candidates,
            NULL::bigint AS letter, d.verdict::text AS verdict
        FROM router.decision AS d
        JOIN router.source AS s ON s.id = d.source_id
        LEFT JOIN crm.owner AS o ON o.record_id = d.owner_id
        WHERE d.email_id = ANY($1::uuid[]) {decided}
        UNION ALL
        SELECT m.email_id, coalesce(o.mailbox, ''), s.profile, s.folder,
            concat_ws(':', nullif(d.validity, ''), d.place), d.received_at, d.disposition, d.rule, d.reasons,
            d.decided_at, d.forward ->> 'forwarder', d.candidates::text, CASE d.disposition WHEN 'held' THEN d.id END,
            d.verdict::text
        FROM router.message AS m
        JOIN router.decision AS d ON d.key = m.key AND d.disposition IN ('ignored', 'held')
        JOIN router.source AS s ON s.id = d.source_id
        LEFT JOIN crm.owner AS o ON o.record_id = d.owner_id
        -- Who knows Message-ID and Date can send another message.
        WHERE m.email_id = ANY($1::uuid[]) AND (m.content <> d.content AND m.gist <> d.gist) IS NOT TRUE
            {decided}
        UNION ALL
        SELECT r.email_id, coalesce(o.mailbox, ''), r.profile, r.folder, r.place, r.received_at, NULL, NULL, NULL, NULL,
            r.forward ->> 'forwarder', NULL, NULL, NULL
        FROM crm.receipt AS r
        LEFT JOIN crm.owner AS o ON o.record_id = r.owner_id
        WHERE r.email_id = ANY($1::uuid[]) {received} AND NOT EXISTS (
            SELECT FROM router.decision AS d WHERE d.email_id = r.email_id AND d.owner_id = r.owner_id
        )
        ORDER BY decided_at NULLS LAST, received_at
        """,  # noqa: S608  # constants
        list(email_ids),
        *arguments,
    )
    copies: dict[UUID, list[CopyFound]] = {}
    for row in rows:
        copies.setdefault(row["email_id"], []).append(
            CopyFound(
                row["mailbox"],
                row["profile"],
                row["folder"],
                row["place"],
                row["received_at"],
                Disposition(row["disposition"]) if row["disposition"] else None,
                Rule(row["rule"]) if row["rule"] else None,
                tuple(row["reasons"] or ()),
                row["decided_at"],
                row["forwarder"],
                read_candidates(row["candidates"]),
                row["letter"],
                read_verdict(row["verdict"]),
            )
        )
    return copies
