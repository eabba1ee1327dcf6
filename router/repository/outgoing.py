"""What a claimed email says, as far as composing needs it; attachments are read when its turn has come."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from asyncpg import Record

from router.errors import ContentRefused
from router.model import KEY_VERSION, Mention, Message, Outgoing, message_id_hash
from router.repository.claim import Claim
from router.repository.database import Database
from router.repository.message_ids import index_ids

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DONE = ("accepted", "delayed", "refused")


async def read(database: Database, claims: Sequence[Claim]) -> dict[UUID, Outgoing | ContentRefused]:
    """Read claimed emails, by their ids. One that cannot be understood is a ContentRefused, and harms no other."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT e.id, e.message_id, e.token, extract(epoch FROM e.dated_at)::float8 AS dated, e.subject, e.text_body,
                e.html_body, e.in_reply_to, e.thread_ids,
                extract(epoch FROM now() - q.deferred_at)::float8 AS deferred_for,
                ARRAY(SELECT p FROM (
                    SELECT DISTINCT ON (p.role, p.position) p.role, p.position, p.address, p.name, d.state
                    FROM crm.party AS p LEFT JOIN crm.delivery AS d ON d.email_id = p.email_id AND d.address = p.address
                    WHERE p.email_id = e.id ORDER BY p.role, p.position, p.address
                ) AS p) AS parties
            FROM crm.email AS e LEFT JOIN router.outbox AS q ON q.email_id = e.id
            WHERE e.id = ANY($1::uuid[])
            """,
            [one.email_id for one in claims],
        )
    by_id = {row["id"]: row for row in rows}
    return {
        one.email_id: _outgoing(one, by_id[one.email_id])
        if one.email_id in by_id
        else ContentRefused("it is not there any more")
        for one in claims
    }


def _outgoing(claim: Claim, row: Record) -> Outgoing | ContentRefused:
    try:
        date = _EPOCH + timedelta(seconds=row["dated"])
    except (OverflowError, ValueError):
        return ContentRefused("its dated_at is no date that a header can have")
    mentions, states = [], {}
    for role, position, address, name, state in row["parties"]:
        mentions.append(Mention(role, position, address, name))
        if role in ("to", "cc", "bcc"):
            states[address] = state
    return Outgoing(
        id=claim.email_id,
        attempt_id=claim.attempt_id,
        attempt_number=claim.number,
        spent=claim.spent,
        deferred_for=None if row["deferred_for"] is None else timedelta(seconds=row["deferred_for"]),
        owner_id=claim.owner_id,
        mailbox=claim.mailbox,
        lane=claim.lane,
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
        attached=claim.attached,
    )


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
