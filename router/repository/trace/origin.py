"""Who decided that an email is in the CRM: whose copy made it one, by which rule, and who else received it."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from router.model import Verdict
from router.repository.database import Database
from router.repository.jsonb import read_verdict
from router.repository.records.creation_states import WantedRecord, made_of
from router.repository.trace.trace import EVERYTHING, Within


@dataclass(frozen=True, slots=True)
class Receipt:
    """One mailbox in which an email was received, or from which it was sent; `folder` is empty for a listener."""

    mailbox: str
    profile: str
    folder: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an email comes from.

    `mailbox` is that of the owner whose copy made it an email, or in whose name the CRM sends it; `rule` and `reasons`
    are None and empty for what the CRM wrote itself, and where they are not known any more. `method` tells how the
    email that it answers, `correlated_id`, was found; `correlated_subject` is None where that one was erased. `records`
    are what rules wanted made of it, `verdict` what our mail server found out about the sender.
    """

    id: UUID
    direction: str
    subject: str
    private: bool
    mailbox: str | None
    rule: str | None
    reasons: tuple[str, ...]
    verdict: Verdict | None
    method: str | None
    correlated_id: UUID | None
    correlated_subject: str | None
    receipts: tuple[Receipt, ...]
    records: tuple[WantedRecord, ...] = ()


async def origin_of(database: Database, email_id: UUID, within: Within = EVERYTHING) -> Origin | None:
    """Tell where an email comes from; None: there is no such email, or `within` leaves it out.

    Of what is told of it, mailboxes of other owners are left out, and subjects that may not be told are None or empty.
    """
    async with database.connection() as connection:
        row = await connection.fetchrow(
            """
            SELECT e.id, e.direction, CASE WHEN e.private AND NOT $3 THEN '' ELSE e.subject END AS subject, e.private,
                o.mailbox, coalesce(e.tracking_rule, d.rule) AS rule,
                coalesce(d.reasons, '{}') AS reasons, d.verdict::text AS verdict, e.correlation_method AS method,
                e.correlated_id, answered.subject AS correlated_subject
            FROM crm.email AS e
            LEFT JOIN crm.email AS answered ON answered.id = e.correlated_id AND ($3 OR NOT answered.private) AND (
                $2::uuid[] IS NULL OR answered.owner_id = ANY($2) OR EXISTS (
                    SELECT FROM crm.receipt AS r WHERE r.email_id = answered.id AND r.owner_id = ANY($2)))
            LEFT JOIN LATERAL (
                SELECT d.owner_id, d.rule, d.reasons, d.verdict FROM router.decision AS d
                WHERE d.email_id = e.id AND d.disposition = 'promoted'
                    AND ($2::uuid[] IS NULL OR d.owner_id = ANY($2))
                ORDER BY d.id LIMIT 1
            ) AS d ON true
            -- The email may be another owner's by now: the rule is that of the owner who took it back.
            CROSS JOIN LATERAL (
                SELECT coalesce(d.owner_id, (
                    SELECT t.owner_id FROM router.taken_back AS t WHERE t.email_id = e.id AND t.was_owner
                ), e.owner_id) AS owner_id
            ) AS first
            LEFT JOIN crm.owner AS o
                ON o.record_id = first.owner_id AND ($2::uuid[] IS NULL OR first.owner_id = ANY($2))
            WHERE e.id = $1 AND ($2::uuid[] IS NULL OR e.owner_id = ANY($2) OR EXISTS (
                SELECT FROM crm.receipt AS r WHERE r.email_id = e.id AND r.owner_id = ANY($2)))
            """,
            email_id,
            within.ids,
            within.private_subjects,
        )
        receipts = await connection.fetch(
            """
            SELECT coalesce(o.mailbox, r.owner_id::text) AS mailbox, r.profile, r.folder, r.received_at
            FROM crm.receipt AS r LEFT JOIN crm.owner AS o ON o.record_id = r.owner_id
            WHERE r.email_id = $1 AND ($2::uuid[] IS NULL OR r.owner_id = ANY($2)) ORDER BY r.received_at, 1
            """,
            email_id,
            within.ids,
        )
        records = tuple(await made_of(connection, email_id))
    if row is None:
        return None
    found = dict(row) | {"records": records, "reasons": tuple(row["reasons"])}
    found["verdict"] = read_verdict(row["verdict"])
    return Origin(**found, receipts=tuple(Receipt(**one) for one in receipts))
