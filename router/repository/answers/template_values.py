"""What a template is given of an email: the same where it is answered and where a person tries the template."""

from typing import Final

from asyncpg import Record

from router.model.answer import LONGEST_VALUE, Values
from router.model.token import new_token

VALUES: Final = f"""
    SELECT left(e.subject, {LONGEST_VALUE}) AS subject, coalesce(e.message_id, '') AS message_id,
        to_char(coalesce(e.received_at, e.created_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"') AS received_at,
        coalesce(p.address, '') AS from_address, left(coalesce(p.name, ''), {LONGEST_VALUE}) AS from_name,
        coalesce(r.id::text, '') AS record_id, left(coalesce(r.name, ''), {LONGEST_VALUE}) AS record_name,
        coalesce(r.kind::text, '') AS record_kind,
        coalesce(n.name, '') AS owner_name, o.mailbox, o.signature_text, o.signature_html
    FROM crm.email AS e
    JOIN crm.owner AS o ON true
    LEFT JOIN crm.record AS n ON n.id = o.record_id
    LEFT JOIN LATERAL (
        SELECT p.address, p.name, p.record_id
        FROM crm.party AS p WHERE p.email_id = e.id AND p.role = 'from' AND p.position = 0 LIMIT 1
    ) AS p ON true
    -- Who shares an address with others reads nothing of theirs.
    LEFT JOIN crm.record AS r ON r.id = p.record_id AND NOT EXISTS (
        SELECT FROM crm.address AS a JOIN crm.record AS other ON other.id = a.record_id AND other.active
        WHERE a.address = p.address AND a.record_id <> p.record_id)
"""  # noqa: S608  # constants
"""SQL: what a template is given of the email `e`, in the name of the owner `o`."""


def values_of(row: Record) -> Values:
    """Make the values of a row of `VALUES`, with a token of their own."""
    return Values(
        record={"id": row["record_id"], "kind": row["record_kind"], "name": row["record_name"]},
        email={
            "subject": row["subject"],
            "from_name": row["from_name"],
            "from_address": row["from_address"],
            "message_id": row["message_id"],
            "received_at": row["received_at"],
        },
        owner={"name": row["owner_name"], "mailbox": row["mailbox"] or ""},
        token=new_token(),
        signature_text=row["signature_text"],
        signature_html=row["signature_html"],
    )
