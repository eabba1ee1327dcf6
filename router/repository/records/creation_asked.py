"""A CRM that has its records elsewhere: it is asked for one by an event, and answers by `crm.record_made`."""

import json

from asyncpg import Record

from router.repository.database import Connection
from router.repository.records.creation_ends import Outcome, end, leave, tell
from router.repository.records.creation_senders import sender_of


async def is_ours(connection: Connection) -> bool:
    """Whether records and addresses are tables here, and no views of what the CRM has."""
    ours: bool = await connection.fetchval("SELECT router.is_table('crm.record') AND router.is_table('crm.address')")
    return ours


async def ask(connection: Connection, wanted: Record) -> Outcome:
    """Ask the CRM, which has its records elsewhere, to make it or to say which it is."""
    if wanted["makes"] != "case" and not wanted["sender"]:
        await end(connection, wanted, None, "not_made")
        return "not_made"
    known, is_known = await sender_of(connection, wanted)
    if is_known and wanted["makes"] != "case":
        await end(connection, wanted, known, "known")
        return "known"
    if known is None and wanted["makes"] == "case" and wanted["unknown_sender"] == "wait":
        return await leave(connection, wanted, "waiting")
    await tell(
        connection,
        "record_wanted",
        wanted,
        makes=wanted["makes"],
        sender=wanted["sender"],
        sender_name=wanted["sender_name"],
        requester_id=known,
        unknown_sender=wanted["unknown_sender"],
        reopen_days=wanted["reopen_days"],
        priority=wanted["priority"],
        subject=wanted["subject"],
        thread_record_id=wanted["regarding_id"],
        fields=json.loads(wanted["filled"]),
    )
    return await leave(connection, wanted, "asked")
