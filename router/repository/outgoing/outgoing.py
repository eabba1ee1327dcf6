"""What a claimed email says, as far as composing needs it; attachments are read when its turn has come."""

import json
from datetime import UTC, datetime, timedelta
from typing import Final

from asyncpg import Record

from router.errors import ContentRefused
from router.model import KEY_VERSION, Mention, Message, Outgoing, message_id_hash
from router.model.bounce import Bounce
from router.repository.database import Database
from router.repository.incoming.message_ids import index_ids
from router.repository.owners.choices import matching_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DONE = ("accepted", "delayed", "refused")

PARTIES: Final = """
    SELECT DISTINCT ON (p.role, p.position) p.role, p.position, p.address, p.name, d.state,
        b.code, b.text, to_char(b.since AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS since
    FROM crm.party AS p LEFT JOIN crm.delivery AS d ON d.email_id = p.email_id AND d.address = p.address
    LEFT JOIN crm.address_state AS b ON b.address = p.address AND b.state = 'bounced' AND NOT e.send_anyway
    WHERE p.email_id = e.id ORDER BY p.role, p.position, p.address
"""
"""SQL: the parties of the email `e`, with the outcome of each recipient so far, and the bounce of an address."""


def outgoing_of(row: Record) -> Outgoing | ContentRefused:
    """Make the email of what a claim has read: nothing that the CRM may have written keeps a row from being read."""
    try:
        date = _EPOCH + timedelta(seconds=row["dated"])
    except (OverflowError, ValueError):
        return ContentRefused("its dated_at is no date that a header can have")
    try:
        headers = headers_of(row["headers"])
    except ContentRefused as error:
        return error
    mentions, states, bounced = [], {}, {}
    for role, position, address, name, state, code, text, since in row["parties"]:
        mentions.append(Mention(role, position, address, name))
        if role in ("to", "cc", "bcc"):
            states[address] = state
            if since is not None:
                bounced[address] = Bounce(code, text, since)
    return Outgoing(
        id=row["email_id"],
        attempt_id=row["attempt_id"],
        attempt_number=row["attempts"],
        spent=row["spent"],
        deferred_for=None if row["deferred_for"] is None else timedelta(seconds=row["deferred_for"]),
        owner_id=row["owner_id"],
        mailbox=row["mailbox"],
        lane=row["lane"],
        message_id=row["message_id"],
        token=row["token"],
        date=date,
        subject=row["subject"],
        text=row["text_body"],
        html=row["html_body"],
        in_reply_to=row["in_reply_to"],
        thread_ids=tuple(row["thread_ids"]),
        mentions=tuple(mentions),
        recipients=tuple(address for address, state in states.items() if state not in _DONE),
        taken=sum(state in ("accepted", "delayed") for state in states.values()),
        attached=row["attached"],
        headers=headers,
        automatic=row["automatic"],
        unsubscribe_url=row["unsubscribe_url"] or "",
        bounced=bounced,
        token_prefix=matching_of(row["tokens"]).written_prefix,
    )


def headers_of(written: str) -> tuple[tuple[str, str], ...]:
    """Read the headers column of an email, as JSON. Raises ContentRefused, in words, where it is no list of pairs."""
    if written == "[]":
        return ()
    try:
        pairs = tuple((name, value) for name, value in json.loads(written))
    except (TypeError, ValueError) as error:
        raise ContentRefused("its headers are no list of pairs") from error
    if not all(isinstance(text, str) for pair in pairs for text in pair):
        raise ContentRefused("its headers are no list of pairs of texts")
    return pairs


async def make_known(database: Database, email: Outgoing) -> None:
    """Let answers and the owner's own copy in the Sent folder find an email that had its Message-ID before its claim.

    Others may just use that id, and then they are waited for: so this locks nothing else.
    """
    async with database.transaction() as connection:
        await index_ids(connection, {message_id_hash(email.message_id): email.id})
        await connection.execute(
            """
            INSERT INTO router.message AS m (key, version, email_id) VALUES ($1, $2, $3)
            ON CONFLICT (key) DO UPDATE SET email_id = excluded.email_id WHERE m.email_id IS NULL
            """,
            Message(message_id=email.message_id, date=email.date).key,
            KEY_VERSION,
            email.id,
        )
