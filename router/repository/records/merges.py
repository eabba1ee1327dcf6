"""Records that are merged: begun by a function of the schema, as the CRM does; and carried out here, in pieces.

    router.merge_records    gives addresses and rulings to the record that stays, so that new mail is its own
    carry_out               moves a piece of what names the record that goes (`merge_kinds`)

What is moved names the other record, so nothing is remembered of how far it has come: whoever is killed is followed by
another. A merge is done when nothing is found, after the end of all transactions that may not know of it.

Nobody waits for this: what somebody else has locked is passed over, and looked for again. What cannot be moved, as
where a trigger of the CRM's raises an error, is set aside, and tried again alone (`merge_attempts`); the rest goes on.
Each piece locks the merge, then rows of one table; of `router.ruled_party` only those of parties that it has locked.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

from asyncpg import Record

from router.errors import DatabaseError
from router.repository.database import Connection, Database
from router.repository.halves import by_halves_beside
from router.repository.records import merge_attempts as attempts
from router.repository.records.merge_attempts import Begun
from router.repository.records.merge_kinds import ADDRESSES, KINDS, RECORDS, Kind

_LIMITS: Final = "SET LOCAL lock_timeout = '200ms'; SET LOCAL statement_timeout = '3s'"  # for the CRM's locks, triggers

_KINDS: Final = {kind.name: kind for kind in (ADDRESSES, *KINDS, RECORDS)}


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
    """A merge of two records, and what it has moved so far; `fault` says why it does not go on.

    `refused` counts the rows that the CRM's SQL does not let be moved; `fault` is of the first of these where all else
    goes on. `has_failed`: what is left is not tried again, until somebody merges the two again.
    """

    from_id: UUID
    into_id: UUID
    by: str
    at: datetime
    is_done: bool
    parties: int
    emails: int
    fault: str | None
    refused: int
    has_failed: bool


@dataclass(frozen=True, slots=True)
class StuckMerges:
    """How many merges do not go on, or not with all there is; `fault` is that of the oldest.

    `failed`: how many of them are not tried again by themselves.
    """

    number: int = 0
    fault: str | None = None
    failed: int = 0


async def count_named(database: Database, record_id: UUID) -> Named:
    """Count what names a record: what merging it into another would move."""
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


async def stuck_of(connection: Connection) -> StuckMerges:
    """Count the merges that do not go on, through an index."""
    row = await connection.fetchrow(
        """
        SELECT count(*) AS number, (array_agg(m.fault ORDER BY m.at))[1] AS fault,
            count(*) FILTER (WHERE m.has_failed) AS failed
        FROM crm.merge AS m WHERE NOT m.is_done AND m.fault IS NOT NULL
        """
    )
    assert row is not None
    return StuckMerges(**row)


async def carry_out(database: Database, from_id: UUID | None = None) -> bool:
    """Move a piece of what is due, of any merge or of this one; and say whether there was something to do now.

    What fails is set aside, or put off with its fault where that is not of single rows, and lets the others pass.
    """
    begun = await attempts.begin(database, from_id)
    if begun is None:
        return False
    if begun.is_given_up:
        await attempts.give_up(database, begun)
        return True
    try:
        fault = await _try_again(database, begun) or await _carry_out(database, begun)
    except DatabaseError as error:
        fault = error
    if fault is not None:
        await attempts.put_off(database, begun, fault)
    return True


async def _carry_out(database: Database, begun: Begun) -> DatabaseError | None:
    """Move a piece; or, where nothing is found, end. Returns why the rest has to wait."""
    kind: Kind | None = None
    keys: Sequence[str] = ()
    try:
        async with _turn(database, begun) as (connection, merge):
            if merge is None:
                return None  # another process was quicker
            kinds = await _kinds_of(connection, begun.from_id)
            for kind in kinds:
                keys = await connection.fetchval(
                    f"SELECT array_agg(key) FROM ({kind.find}) AS found",  # noqa: S608  # a constant
                    begun.from_id,
                    merge["into_id"],
                )
                if keys:
                    await _move(connection, merge, kind, keys)
                    await attempts.go_on(connection, begun)
                    return None
            await _end(connection, merge, kinds)
    except DatabaseError:
        if not keys or kind is None:
            raise
        fault = await by_halves_beside(
            keys,
            partial(_move_some, database, begun, kind),
            partial(attempts.set_aside, database, begun, kind),
            attempts.MOST_REFUSED,
        )
        if fault is not None:
            return fault
        async with database.connection() as connection:
            await attempts.go_on(connection, begun)
    return None


@asynccontextmanager
async def _turn(database: Database, begun: Begun) -> AsyncIterator[tuple[Connection, Record | None]]:
    """A transaction that has the merge locked, if no other process has begun with it since."""
    async with database.transaction(planned_once=True) as connection:
        await connection.execute(_LIMITS)
        # A thread is about the same as before, whoever said it last.
        await connection.execute("SET LOCAL email_router.knows_ids = 'yes'")
        yield (
            connection,
            await connection.fetchrow(
                """
                SELECT m.from_id, m.into_id, m.boundary IS NOT NULL AS is_looked_through,
                    coalesce(pg_snapshot_xmin(pg_current_snapshot()) >= m.boundary, false) AS is_last
                FROM router.merge AS m
                WHERE m.from_id = $1 AND m.begun = $2 AND m.done_at IS NULL FOR UPDATE
                """,
                begun.from_id,
                begun.begun,
            ),
        )
        # What a trigger of the CRM's leaves for the end has no limit there.
        await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")


async def _kinds_of(connection: Connection, from_id: UUID) -> list[Kind]:
    """What is to be looked for: records and addresses only where these are tables, and no views of what the CRM has."""
    row = await connection.fetchrow(
        """
        SELECT router.is_table('crm.address') AS has_addresses, router.is_table('crm.record') AND EXISTS (
            SELECT FROM crm.record AS r WHERE r.id = $1 AND r.kind::text IN ('user', 'queue')
        ) AS has_records
        """,
        from_id,
    )
    assert row is not None
    return [*([ADDRESSES] if row["has_addresses"] else []), *KINDS, *([RECORDS] if row["has_records"] else [])]


async def _move(connection: Connection, merge: Record, kind: Kind, keys: Sequence[str]) -> None:
    arguments = (merge["from_id"], merge["into_id"], keys)
    for statement in kind.before:
        await connection.execute(statement, *arguments)
    moved = 0
    for statement in kind.move:
        moved += await connection.fetchval(statement, *arguments)
    await connection.execute(
        """
        UPDATE router.merge SET boundary = NULL, fault = NULL, parties = parties + $2, emails = emails + $3
        WHERE from_id = $1
        """,
        merge["from_id"],
        moved if kind.counted == "parties" else 0,
        moved if kind.counted == "emails" else 0,
    )


async def _move_some(database: Database, begun: Begun, kind: Kind, keys: Sequence[str]) -> None:
    """Move what some keys have."""
    async with database.connection() as connection:
        await attempts.keep(connection, begun)
    async with _turn(database, begun) as (connection, merge):
        if merge is not None:
            await _move(connection, merge, kind, keys)
            await connection.execute(
                "DELETE FROM router.merge_refused WHERE from_id = $1 AND kind = $2 AND key = ANY($3::text[])",
                begun.from_id,
                kind.name,
                keys,
            )
            # The pauses begin anew.
            await connection.execute("UPDATE router.merge SET attempts = 0 WHERE from_id = $1", begun.from_id)


async def _try_again(database: Database, begun: Begun) -> DatabaseError | None:
    """Move what was set aside and is due, one key after the other."""
    for kind, key in await attempts.aside_and_due(database, begun):
        fault = await by_halves_beside(
            [key],
            partial(_move_some, database, begun, _KINDS[kind]),
            partial(attempts.set_aside, database, begun, _KINDS[kind]),
            attempts.MOST_REFUSED,
        )
        if fault is not None:
            return fault
    return None


async def _end(connection: Connection, merge: Record, kinds: Sequence[Kind]) -> None:
    """Nothing is found that can be moved: it is done, or somebody has some of it, or may still write some."""
    is_left: bool = await connection.fetchval(
        f"SELECT {' OR '.join(f'EXISTS ({kind.left})' for kind in kinds)}", merge["from_id"], merge["into_id"]
    )
    await connection.execute(
        """
        WITH next AS MATERIALIZED (
            SELECT $1::uuid AS from_id, CASE
                WHEN $2 OR NOT $3 AND $4 THEN now() + $5::interval
                WHEN NOT $3 THEN now()
                ELSE (SELECT min(f.try_at) FROM router.merge_refused AS f WHERE f.from_id = $1)
            END AS try_at
        )
        UPDATE router.merge AS m SET fault = NULL, attempts = 0, begun_at = NULL, try_at = coalesce(n.try_at, m.try_at),
            boundary = CASE WHEN n.try_at IS NOT NULL THEN coalesce(m.boundary, pg_current_xact_id()) END,
            done_at = CASE WHEN n.try_at IS NULL THEN now() END,
            last_change = CASE WHEN n.try_at IS NULL
                THEN (SELECT coalesce(max(c.id), 0) FROM router.regarding_change AS c) END
        FROM next AS n WHERE m.from_id = n.from_id
        """,
        merge["from_id"],
        is_left,
        merge["is_last"],
        merge["is_looked_through"],
        attempts.FIRST_PAUSE,
    )


async def take_up(connection: Connection, email_id: UUID, since: datetime) -> None:
    """Move what an email names of merged records, which was out of the CRM since then, while they were merged."""
    merged = await connection.fetch(
        # Locked also where it is not done: whoever ends it at this moment does not see this email.
        """
        SELECT m.from_id, m.into_id, m.done_at FROM router.merge AS m
        WHERE m.from_id IN (
            SELECT p.record_id FROM crm.party AS p WHERE p.email_id = $1
            UNION SELECT unnest(p.candidates) FROM crm.party AS p WHERE p.email_id = $1
            UNION SELECT e.regarding_id FROM crm.email AS e WHERE e.id = $1
            UNION SELECT e.owner_id FROM crm.email AS e WHERE e.id = $1
            UNION SELECT r.owner_id FROM crm.receipt AS r WHERE r.email_id = $1
        )
        ORDER BY m.from_id FOR UPDATE
        """,
        email_id,
    )
    for merge in merged:
        if merge["done_at"] is None or merge["done_at"] >= since:
            for kind in KINDS:
                if kind.of_email:
                    await _move(connection, merge, kind, [str(email_id)])
