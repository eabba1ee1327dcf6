"""Queues of any size, filled within seconds, and what a query visits in them."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from router.repository.database import Connection, Database
from router.repository.outgoing import claim
from router.repository.outgoing.claim import Ask
from tests.support.crm import Crm


@dataclass(frozen=True, slots=True)
class Cost:
    """How many rows a query visits, by scan, and how many pages it touches."""

    rows: Counter[str]
    pages: int


async def crowd(crm: Crm, owners: int, *, approved: bool = True, name: str = "n") -> list[UUID]:
    """Make so many owners, each with a mailbox of that name and a number."""
    rows = await crm.admin.fetch(
        """
        INSERT INTO crm.owner (record_id, mailbox, approved)
        SELECT gen_random_uuid(), $3 || n || '.' || $2::boolean || '@example.com', $2::boolean
        FROM generate_series(1, $1::int) AS n RETURNING record_id
        """,
        owners,
        approved,
        name,
    )
    return [row["record_id"] for row in rows]


async def flood(crm: Crm, owners: Sequence[UUID], each: int, next_at: str, profile: str | None = "relay") -> None:
    """Queue emails of these owners, as the triggers do but quickly. `next_at` is SQL, `n` counts those of an owner.

    What each row costs to write and nothing reads is left out: triggers, checks, references, and ids at random.
    """
    await crm.admin.execute(
        f"""
        ALTER TABLE crm.email DROP CONSTRAINT IF EXISTS email_fits;
        ALTER TABLE router.outbox DROP CONSTRAINT IF EXISTS outbox_email_id_fkey;
        ALTER TABLE crm.email DISABLE TRIGGER USER;
        CREATE SEQUENCE IF NOT EXISTS crm.flood;
        CREATE TEMPORARY TABLE flood AS
            SELECT lpad(to_hex(nextval('crm.flood')), 32, '0')::uuid AS id, o.id AS owner_id, n
            FROM unnest('{{{",".join(map(str, owners))}}}'::uuid[]) AS o (id), generate_series(1, {each}) AS n;
        INSERT INTO crm.email (id, direction, status, owner_id, send_after)
            SELECT id, 'out', 'pending_send', owner_id, {next_at} FROM flood;
        INSERT INTO router.outbox (email_id, owner_id, profile, next_at, ready)
            SELECT id, owner_id, {f"'{profile}'" if profile else "NULL"}, {next_at}, {next_at} <= now() FROM flood;
        DROP TABLE flood;
        ALTER TABLE crm.email ENABLE TRIGGER USER;
        ANALYZE router.outbox; ANALYZE crm.email; ANALYZE crm.owner;
        """  # constants
    )


async def visited(pool: Database, process_id: UUID, asked: Ask) -> Cost:
    """Tell what a claim costs; it is rolled back."""
    async with pool.rolled_back() as connection:
        return await cost(connection, claim._CLAIM, *claim._arguments(process_id, asked), 0, 0, 1, None)


async def cost_of(pool: Database, work: Callable[[Database], Awaitable[object]]) -> Cost:
    """Tell what all queries together cost that some work consists of; it must only read."""
    asked: list[tuple[str, Sequence[object]]] = []
    async with pool.rolled_back() as connection:
        with connection.query_logger(lambda record: asked.append((record.query, record.args))):
            await work(Lent(connection))
            await asyncio.sleep(0)  # the loggers are called then
        queries = [(query, arguments) for query, arguments in asked if query.lstrip().startswith(("SELECT", "WITH"))]
        costs = [await cost(connection, query, *arguments) for query, arguments in queries]
    assert costs
    return Cost(sum((one.rows for one in costs), Counter()), sum(one.pages for one in costs))


class Lent(Database):
    """Lends this one connection."""

    def __init__(self, connection: Connection) -> None:
        super().__init__("")
        self._lent = connection

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        yield self._lent

    @asynccontextmanager
    async def transaction(self, *, planned_once: bool = False) -> AsyncIterator[Connection]:  # noqa: ARG002  # as the test says
        yield self._lent


async def cost(connection: Connection, query: str, *arguments: object) -> Cost:
    """Tell what a query costs."""
    [row] = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}", *arguments)
    plan = json.loads(row[0])[0]["Plan"]
    rows: Counter[str] = Counter()
    for scan, number in _scanned(plan):
        rows[scan] += number
    return Cost(rows, plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def _scanned(plan: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """The scans of a plan, and how many rows each has visited."""
    if "Relation Name" in plan:
        removed = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
        yield f"{plan['Node Type']} on {plan['Relation Name']}", (plan["Actual Rows"] + removed) * plan["Actual Loops"]
    for inner in plan.get("Plans", ()):
        yield from _scanned(inner)
