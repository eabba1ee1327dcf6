"""Records from mail: what rules want made of emails, carried out one by one.

Each creation is a transaction of its own. It locks, in this order: the creation, its email's name, its sender's name,
and the case; so neither two processes nor two emails make one record twice. What the schema has to do for each record,
whoever makes it, is `router.end_creation` (migration 0056).

Where `crm.record` or `crm.address` is a view, the CRM is asked by an event, and answers by `crm.record_made`.
"""

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal
from uuid import UUID

from asyncpg import Record

from router.errors import DatabaseError
from router.repository.database import Connection, Database, storable
from router.repository.queue import MOST

ATTEMPTS: Final = 12
"""Times that a record is tried to be made, over two hours and more, before a person has to say `crm.make_again`."""

_FIRST_PAUSE: Final = timedelta(seconds=5)
_LONGEST_PAUSE: Final = timedelta(hours=1)
_FOR_PARENT: Final = timedelta(seconds=2)  # until the case of the email that this one answers is looked for again
_LIMITS: Final = "SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = '5s'"
_PARKED: Final = 1000  # creations of the same owner that wait with one that took too long

Outcome = Literal["made", "known", "joined", "reopened", "not_made", "waiting", "asked", "later"]


@dataclass(frozen=True, slots=True)
class OpenRecords:
    """How many are not made yet: `waiting` for a sender to be resolved, `asked` of the CRM, `retried`, `failed`.

    Of each at most MOST are counted. `error` is why the newest that failed was not made.
    """

    waiting: int = 0
    asked: int = 0
    retried: int = 0
    failed: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Carried:
    """What became of one creation; `fault` says why it could not be made, `is_final` that it is not tried again."""

    id: int
    rule: str
    outcome: Outcome | None
    fault: str | None = None
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class Made:
    """What a rule wanted of an email, and what became of it; `name` is that of the record."""

    rule: str
    makes: str
    state: str
    outcome: str | None
    fault: str | None
    record_id: UUID | None
    name: str | None


async def carry_out(database: Database) -> Carried | None:
    """Make what is wanted and due first; None where nothing is. Raises DatabaseError if that cannot be noted."""
    async with database.connection() as connection:
        due = await connection.fetchrow(
            """
            SELECT id, owner_id, rule FROM router.creation WHERE state = 'wanted' AND due_at <= now()
            ORDER BY due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
            """
        )
    if due is None:
        return None
    try:
        async with database.transaction() as connection:
            await connection.execute(_LIMITS)
            return Carried(due["id"], due["rule"], await _carry_out(connection, due["id"]))
    except DatabaseError as error:
        is_final = await _put_off(database, due["id"], due["owner_id"], str(error))
        return Carried(due["id"], due["rule"], None, str(error), is_final)


async def _carry_out(connection: Connection, creation_id: int) -> Outcome:
    wanted = await connection.fetchrow(
        """
        SELECT c.*, e.subject, e.regarding_id, coalesce(e.received_at, now()) AS received_at
        FROM router.creation AS c JOIN crm.email AS e ON e.id = c.email_id
        WHERE c.id = $1 AND c.state = 'wanted' AND c.due_at <= now() FOR UPDATE OF c SKIP LOCKED
        """,
        creation_id,
    )
    if wanted is None:
        return "later"  # another process was quicker
    await _lock(connection, str(wanted["email_id"]))
    if not await _is_ours(connection):
        return await _ask(connection, wanted)
    if wanted["makes"] == "case":
        return await _make_case(connection, wanted)
    return await _make_sender(connection, wanted)


async def _lock(connection: Connection, name: str) -> None:
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('router.creation ' || $1, 0))", name)


async def _is_ours(connection: Connection) -> bool:
    """Whether records and addresses are tables here, and no views of what the CRM has."""
    ours: bool = await connection.fetchval(
        """
        SELECT bool_and(relkind IN ('r', 'p')) FROM pg_class
        WHERE oid IN ('crm.record'::regclass, 'crm.address'::regclass)
        """
    )
    return ours


# --- Contacts and leads ----------------------------------------------------------------------------------------------


async def _make_sender(connection: Connection, wanted: Record) -> Outcome:
    if not wanted["sender"]:
        await _end(connection, wanted, None, "not_made")
        return "not_made"
    known, is_known = await _sender_of(connection, wanted)
    if is_known:
        await _end(connection, wanted, known, "known")
        return "known"
    if await _is_ignored(connection, wanted["sender"]):
        await _end(connection, wanted, None, "not_made")
        return "not_made"
    made = await _insert_sender(connection, wanted, wanted["makes"], json.loads(wanted["fields"]))
    await _end(connection, wanted, made, "made")
    return "made"


async def _sender_of(connection: Connection, wanted: Record) -> tuple[UUID | None, bool]:
    """Find the record of the sender, as the email has it or as its address has it by now; and whether there is any.

    Which of several it is a person has to say. The sender's name stays locked: who looks after us finds what we make.
    """
    await _lock(connection, wanted["sender"])
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


async def _is_ignored(connection: Connection, sender: str) -> bool:
    """Whether a person ruled that nobody has to say who this sender is."""
    ignored: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM router.rulings_on($1) AS r WHERE r.kind = 'ignore-sender')", sender
    )
    return ignored


async def _insert_sender(connection: Connection, wanted: Record, kind: str, fields: dict[str, str]) -> UUID:
    name = fields.pop("name", "") or wanted["sender_name"]
    made: UUID = await connection.fetchval(
        "INSERT INTO crm.record (kind, name, owner_id, attributes) VALUES ($1, $2, $3, $4::jsonb) RETURNING id",
        kind,
        name,
        wanted["owner_id"],
        json.dumps(fields),
    )
    await connection.execute("INSERT INTO crm.address (address, record_id) VALUES ($1, $2)", wanted["sender"], made)
    await _tell(connection, "record_made", wanted, record_id=made, made=kind)
    return made


# --- Cases -----------------------------------------------------------------------------------------------------------

_THREAD: Final = """
    WITH up AS MATERIALIZED (SELECT id, regarding_id, distance FROM router.thread_above($1) WHERE distance < 100)
"""


async def _make_case(connection: Connection, wanted: Record) -> Outcome:
    if await _parent_is_wanted(connection, wanted):
        await connection.execute(
            "UPDATE router.creation SET due_at = now() + $2 WHERE id = $1", wanted["id"], _FOR_PARENT
        )
        return "later"
    found = await _case_of(connection, wanted["email_id"])
    if found is not None:
        if found["status"] == "open" or found["email_id"] == wanted["email_id"]:
            await _end(connection, wanted, found["record_id"], "joined")
            return "joined"
        if wanted["received_at"] - found["closed_at"] < timedelta(days=wanted["reopen_days"]):
            await connection.execute("UPDATE crm.case SET status = 'open' WHERE record_id = $1", found["record_id"])
            await _tell(connection, "case_reopened", wanted, record_id=found["record_id"])
            await _end(connection, wanted, found["record_id"], "reopened")
            return "reopened"
    requester, is_known = await _sender_of(connection, wanted)
    if requester is None and wanted["unknown_sender"] == "wait":
        await connection.execute("UPDATE router.creation SET state = 'waiting' WHERE id = $1", wanted["id"])
        return "waiting"
    makes_one = wanted["sender"] and not is_known and wanted["unknown_sender"] in ("contact", "lead")
    if makes_one and not await _is_ignored(connection, wanted["sender"]):
        requester = await _insert_sender(connection, wanted, wanted["unknown_sender"], {})
        await connection.execute("SELECT router.rule_made($1, $2, $3)", wanted["sender"], requester, wanted["rule"])
    made = await _open_case(connection, wanted, requester, found["record_id"] if found else None)
    await _end(connection, wanted, made, "made")
    return "made"


async def _parent_is_wanted(connection: Connection, wanted: Record) -> bool:
    """Whether the case of an email that this one answers is still to be made: it is this one's, too."""
    waits: bool = await connection.fetchval(
        f"""
        {_THREAD}
        SELECT EXISTS (
            SELECT FROM up JOIN router.creation AS c ON c.email_id = up.id
            WHERE c.makes = 'case' AND c.state = 'wanted' AND c.id < $2 AND up.distance > 0
        )
        """,  # noqa: S608  # a constant
        wanted["email_id"],
        wanted["id"],
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
    fields = json.loads(wanted["fields"])
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
    await _tell(connection, "case_opened", wanted, record_id=made, requester_id=requester, follows_id=follows)
    return made


# --- What the CRM makes, and how each ends ---------------------------------------------------------------------------


async def _ask(connection: Connection, wanted: Record) -> Outcome:
    """Ask the CRM, which has its records elsewhere, to make it or to say which it is."""
    if wanted["makes"] != "case" and not wanted["sender"]:
        await _end(connection, wanted, None, "not_made")
        return "not_made"
    known, is_known = await _sender_of(connection, wanted)
    if is_known and wanted["makes"] != "case":
        await _end(connection, wanted, known, "known")
        return "known"
    if known is None and wanted["makes"] == "case" and wanted["unknown_sender"] == "wait":
        await connection.execute("UPDATE router.creation SET state = 'waiting' WHERE id = $1", wanted["id"])
        return "waiting"
    await _tell(
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
        fields=json.loads(wanted["fields"]),
    )
    await connection.execute("UPDATE router.creation SET state = 'asked' WHERE id = $1", wanted["id"])
    return "asked"


async def _end(connection: Connection, wanted: Record, record_id: UUID | None, outcome: Outcome) -> None:
    if record_id is None:
        await connection.execute(
            """
            UPDATE router.creation
            SET state = 'done', outcome = $2, done_at = now(), fault = NULL, sender_name = '', fields = '{}'
            WHERE id = $1
            """,
            wanted["id"],
            outcome,
        )
        return
    await connection.execute("SELECT router.end_creation($1, $2, $3, false)", wanted["id"], record_id, outcome)


async def _tell(connection: Connection, kind: str, wanted: Record, **details: object) -> None:
    told = {"creation_id": wanted["id"], "owner_id": wanted["owner_id"], "rule": wanted["rule"], **details}
    await connection.execute(
        "INSERT INTO crm.event (kind, email_id, details) VALUES ($1, $2, jsonb_strip_nulls($3::jsonb))",
        kind,
        wanted["email_id"],
        json.dumps(told, default=str),
    )


async def _put_off(database: Database, creation_id: int, owner_id: UUID, fault: str) -> bool:
    """Note why it could not be made, and try it later, or never again; return whether it is that.

    Others of the same owner wait as long as it does the first time: each may take as long to fail.
    """
    async with database.transaction() as connection:
        row = await connection.fetchrow(
            """
            UPDATE router.creation SET attempts = attempts + 1, fault = $2,
                state = CASE WHEN attempts + 1 >= $3 THEN 'failed' ELSE 'wanted' END,
                due_at = now() + least($4::interval * power(2, attempts), $5::interval)
            WHERE id = $1 AND state = 'wanted' RETURNING id, email_id, owner_id, rule, state
            """,
            creation_id,
            (storable(fault) or "")[:1000],
            ATTEMPTS,
            _FIRST_PAUSE,
            _LONGEST_PAUSE,
        )
        await connection.execute(
            """
            UPDATE router.creation SET due_at = now() + $3 WHERE id IN (
                SELECT id FROM router.creation
                WHERE owner_id = $1 AND state = 'wanted' AND due_at <= now() AND id <> $2
                ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED
            )
            """,
            owner_id,
            creation_id,
            _FIRST_PAUSE,
            _PARKED,
        )
        if row is not None and row["state"] == "failed":
            await _tell(connection, "record_not_made", row, fault=fault)
            return True
    return False


async def made_of(connection: Connection, email_id: UUID) -> list[Made]:
    """Tell what rules wanted of an email, and what became of it."""
    rows = await connection.fetch(
        """
        SELECT c.rule, c.makes, c.state, c.outcome, c.fault, c.record_id, r.name FROM router.creation AS c
        LEFT JOIN LATERAL (SELECT r.name::text FROM crm.record AS r WHERE r.id = c.record_id LIMIT 1) AS r ON true
        WHERE c.email_id = $1 ORDER BY c.id
        """,
        email_id,
    )
    return [Made(**row) for row in rows]


async def open_ones(connection: Connection) -> OpenRecords:
    """Count what is not made, through indexes."""
    row = await connection.fetchrow(
        """
        SELECT
            (SELECT count(*) FROM (SELECT FROM router.creation WHERE state = 'waiting' LIMIT $1) AS c)::int AS waiting,
            (SELECT count(*) FROM (SELECT FROM router.creation WHERE state = 'asked' LIMIT $1) AS c)::int AS asked,
            (SELECT count(*) FROM (
                SELECT FROM router.creation WHERE state = 'wanted' AND attempts > 0 LIMIT $1) AS c)::int AS retried,
            (SELECT count(*) FROM (SELECT FROM router.creation WHERE state = 'failed' LIMIT $1) AS c)::int AS failed,
            (SELECT fault FROM router.creation WHERE state = 'failed' ORDER BY id DESC LIMIT 1) AS error
        """,
        MOST,
    )
    assert row is not None
    return OpenRecords(**row)


async def read_open(database: Database) -> OpenRecords:
    """Count what is not made."""
    async with database.connection() as connection:
        return await open_ones(connection)
