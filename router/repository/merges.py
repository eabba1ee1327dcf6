"""Records that are merged: begun by a function of the schema, as the CRM does; and carried out here, in pieces.

    router.merge_records    gives addresses and rulings to the record that stays, so that new mail is its own
    carry_out               moves a piece of what names the record that goes

What is moved names the other record, so nothing is remembered of how far it has come: whoever is killed is followed by
another. A merge is done when nothing is found, after the end of all transactions that may not know of it.

Nobody waits for this: what somebody else has locked is passed over, and looked for again. Each piece locks the merge,
then rows of one table; of `router.ruled_party` only those of parties that it has locked.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from asyncpg import Record

from router.errors import DatabaseError
from router.repository.database import Connection, Database

PIECE: Final = 300
"""Rows that one transaction moves."""

_PATIENCE: Final = "200ms"  # for what the CRM has locked
_AGAIN: Final = timedelta(seconds=5)  # until what was passed over, or could not be done, is tried again


@dataclass(frozen=True, slots=True)
class Named:
    """How often a record is named: what merging it into another would move."""

    name: str | None
    kind: str | None
    parties: int
    emails: int
    addresses: int
    rulings: int


@dataclass(frozen=True, slots=True)
class Merge:
    """A merge of two records, and what it has moved so far; `fault` says why it does not go on."""

    from_id: UUID
    into_id: UUID
    by: str
    at: datetime
    is_done: bool
    parties: int
    emails: int
    fault: str | None


class _Step(NamedTuple):
    """What moves a piece of one kind from $1 to $2, and what of that is left."""

    counted: str | None
    move: str
    left: str


_PARTIES: Final = f"""
    WITH locked AS MATERIALIZED (
        SELECT p.email_id, p.role, p.position, p.address FROM crm.party AS p
        WHERE p.record_id = $1 LIMIT {PIECE} FOR UPDATE SKIP LOCKED
    ), judged AS MATERIALIZED (
        -- Where the address was both records', there is a row for each.
        SELECT l.*, EXISTS (
            SELECT FROM crm.party AS p
            WHERE (p.email_id, p.role, p.position, p.record_id) = (l.email_id, l.role, l.position, $2)
        ) AS is_double FROM locked AS l
    ), moved AS (
        UPDATE crm.party AS p SET record_id = $2 FROM judged AS j
        WHERE NOT j.is_double
            AND (p.email_id, p.role, p.position, p.record_id) = (j.email_id, j.role, j.position, $1)
    ), gone AS (
        DELETE FROM crm.party AS p USING judged AS j
        WHERE j.is_double
            AND (p.email_id, p.role, p.position, p.record_id) = (j.email_id, j.role, j.position, $1)
    ), ruled AS (
        UPDATE router.ruled_party AS r SET record_id = $2 FROM judged AS j
        WHERE NOT j.is_double
            AND (r.email_id, r.role, r.position, r.record_id) = (j.email_id, j.role, j.position, $1)
    ), told AS (
        INSERT INTO crm.event (kind, email_id, details)
        SELECT DISTINCT 'resolved', j.email_id, jsonb_build_object(
            'address', j.address, 'record_id', $2, 'old_record_id', $1,
            'by', (SELECT m.by FROM router.merge AS m WHERE m.from_id = $1)) FROM judged AS j
    )
    SELECT count(*) FROM locked
"""  # noqa: S608  # constants

_REGARDING: Final = f"""
    WITH locked AS MATERIALIZED (
        SELECT e.id FROM crm.email AS e WHERE e.regarding_id = $1 LIMIT {PIECE} FOR NO KEY UPDATE SKIP LOCKED
    ), moved AS (
        UPDATE crm.email AS e SET regarding_id = $2 FROM locked AS l WHERE e.id = l.id
    )
    SELECT count(*) FROM locked
"""  # noqa: S608  # constants

_OWNED: Final = f"""
    WITH locked AS MATERIALIZED (
        SELECT e.id FROM crm.email AS e WHERE e.owner_id = $1 LIMIT {PIECE} FOR NO KEY UPDATE SKIP LOCKED
    ), moved AS (
        UPDATE crm.email AS e SET owner_id = $2 FROM locked AS l WHERE e.id = l.id
    )
    SELECT count(*) FROM locked
"""  # noqa: S608  # constants

_RECEIPTS: Final = f"""
    WITH locked AS MATERIALIZED (
        SELECT r.email_id FROM crm.receipt AS r WHERE r.owner_id = $1 LIMIT {PIECE} FOR UPDATE SKIP LOCKED
    ), judged AS MATERIALIZED (
        SELECT l.email_id, EXISTS (
            SELECT FROM crm.receipt AS r WHERE r.email_id = l.email_id AND r.owner_id = $2
        ) AS is_double FROM locked AS l
    ), moved AS (
        UPDATE crm.receipt AS r SET owner_id = $2 FROM judged AS j
        WHERE NOT j.is_double AND (r.email_id, r.owner_id) = (j.email_id, $1)
    ), gone AS (
        DELETE FROM crm.receipt AS r USING judged AS j
        WHERE j.is_double AND (r.email_id, r.owner_id) = (j.email_id, $1)
    )
    SELECT count(*) FROM locked
"""  # noqa: S608  # constants

# Candidates have an address of the party, which is by now one of the record that stays.
_SUGGESTED: Final = """
    FROM (SELECT DISTINCT a.address FROM crm.address AS a WHERE a.record_id = $2) AS a
    JOIN crm.party AS p ON p.address = a.address
    WHERE p.record_id IS NULL AND p.candidates @> ARRAY[$1::uuid]
"""

_CANDIDATES: Final = f"""
    WITH locked AS MATERIALIZED (
        SELECT p.email_id, p.role, p.position, p.address, p.candidates {_SUGGESTED}
        LIMIT {PIECE} FOR UPDATE OF p SKIP LOCKED
    ), judged AS MATERIALIZED (
        -- Where the two were all there were, nobody has to say any more which one it is.
        SELECT l.*, array_replace(array_remove(l.candidates, $2), $1, $2) AS others,
            array_replace(array_remove(l.candidates, $2), $1, $2) = ARRAY[$2::uuid] AND NOT EXISTS (
                SELECT FROM crm.party AS p
                WHERE (p.email_id, p.role, p.position, p.record_id) = (l.email_id, l.role, l.position, $2)
            ) AS is_resolved FROM locked AS l
    ), moved AS (
        UPDATE crm.party AS p SET candidates = CASE WHEN j.is_resolved THEN '{{}}' ELSE j.others END,
            record_id = CASE WHEN j.is_resolved THEN $2 END
        FROM judged AS j
        WHERE p.record_id IS NULL AND (p.email_id, p.role, p.position) = (j.email_id, j.role, j.position)
    ), told AS (
        INSERT INTO crm.event (kind, email_id, details)
        SELECT DISTINCT 'resolved', j.email_id, jsonb_build_object(
            'address', j.address, 'record_id', $2, 'by', (SELECT m.by FROM router.merge AS m WHERE m.from_id = $1))
        FROM judged AS j WHERE j.is_resolved
    )
    SELECT count(*) FROM locked
"""  # noqa: S608  # constants

_RECORDS: Final = f"""
    WITH locked AS MATERIALIZED (
        SELECT r.id FROM crm.record AS r WHERE r.owner_id = $1 LIMIT {PIECE} FOR NO KEY UPDATE SKIP LOCKED
    ), moved AS (
        UPDATE crm.record AS r SET owner_id = $2 FROM locked AS l WHERE r.id = l.id
    )
    SELECT count(*) FROM locked
"""  # noqa: S608  # constants

_CASES: Final = f"""
    WITH locked AS MATERIALIZED (
        SELECT k.record_id FROM crm.case AS k
        WHERE k.requester_id = $1 OR k.follows_id = $1 LIMIT {PIECE} FOR NO KEY UPDATE SKIP LOCKED
    ), moved AS (
        UPDATE crm.case AS k SET requester_id = CASE WHEN k.requester_id = $1 THEN $2 ELSE k.requester_id END,
            follows_id = CASE WHEN k.follows_id = $1 THEN $2 ELSE k.follows_id END
        FROM locked AS l WHERE k.record_id = l.record_id
    )
    SELECT count(*) FROM locked
"""  # noqa: S608  # constants

_ITEMS: Final = f"""
    WITH locked AS MATERIALIZED (
        SELECT q.email_id, q.owner_id FROM crm.queue_item AS q
        WHERE q.record_id = $1 LIMIT {PIECE} FOR NO KEY UPDATE SKIP LOCKED
    ), moved AS (
        UPDATE crm.queue_item AS q SET record_id = $2 FROM locked AS l
        WHERE (q.email_id, q.owner_id) = (l.email_id, l.owner_id)
    )
    SELECT count(*) FROM locked
"""  # noqa: S608  # constants

_STEPS: Final = (
    _Step("parties", _PARTIES, "SELECT FROM crm.party AS p WHERE p.record_id = $1"),
    _Step("emails", _REGARDING, "SELECT FROM crm.email AS e WHERE e.regarding_id = $1"),
    _Step("emails", _OWNED, "SELECT FROM crm.email AS e WHERE e.owner_id = $1"),
    _Step(None, _RECEIPTS, "SELECT FROM crm.receipt AS r WHERE r.owner_id = $1"),
    _Step("parties", _CANDIDATES, f"SELECT {_SUGGESTED}"),
    _Step(None, _CASES, "SELECT FROM crm.case AS k WHERE k.requester_id = $1 OR k.follows_id = $1"),
    _Step(None, _ITEMS, "SELECT FROM crm.queue_item AS q WHERE q.record_id = $1"),
)

# No index tells whose a record is: this is looked for only where the merged one is somebody to whom records belong.
_OF_RECORDS: Final = _Step(None, _RECORDS, "SELECT FROM crm.record AS r WHERE r.owner_id = $1")


async def look(database: Database, record_id: UUID) -> Named:
    """Count what names a record."""
    async with database.connection() as connection:
        row = await connection.fetchrow(
            """
            SELECT r.name, r.kind,
                (SELECT count(*) FROM crm.party AS p WHERE p.record_id = $1) AS parties,
                (SELECT count(*) FROM crm.email AS e WHERE e.regarding_id = $1) AS emails,
                (SELECT count(*) FROM crm.address AS a WHERE a.record_id = $1) AS addresses,
                (SELECT count(*) FROM router.ruling AS u WHERE u.record_id = $1 AND u.undone_at IS NULL) AS rulings
            FROM (VALUES (1)) AS one
            LEFT JOIN LATERAL (
                SELECT x.name::text, x.kind::text FROM crm.record AS x WHERE x.id = $1 LIMIT 1
            ) AS r ON true
            """,
            record_id,
        )
    assert row is not None
    return Named(**row)


async def merge(database: Database, from_id: UUID, into_id: UUID, by: str) -> str | None:
    """Begin to merge a record into another, or go on with that; return why not, if it is refused."""
    async with database.transaction() as connection:
        refused: str | None = await connection.fetchval(
            "SELECT refused FROM router.merge_records($1, $2, $3)", from_id, into_id, by
        )
    return refused


async def find(database: Database, from_id: UUID) -> Merge | None:
    """Find the merge of a record into another."""
    async with database.connection() as connection:
        row = await connection.fetchrow("SELECT * FROM crm.merge WHERE from_id = $1", from_id)
    return Merge(**row) if row else None


async def is_due(database: Database, from_id: UUID) -> bool:
    """Whether something of a merge is to be moved now; not where all is done, or the rest is put off."""
    async with database.connection() as connection:
        due: bool = await connection.fetchval(
            "SELECT EXISTS (SELECT FROM router.merge WHERE from_id = $1 AND done_at IS NULL AND try_at <= now())",
            from_id,
        )
    return due


async def carry_out(database: Database, from_id: UUID | None = None) -> bool:
    """Move a piece of what is due, of any merge or of this one; and say whether there was something to do now.

    What fails, as by a trigger of the CRM's, is put off with its fault, and lets the others pass.
    """
    async with database.connection() as connection:
        due: UUID | None = await connection.fetchval(
            """
            SELECT from_id FROM router.merge
            WHERE done_at IS NULL AND try_at <= now() AND ($1::uuid IS NULL OR from_id = $1) ORDER BY try_at LIMIT 1
            FOR UPDATE SKIP LOCKED
            """,
            from_id,
        )
    if due is None:
        return False
    try:
        async with database.transaction() as connection:
            await connection.execute(f"SET LOCAL lock_timeout = '{_PATIENCE}'")
            # A thread is about the same as before, whoever said it last.
            await connection.execute("SET LOCAL email_router.knows_ids = 'yes'")
            await _carry_out(connection, due)
    except DatabaseError as error:
        async with database.connection() as connection:
            await connection.execute(
                "UPDATE router.merge SET try_at = now() + $2, fault = $3 WHERE from_id = $1", due, _AGAIN, str(error)
            )
    return True


async def _carry_out(connection: Connection, from_id: UUID) -> None:
    merge = await connection.fetchrow(
        """
        SELECT m.from_id, m.into_id, m.boundary IS NOT NULL AS is_looked_through,
            coalesce(pg_snapshot_xmin(pg_current_snapshot()) >= m.boundary, false) AS is_last,
            router.is_table('crm.record') AND EXISTS (
                SELECT FROM crm.record AS r WHERE r.id = m.from_id AND r.kind::text IN ('user', 'queue')
            ) AS has_records
        FROM router.merge AS m
        WHERE m.from_id = $1 AND m.done_at IS NULL AND m.try_at <= now() FOR UPDATE OF m SKIP LOCKED
        """,
        from_id,
    )
    if merge is None:
        return  # another process was quicker
    steps = (*_STEPS, _OF_RECORDS) if merge["has_records"] else _STEPS
    for step in steps:
        moved: int = await connection.fetchval(step.move, from_id, merge["into_id"])
        if moved:
            await connection.execute(
                """
                UPDATE router.merge SET boundary = NULL, fault = NULL, parties = parties + $2, emails = emails + $3
                WHERE from_id = $1
                """,
                from_id,
                moved if step.counted == "parties" else 0,
                moved if step.counted == "emails" else 0,
            )
            return
    await _end(connection, merge, [step.left for step in steps])


async def _end(connection: Connection, merge: Record, left: list[str]) -> None:
    """Nothing is found that can be moved: it is done, or somebody has some of it, or may still write some."""
    is_left: bool = await connection.fetchval(
        # Of the other record, only the candidates ask.
        f"SELECT ({' OR '.join(f'EXISTS ({one})' for one in left)}) AND $2::uuid IS NOT NULL",
        merge["from_id"],
        merge["into_id"],
    )
    if merge["is_last"] and not is_left:
        await connection.execute(
            """
            UPDATE router.merge SET done_at = now(), boundary = NULL, fault = NULL,
                last_change = (SELECT coalesce(max(c.id), 0) FROM router.regarding_change AS c)
            WHERE from_id = $1
            """,
            merge["from_id"],
        )
        return
    await connection.execute(
        """
        UPDATE router.merge SET boundary = coalesce(boundary, pg_current_xact_id()), fault = NULL,
            try_at = CASE WHEN $2 THEN now() + $3 ELSE now() END
        WHERE from_id = $1
        """,
        merge["from_id"],
        is_left or merge["is_looked_through"],
        _AGAIN,
    )


async def take_up(connection: Connection, email_id: UUID) -> None:
    """Have merges gone on with whose merged records an email names, which was out of the CRM meanwhile."""
    await connection.execute(
        """
        UPDATE router.merge SET done_at = NULL, boundary = NULL, try_at = now()
        WHERE done_at IS NOT NULL AND from_id IN (
            SELECT p.record_id FROM crm.party AS p WHERE p.email_id = $1
            UNION SELECT unnest(p.candidates) FROM crm.party AS p WHERE p.email_id = $1
            UNION SELECT e.regarding_id FROM crm.email AS e WHERE e.id = $1
            UNION SELECT e.owner_id FROM crm.email AS e WHERE e.id = $1
        )
        """,
        email_id,
    )
