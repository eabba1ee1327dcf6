"""Cases that rules want made of emails: opened, joined by an answer, opened again, or followed by another."""

import json
from datetime import timedelta
from typing import Final
from uuid import UUID

from asyncpg import Record

from router.repository.database import Connection
from router.repository.records.creation_ends import Outcome, end, leave, tell
from router.repository.records.creation_senders import insert_sender, is_ignored, sender_of

_FOR_PARENT: Final = timedelta(seconds=2)  # until the case of the email that this one answers is looked for again
_TRIES_OF_PARENT: Final = 5  # to make that case, over more than a minute: after them this one has a case of its own
_THREAD: Final = """
    WITH up AS MATERIALIZED (SELECT id, regarding_id, distance FROM router.thread_above($1) WHERE distance < 100)
"""


async def make_case(connection: Connection, wanted: Record) -> Outcome:
    """Open the case that an email belongs to, or find the one that it is on, and open that again if it is closed."""
    if await _parent_is_wanted(connection, wanted):
        await connection.execute(
            "UPDATE router.creation SET due_at = now() + $2, attempts = attempts - 1 WHERE id = $1",
            wanted["id"],
            _FOR_PARENT,
        )
        return "later"
    found = await _case_of(connection, wanted["email_id"])
    if found is not None:
        if found["status"] == "open" or found["email_id"] == wanted["email_id"]:
            await end(connection, wanted, found["record_id"], "joined")
            return "joined"
        if wanted["received_at"] - found["closed_at"] < timedelta(days=wanted["reopen_days"]):
            await connection.execute("UPDATE crm.case SET status = 'open' WHERE record_id = $1", found["record_id"])
            await tell(connection, "case_reopened", wanted, record_id=found["record_id"])
            await end(connection, wanted, found["record_id"], "reopened")
            return "reopened"
    requester, is_known = await sender_of(connection, wanted)
    if requester is None and wanted["unknown_sender"] == "wait":
        return await leave(connection, wanted, "waiting")
    makes_one = wanted["sender"] and not is_known and wanted["unknown_sender"] in ("contact", "lead")
    if makes_one and not await is_ignored(connection, wanted["sender"]):
        requester = await insert_sender(connection, wanted, wanted["unknown_sender"], {})
        await connection.execute("SELECT router.rule_made($1, $2, $3)", wanted["sender"], requester, wanted["rule"])
    made = await _open_case(connection, wanted, requester, found["record_id"] if found else None)
    await end(connection, wanted, made, "made")
    return "made"


async def _parent_is_wanted(connection: Connection, wanted: Record) -> bool:
    """Whether the case of an email that this one answers is about to be made: it is this one's, too.

    Where that fails again and again, nothing waits for it: it finds the case of its answer, once it can be made.
    """
    waits: bool = await connection.fetchval(
        f"""
        {_THREAD}
        SELECT EXISTS (
            SELECT FROM up JOIN router.creation AS c ON c.email_id = up.id
            WHERE c.makes = 'case' AND c.state = 'wanted' AND c.id < $2 AND up.distance > 0 AND c.attempts < $3
        )
        """,  # noqa: S608  # a constant
        wanted["email_id"],
        wanted["id"],
        _TRIES_OF_PARENT,
    )
    return waits


async def _case_of(connection: Connection, email_id: UUID) -> Record | None:
    """Find the case that an email belongs to, and lock it: the nearest in its thread, or the last that followed it."""
    nearest: UUID | None = await connection.fetchval(
        f"""
        {_THREAD}
        SELECT coalesce(m.into_id, k.record_id) FROM (
            SELECT k.record_id, up.distance FROM up JOIN crm.case AS k ON k.record_id = up.regarding_id
            UNION ALL
            SELECT k.record_id, up.distance FROM up JOIN crm.case AS k ON k.email_id = up.id
            UNION ALL
            -- An answer was quicker, as where the case of this one waited for its sender.
            SELECT k.record_id, 1000 FROM crm.email AS e JOIN crm.case AS k ON k.email_id = e.id
            WHERE e.correlated_id = $1
        ) AS k
        -- A case that was merged into another is that one, unless the CRM has taken it up again.
        LEFT JOIN router.merge AS m ON m.from_id = k.record_id
            AND NOT EXISTS (SELECT FROM crm.record AS r WHERE r.id = k.record_id AND r.active)
        WHERE EXISTS (SELECT FROM crm.record AS r WHERE r.id = coalesce(m.into_id, k.record_id))
        ORDER BY k.distance LIMIT 1
        """,  # noqa: S608  # a constant
        email_id,
    )
    while nearest is not None:
        found = await connection.fetchrow(
            """
            SELECT record_id, status, email_id, closed_at FROM crm.case
            WHERE record_id = $1 FOR NO KEY UPDATE
            """,
            nearest,
        )
        # Another statement, since it must see what followed until the lock was had.
        follows: UUID | None = await connection.fetchval(
            """
            SELECT k.record_id FROM crm.case AS k JOIN crm.record AS r ON r.id = k.record_id
            WHERE k.follows_id = $1 AND k.opened_at >= (SELECT opened_at FROM crm.case WHERE record_id = $1)
                AND k.record_id <> $1
            ORDER BY k.opened_at DESC LIMIT 1
            """,
            nearest,
        )
        if follows is None or (found is not None and found["status"] == "open"):
            return found
        nearest = follows
    return None


async def _open_case(connection: Connection, wanted: Record, requester: UUID | None, follows: UUID | None) -> UUID:
    fields = json.loads(wanted["filled"])
    subject = fields.pop("subject", "")
    made: UUID = await connection.fetchval(
        "INSERT INTO crm.record (kind, name, owner_id, attributes) VALUES ('case', $1, $2, $3::jsonb) RETURNING id",
        subject,
        wanted["owner_id"],
        json.dumps(fields),
    )
    await connection.execute(
        """
        INSERT INTO crm.case (
            record_id, subject, priority, requester_id, requester_address, owner_id, email_id, follows_id
        ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        made,
        subject,
        wanted["priority"],
        requester,
        wanted["sender"],
        wanted["owner_id"],
        wanted["email_id"],
        follows,
    )
    await tell(connection, "case_opened", wanted, record_id=made, requester_id=requester, follows_id=follows)
    return made
