"""A long queue costs what a short one does: a claim, what is listed, and what status tells."""

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest

from router.repository import processes
from router.repository.database import Database
from router.repository.outgoing import claim, recovery
from router.repository.outgoing.outbox_entries import Selection, State, list_entries
from router.repository.outgoing.queue import MOST, queue_of, read_queue
from router.repository.overview.status import read_status
from tests.support.claims import ask, carry
from tests.support.crm import Crm
from tests.support.flood import cost_of, crowd, flood, visited
from tests.support.traffic import queue

ULLA = "ulla@in.test"
PROCESS = UUID(int=1)
LEASE = timedelta(seconds=10)
STATES: tuple[State, ...] = ("pending", "sending", "failed")


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Database]:
    async with Database(database) as opened:
        await processes.beat(opened, PROCESS)
        yield opened


async def pages_listed(pool: Database, state: State) -> int:
    """How many pages a list of 100 emails takes."""
    return (await cost_of(pool, lambda database: list_entries(database, state, Selection(), limit=100))).pages


async def asked_whether_to_send(pool: Database) -> int:
    """How many rows that say so are read to look at the queue: that is one fact, however many wait."""
    async with pool.rolled_back() as connection:
        await queue_of(connection)
        rows: int = await connection.fetchval(
            "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables "
            "WHERE relid = 'router.installation'::regclass"
        )
    return rows


async def bounded(pool: Database) -> None:
    """Status looks at no more rows than it counts, and at some for each owner."""
    told = await cost_of(pool, lambda database: read_status(database, LEASE))
    for scan, rows in told.rows.items():
        assert rows <= 4 * MOST, (scan, rows)
        assert not (scan.startswith("Seq Scan") and scan.endswith((" outbox", " email"))), scan


async def test_a_claim_costs_the_same_with_a_million_queued(crm: Crm, pool: Database) -> None:
    await crm.owner(ULLA)
    await carry(pool)
    await queue(crm, 4, [ULLA])
    alone = await visited(pool, PROCESS, ask(4))
    busy, later = await crowd(crm, 10, name="busy"), await crowd(crm, 1000, name="later")
    await crowd(crm, 5000, name="idle")
    await crowd(crm, 5000, name="new", approved=False)
    await carry(pool)
    await flood(crm, busy, 100_000, "now() - n % 1000 * interval '1 minute'")
    await flood(crm, later, 10, "now() + interval '1 day'")
    crowded = await visited(pool, PROCESS, ask(4))
    assert crowded.rows.total() <= alone.rows.total() * 1.2
    assert crowded.pages <= alone.pages * 1.2
    assert len((await claim.claim(pool, PROCESS, ask(4))).claims) == 4
    await bounded(pool)


async def test_what_is_listed_and_told_is_found_by_indexes_in_a_long_queue(crm: Crm, pool: Database) -> None:
    busy, later = await crowd(crm, 10, name="busy"), await crowd(crm, 1000, name="later")
    new = await crowd(crm, 1000, name="new", approved=False)
    await carry(pool)
    await flood(crm, busy, 100, "now()")
    short = [await pages_listed(pool, state) for state in STATES]
    await flood(crm, busy, 8000, "now()")
    await flood(crm, later, 15, "now() + interval '1 day'")
    await flood(crm, new, 5, "now()", None)
    for state, pages in zip(STATES, short, strict=True):
        # Indexes are deeper by a level.
        assert await pages_listed(pool, state) <= pages * 1.5 + 20, state
    found = await read_queue(pool)
    assert (found.count("turn"), found.more(["turn"])) == (MOST, True)
    assert await asked_whether_to_send(pool) <= 4
    assert (found.count("send_after"), found.more(["send_after"])) == (MOST, True)
    assert (found.count("approval"), found.more(["approval"])) == (5000, False)
    await bounded(pool)


async def test_what_died_is_looked_for_at_the_same_cost_where_no_statistics_tell_what_waits(
    crm: Crm, pool: Database
) -> None:
    await crm.owner(ULLA)
    await crm.admin.execute("ALTER TABLE router.outbox SET (autovacuum_enabled = off)")
    await crm.admin.execute("ANALYZE router.outbox")
    await queue(crm, 3000, [ULLA])
    looked = await cost_of(pool, lambda database: recovery.recover(database, PROCESS, LEASE))
    of_outbox = {scan: rows for scan, rows in looked.rows.items() if scan.endswith(" outbox")}
    assert sum(of_outbox.values()) <= 10, of_outbox
