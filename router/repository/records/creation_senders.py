"""Contacts and leads that rules want made of senders."""

import json
from uuid import UUID

from asyncpg import Record

from router.repository.database import Connection
from router.repository.records.creation_ends import Outcome, end, lock, tell


async def make_sender(connection: Connection, wanted: Record) -> Outcome:
    """Make a contact or a lead of a sender, unless there is a record, or nobody to make one of."""
    if not wanted["sender"]:
        await end(connection, wanted, None, "not_made")
        return "not_made"
    known, is_known = await sender_of(connection, wanted)
    if is_known:
        await end(connection, wanted, known, "known")
        return "known"
    if await is_ignored(connection, wanted["sender"]):
        await end(connection, wanted, None, "not_made")
        return "not_made"
    made = await insert_sender(connection, wanted, wanted["makes"], json.loads(wanted["filled"]))
    await end(connection, wanted, made, "made")
    return "made"


async def sender_of(connection: Connection, wanted: Record) -> tuple[UUID | None, bool]:
    """Find the record of the sender, as the email has it or as its address has it by now; and whether there is any.

    Which of several it is a person has to say. The sender's name stays locked: who looks after us finds what we make.
    """
    await lock(connection, wanted["sender"])
    resolved: UUID | None = await connection.fetchval(
        """
        SELECT p.record_id FROM crm.party AS p
        WHERE p.email_id = $1 AND p.role = 'from' AND p.record_id IS NOT NULL ORDER BY p.position LIMIT 1
        """,
        wanted["email_id"],
    )
    if resolved is not None or not wanted["sender"]:
        return resolved, resolved is not None
    rows = await connection.fetch(
        """
        SELECT r.id, r.active FROM crm.address AS a JOIN crm.record AS r ON r.id = a.record_id
        WHERE a.address = $1 LIMIT 2
        """,
        wanted["sender"],
    )
    return (rows[0]["id"] if len(rows) == 1 and rows[0]["active"] else None), bool(rows)


async def is_ignored(connection: Connection, sender: str) -> bool:
    """Whether a person ruled that nobody has to say who this sender is."""
    ignored: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM router.rulings_on($1) AS r WHERE r.kind = 'ignore-sender')", sender
    )
    return ignored


async def insert_sender(connection: Connection, wanted: Record, kind: str, fields: dict[str, str]) -> UUID:
    """Make a record of this kind of a sender, with their address; an empty name is that of the sender."""
    name = fields.pop("name", "") or wanted["sender_name"]
    made: UUID = await connection.fetchval(
        "INSERT INTO crm.record (kind, name, owner_id, attributes) VALUES ($1, $2, $3, $4::jsonb) RETURNING id",
        kind,
        name,
        wanted["owner_id"],
        json.dumps(fields),
    )
    await connection.execute("INSERT INTO crm.address (address, record_id) VALUES ($1, $2)", wanted["sender"], made)
    await tell(connection, "record_made", wanted, record_id=made, made=kind)
    return made
