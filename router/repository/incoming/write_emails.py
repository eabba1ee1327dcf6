"""What is written of the emails of a batch."""

from collections.abc import Sequence
from uuid import UUID

from router.model import OTHER_COPY, Copy, Email, message_id_hash
from router.repository.database import Connection
from router.repository.incoming.attachments import missing_contents, write_attachments
from router.repository.incoming.batch import Decided, promoted_of
from router.repository.jsonb import as_calendar, as_rows
from router.repository.round_trip import Writes


async def write_emails(connection: Connection, writes: Writes, new: Sequence[Decided]) -> None:
    """Write the emails that are new, with their parties and attachments, and what they are known by."""
    promoted = [(copy, decision.email) for copy, decision in new if decision.email is not None]
    if not promoted:
        return
    _write_rows(writes, promoted)
    _write_keys(writes, promoted)
    _write_parties(writes, new)
    attached = {email.id: copy.attachments for copy, email in promoted if copy.attachments}
    if attached:
        write_attachments(writes, attached, await missing_contents(connection, attached))


def _write_rows(writes: Writes, promoted: Sequence[tuple[Copy, Email]]) -> None:
    writes.insert(
        "emails",
        "crm.email",
        {
            "id": "uuid", "direction": "text", "status": "text", "message_id": "text", "in_reply_to": "text",
            "thread_ids": "text[]", "subject": "text", "text_body": "text", "html_body": "text", "owner_id": "uuid",
            "dated_at": "timestamptz", "received_at": "timestamptz", "regarding_id": "uuid", "correlated_id": "uuid",
            "correlation_method": "text", "flags": "text[]", "defects": "text[]", "sent_at": "timestamptz",
            "calendar": "jsonb", "text_marks": "jsonb", "raw_headers": "jsonb", "tracking_rule": "text",
        },
        [
            (
                email.id, *(("out", "sent") if email.sent else ("in", "received")), email.message_id,
                email.in_reply_to, email.thread_ids, email.subject, email.text, email.html, email.owner_id,
                email.dated_at, email.received_at, email.regarding_id,
                email.correlated_id, email.method, email.flags, email.defects,
                (email.dated_at or email.received_at) if email.sent else None,
                as_calendar(email.calendar), as_rows(email.text_marks), as_rows(email.raw_headers), email.tracking_rule,
            )
            for _, email in promoted
        ],
    )  # fmt: skip


def _write_keys(writes: Writes, promoted: Sequence[tuple[Copy, Email]]) -> None:
    """Write what emails are known by: the keys of their messages, and their Message-IDs."""
    writes.add(
        "keys",
        """
        UPDATE router.message AS m
        SET email_id = w.email_id, content = nullif(w.content, ''), gist = nullif(w.gist, '')
        FROM unnest($1::bytea[], $2::uuid[], $3::bytea[], $4::bytea[]) AS w (key, email_id, content, gist)
        WHERE m.key = w.key
        """,
        [copy.key for copy, _ in promoted],
        [email.id for _, email in promoted],
        [copy.likeness.content for copy, _ in promoted],
        [copy.likeness.gist for copy, _ in promoted],
    )
    ids: dict[bytes, UUID] = {}
    for _, email in promoted:
        if email.message_id:
            ids.setdefault(message_id_hash(email.message_id), email.id)
    writes.add(
        "known",
        """
        UPDATE router.message_id AS m SET email_id = w.email_id
        FROM unnest($1::bytea[], $2::uuid[]) AS w (hash, email_id)
        -- The first email of an id keeps it, for as long as there is that email.
        WHERE m.hash = w.hash AND NOT EXISTS (SELECT FROM crm.email AS e WHERE e.id = m.email_id)
            AND NOT EXISTS (
                SELECT FROM router.known_id AS k JOIN crm.email AS e ON e.id = k.email_id WHERE k.hash = w.hash
            )
        """,
        list(ids),
        list(ids.values()),
    )


def _write_parties(writes: Writes, new: Sequence[Decided]) -> None:
    """Write the parties, and by which rulings they are resolved."""
    writes.insert(
        "parties",
        "crm.party",
        {
            "email_id": "uuid", "role": "text", "position": "int", "address": "text", "name": "text",
            "record_id": "uuid", "candidates": "uuid[]",
        },
        [
            (
                decision.email_id, party.role, party.position, party.address, party.name, party.record_id,
                [str(id_) for id_ in party.candidates],
            )
            for _, decision in new
            for party in decision.parties
        ],
    )  # fmt: skip
    ruled = [
        (decision.email_id, party.role, party.position, party.address, party.record_id, party.ruling_id)
        for _, decision in new
        for party in decision.parties
        if party.ruling_id is not None
    ]
    if ruled:
        writes.insert(
            "ruled",
            "router.ruled_party",
            {
                "email_id": "uuid", "role": "text", "position": "int", "address": "text", "record_id": "uuid",
                "ruling_id": "bigint",
            },
            ruled,
        )  # fmt: skip


def write_flags(writes: Writes, new: Sequence[Decided]) -> None:
    """Flag the emails of earlier batches of which there is a doubtful copy; those of this one are flagged already."""
    made = {decision.email_id for _, decision in promoted_of(new)}
    doubtful = {decision.email_id for _, decision in new if decision.doubtful} - made
    if doubtful:
        writes.add(
            "flagged",
            "UPDATE crm.email SET flags = flags || $2::text WHERE id = ANY($1::uuid[]) AND NOT $2 = ANY(flags)",
            list(doubtful),
            OTHER_COPY,
        )


def write_thread_indexes(writes: Writes, new: Sequence[Decided]) -> None:
    """Write Exchange's index of new emails, and of those that their owner's Sent folder tells it of."""
    indexed = {
        decision.email_id: (copy.message.conversation, copy.message.thread_index)
        for copy, decision in new
        if decision.email_id and copy.judged and copy.message.thread_index and (decision.email or copy.sent)
    }
    if indexed:
        writes.add(
            "thread_indexes",
            """
            INSERT INTO router.thread_index (email_id, conversation, position)
            SELECT w.email_id, w.conversation, w.position
            FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS w (email_id, conversation, position)
            -- An email that was erased has decisions still. One of this batch is not seen yet.
            WHERE w.email_id = ANY($4::uuid[]) OR EXISTS (SELECT FROM crm.email AS e WHERE e.id = w.email_id)
            ON CONFLICT DO NOTHING
            """,
            list(indexed),
            *map(list, zip(*indexed.values(), strict=True)),
            [decision.email_id for _, decision in promoted_of(new)],
        )
