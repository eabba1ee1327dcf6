"""What is asked all the time reads as much where there are many emails and addresses as where there are few.

`tests.benchmarks.growth` measures the same with a million.
"""

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import pytest

from router.decide import decide_batch
from router.model import Classification
from router.operations import settings
from router.repository.database import _PLANNED_ONCE, Connection, Database
from router.repository.incoming import inbox
from router.repository.incoming.batch import Batch
from router.repository.rulings import ruling_walks, unresolved
from router.repository.rulings.ruling_walks import PIECE
from tests.benchmarks.history import fill
from tests.support.crm import Crm
from tests.support.databases import Postgres
from tests.support.flood import Lent
from tests.support.senders import STAFF, Senders, flood_of

EMAILS: Final = 6_000  # of as many contacts, each with an address
KARL, DOMAIN = "karl@kunde.test", "@kunde.test"
BATCH: Final = 50


class Read(NamedTuple):
    """Rows that were read: of tables with many rows from end to end, and as indexes led to them."""

    end_to_end: int
    by_index: int


@pytest.fixture
async def grown(senders: Senders, postgres: Postgres, database: str) -> Senders:
    """An owner in a CRM that has all of it."""
    await fill(postgres.server.superuser_dsn(urlsplit(database).path.removeprefix("/")), EMAILS)
    return senders


async def read(database: Database, work: Callable[[Database], Awaitable[object]], *, planned_once: bool) -> Read:
    """Tell what some work reads, in its queries and in their triggers; it is rolled back."""
    async with database.rolled_back() as connection:
        if planned_once:
            await connection.execute(_PLANNED_ONCE)
        before = await _counted(connection)
        await work(Lent(connection))
        after = await _counted(connection)
    return Read(after.end_to_end - before.end_to_end, after.by_index - before.by_index)


async def _counted(connection: Connection) -> Read:
    row = await connection.fetchrow(
        """
        SELECT coalesce(sum(x.seq_tup_read) FILTER (WHERE c.reltuples > 1000), 0)::bigint,
            coalesce(sum(x.idx_tup_fetch), 0)::bigint
        FROM pg_stat_xact_user_tables AS x JOIN pg_class AS c ON c.oid = x.relid
        """
    )
    assert row is not None
    return Read(*row)


async def test_new_mail_reads_as_much_however_many_emails_and_addresses_there_are(grown: Senders, crm: Crm) -> None:
    """Answers to some of the emails: from known addresses, from strangers, and from one of whom many wait."""
    await flood_of(crm, grown.owner_id, KARL, 5 * PIECE)
    batch = [
        grown.copy(grown.message(sender, in_reply_to=(f"{n * 7}@kunde.test",)))
        for n in range(1, BATCH // 2 + 1)
        for sender in (f"kunde{n * 7}@kunde.test", KARL if n % 2 else f"stranger{n}@other.test")
    ]

    async def promote(database: Database) -> None:
        decisions = await inbox.promote(database, Batch(batch, None), decide_batch)
        assert all(decision.email and decision.email.correlated_id for decision in decisions)

    found = await read(grown.database, promote, planned_once=True)
    assert found.end_to_end == 0
    assert found.by_index < 60 * BATCH


async def test_what_an_answer_may_belong_to_reads_as_much_however_many_emails_its_sender_wrote(
    grown: Senders, crm: Crm
) -> None:
    """With smart matching, and mail that nobody wrote."""
    await flood_of(crm, grown.owner_id, KARL, 5 * PIECE)
    await settings.choose(grown.database, "smart_matching", "link", "the test", locked=False)
    automatic = Classification("Auto-Submitted: auto-replied")
    batch = [
        grown.copy(grown.message(KARL, subject=f"Re: number {n}"), classification=automatic if n % 2 else None)
        for n in range(1, BATCH + 1)
    ]
    found = await read(
        grown.database, lambda lent: inbox.promote(lent, Batch(batch, None), decide_batch), planned_once=True
    )
    assert found.end_to_end == 0
    assert found.by_index < 120 * BATCH


async def test_t114_a_ruling_reads_as_much_however_many_emails_and_addresses_there_are(
    grown: Senders, crm: Crm
) -> None:
    karl, account = await crm.record("contact", "Karl"), await crm.record("account", "Kunde")
    await flood_of(crm, grown.owner_id, KARL, 2 * PIECE)
    for subject, record_id in ((KARL, karl), (DOMAIN, account)):
        ruling = await grown.rule(subject, record_id, done=False)
        for _ in range(2):  # of what is ruled, and of what waits
            found = await read(grown.database, ruling_walks.carry_out, planned_once=False)
            assert found.end_to_end == 0
            assert found.by_index < 20 * PIECE
            await ruling_walks.carry_out(grown.database)
        await grown.carry_out_all()
        await grown.undo(ruling, done=False)
        found = await read(grown.database, ruling_walks.carry_out, planned_once=False)
        assert found.end_to_end == 0
        assert found.by_index < 20 * PIECE
        await grown.carry_out_all()


async def test_t110_the_queue_reads_nothing_of_what_does_not_wait(grown: Senders, crm: Crm) -> None:
    await flood_of(crm, grown.owner_id, KARL, 100)

    async def show(database: Database) -> None:
        assert [one.number for one in await unresolved.list_senders(database, None, None, 10)] == [100]
        assert [one.number for one in await unresolved.list_domains(database, STAFF, None, 10)] == [100]
        assert await unresolved.count_parties(database, KARL) == 100
        await unresolved.list_mail(database, KARL, 20)
        await unresolved.find_candidates(database, KARL)

    found = await read(grown.database, show, planned_once=False)
    assert found.end_to_end == 0
    assert found.by_index < 2000
