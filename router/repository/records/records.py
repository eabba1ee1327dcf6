"""Records of the CRM and their addresses: read, and written as the CRM does it by SQL (docs/database.md)."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from math import isfinite
from typing import Any, Final
from uuid import UUID

from asyncpg import Record as Row

from router.repository.database import Connection, Database
from router.repository.people import audit_log
from router.repository.senders.bound import bound

_WALKED: Final = 3000  # records that a page of one kind goes through at most
_ADDRESSES: Final = 100  # of a record in a list

COLUMNS: Final = ("kind", "name", "owner_id", "active", "attributes")
"""What can be changed of a record."""

_DESCRIBED: Final = """
    SELECT r.id, r.kind::text AS kind, r.name::text AS name, r.owner_id, r.active, r.attributes::text AS attributes,
        r.created_at, array(
            SELECT a.address::text FROM crm.address AS a WHERE a.record_id = r.id ORDER BY 1 LIMIT $2
        ) AS addresses
    FROM unnest($1::uuid[]) WITH ORDINALITY AS w (id, n)
    CROSS JOIN LATERAL (SELECT x.* FROM crm.record AS x WHERE x.id = w.id LIMIT 1) AS r
    ORDER BY w.n
"""

_ALL: Final = "SELECT r.id, r.kind::text AS kind FROM crm.record AS r WHERE r.id > $1 ORDER BY r.id LIMIT $2"

_OF_ADDRESS: Final = """
    SELECT a.record_id AS id, (SELECT r.kind::text FROM crm.record AS r WHERE r.id = a.record_id LIMIT 1) AS kind
    FROM crm.address AS a WHERE a.address = crm.normalise($3) AND a.record_id > $1 ORDER BY a.record_id LIMIT $2
"""


@dataclass(frozen=True, slots=True)
class CrmRecord:
    """A record with its addresses, normalized; of one in a list the first hundred."""

    id: UUID
    kind: str
    name: str
    owner_id: UUID | None
    active: bool
    attributes: dict[str, Any]
    created_at: datetime
    addresses: tuple[str, ...]

    @property
    def version(self) -> str:
        """What is another as soon as anything of it is."""
        return hashlib.sha256(json.dumps(asdict(self), default=str, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class RecordChange:
    """What is to become of a record: columns, and addresses that come and go."""

    columns: Mapping[str, Any]
    add: Sequence[str] = ()
    remove: Sequence[str] = ()


async def are_ours(connection: Connection) -> bool:
    """Whether records and addresses are tables; the CRM alone can write what its views show."""
    ours: bool = await connection.fetchval("SELECT router.is_table('crm.record') AND router.is_table('crm.address')")
    return ours


async def find(database: Database, record_ids: Sequence[UUID]) -> list[CrmRecord]:
    """Find records, in this order, as they are in lists."""
    async with database.connection() as connection:
        return list(map(_record, await connection.fetch(_DESCRIBED, record_ids, _ADDRESSES)))


async def read(database: Database, record_id: UUID) -> CrmRecord | None:
    """Read a record with all its addresses; None where there is none."""
    async with database.connection() as connection:
        return await _read(connection, record_id)


async def list_page(
    database: Database, kind: str | None, address: str | None, after: UUID | None, limit: int
) -> tuple[list[CrmRecord], UUID | None]:
    """List records by id: those of this kind, or with this address, after a place; and tell where the next page begins.

    A page of one kind can be short, also where another follows.
    """
    most = limit + 1 if kind is None else max(limit + 1, _WALKED)
    async with bound(database) as connection:
        rows = await connection.fetch(
            _ALL if address is None else _OF_ADDRESS,
            after or UUID(int=0),
            most,
            *(() if address is None else (address,)),
        )
    chosen = [row["id"] for row in rows if kind is None or row["kind"] == kind]
    goes_on = chosen[limit - 1] if len(chosen) > limit else rows[-1]["id"] if len(rows) == most else None
    return await find(database, chosen[:limit]), goes_on


async def make(database: Database, made: RecordChange, by: str) -> CrmRecord | None:
    """Make a record; None where the CRM keeps its records elsewhere. Raises DatabaseError where it is refused."""
    async with database.transaction() as connection:
        if not await are_ours(connection):
            return None
        names = list(made.columns)
        record_id: UUID = await connection.fetchval(
            f"INSERT INTO crm.record ({', '.join(names)}) VALUES "  # noqa: S608  # of COLUMNS
            f"({', '.join(f'${place}' for place, _ in enumerate(names, 1))}) RETURNING id",
            *map(_stored, made.columns.values()),
        )
        await _change_addresses(connection, record_id, made)
        await audit_log.note(connection, by, "record-made", str(record_id))
        return await _read(connection, record_id)


async def change(
    database: Database, record_id: UUID, versions: Sequence[str] | None, wanted: RecordChange, by: str
) -> tuple[CrmRecord | None, bool]:
    """Change a record at one of these versions, None: at any. Returns what it is now, and whether this changed it.

    Where there is none, or it is at another version, nothing was changed. Raises DatabaseError where it is refused.
    """
    async with database.transaction() as connection:
        locked = await are_ours(connection)
        if locked:
            await connection.execute("SELECT FROM crm.record WHERE id = $1 FOR UPDATE", record_id)
        found = await _read(connection, record_id)
        if found is None or not locked or (versions is not None and found.version not in versions):
            return found, False
        if wanted.columns:
            await connection.execute(
                f"UPDATE crm.record SET {', '.join(f'{name} = ${place}' for place, name in enumerate(wanted.columns, 2))} "  # noqa: S608, E501  # of COLUMNS
                "WHERE id = $1",
                record_id,
                *map(_stored, wanted.columns.values()),
            )
        await _change_addresses(connection, record_id, wanted)
        await audit_log.note(connection, by, "record-changed", str(record_id))
        return await _read(connection, record_id), True


async def _change_addresses(connection: Connection, record_id: UUID, wanted: RecordChange) -> None:
    await connection.execute(
        "DELETE FROM crm.address WHERE record_id = $1 AND address = ANY(SELECT crm.normalise(unnest($2::text[])))",
        record_id,
        list(wanted.remove),
    )
    # In one order, so that two who add the same do not wait for each other.
    await connection.execute(
        """
        INSERT INTO crm.address (record_id, address)
        SELECT DISTINCT $1::uuid, crm.normalise(a) FROM unnest($2::text[]) AS a ORDER BY 2 ON CONFLICT DO NOTHING
        """,
        record_id,
        list(wanted.add),
    )


async def _read(connection: Connection, record_id: UUID) -> CrmRecord | None:
    row = await connection.fetchrow(_DESCRIBED, [record_id], None)
    return _record(row) if row else None


def _stored(value: object) -> object:
    return json.dumps(value) if isinstance(value, dict) else value


def _record(row: Row) -> CrmRecord:
    attributes = json.loads(row["attributes"] or "{}", parse_float=_float, parse_int=_int)
    found: dict[str, Any] = {
        **row,
        "attributes": attributes if isinstance(attributes, dict) else {"": attributes},
        "addresses": tuple(row["addresses"]),
    }
    return CrmRecord(**found)


def _float(written: str) -> float | str:
    """PostgreSQL keeps numbers that are none here: they are told as they are written."""
    return number if isfinite(number := float(written)) else written


def _int(written: str) -> int | str:
    return int(written) if len(written) < 4000 else written
