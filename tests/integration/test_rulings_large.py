"""A hundred thousand that wait cost what a few do: each piece is short, bound to an index, and nobody waits for it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from uuid import UUID

import pytest

from router.repository.database import Database
from router.repository.rulings import ruling_walks, unresolved
from router.repository.rulings.ruling_walks import PIECE
from tests.support.crm import Crm
from tests.support.flood import Lent, cost
from tests.support.senders import STAFF, Senders, flood_of

KARL, BERTA, DOMAIN = "karl@kunde.test", "berta@kunde.test", "@kunde.test"
MANY = 3000


async def visited(database: Database, work: Callable[[Database], Awaitable[object]]) -> int:
    """How many pages the queries of some work touch, those that write, too; it is rolled back."""
    asked: list[tuple[str, tuple[object, ...]]] = []
    async with database.rolled_back() as connection:
        with connection.query_logger(lambda record: asked.append((record.query, record.args))):
            await work(Lent(connection))
            await asyncio.sleep(0)  # the loggers are called then
    pages = 0
    async with database.rolled_back() as connection:
        for query, arguments in asked:
            if query.lstrip().startswith(("SELECT", "WITH", "UPDATE")):
                pages += (await cost(connection, query, *arguments)).pages
    return pages


@pytest.fixture
async def warm(database: str) -> AsyncIterator[Database]:
    async with Database(database) as opened:
        yield opened


async def test_t114_a_piece_costs_the_same_however_many_wait(crm: Crm, senders: Senders, warm: Database) -> None:
    karl, account = await crm.record("contact", "Karl"), await crm.record("account", "Kunde")
    costs = []
    for number in (2 * PIECE, MANY):
        await flood_of(crm, senders.owner_id, KARL, number)
        await flood_of(crm, senders.owner_id, "many@other.test", number)
        pages = []
        for subject, record_id in ((KARL, karl), (DOMAIN, account)):
            ruling = await senders.rule(subject, record_id, done=False)
            await ruling_walks.carry_out(warm)  # of the phase in which nothing is ruled yet
            pages.append(await visited(warm, ruling_walks.carry_out))
            while await ruling_walks.carry_out(warm):
                pass
            await crm.admin.execute("ANALYZE router.ruled_party")
            await senders.undo(ruling, done=False)
            pages.append(await visited(warm, ruling_walks.carry_out))
            await senders.carry_out()
        costs.append(pages)
    for few, many in zip(*costs, strict=True):
        assert many <= few * 1.5 + 200, costs


async def test_t114_new_mail_reads_rulings_by_their_index(crm: Crm, senders: Senders) -> None:
    await crm.admin.execute(
        "INSERT INTO router.ruling (kind, subject, by) "
        "SELECT 'ignore-sender', 'n' || n || '@kunde.test', 'ann' FROM generate_series(1, 20000) AS n"
    )
    await crm.admin.execute("ANALYZE router.ruling")
    async with senders.database.rolled_back() as connection:
        found = await cost(
            connection,
            "SELECT * FROM unnest($1::text[]) AS w (address) CROSS JOIN LATERAL router.rulings_on(w.address) AS r",
            [KARL, BERTA, "n7@kunde.test"],
        )
    assert set(found.rows) == {"Index Scan on ruling"}
    assert found.rows.total() <= 1
    assert found.pages < 30


async def test_the_queue_is_paged_and_searched_by_its_indexes(crm: Crm, senders: Senders) -> None:
    for sender in (KARL, "many@other.test"):
        await flood_of(crm, senders.owner_id, sender, MANY)
    await crm.admin.execute("ANALYZE router.unresolved_email")
    after = f"(now() - interval '1 hour', '{UUID(int=0)}')"
    pages = {
        "order": f"(received_at, email_id) > {after} ORDER BY received_at, email_id",
        "owner": f"owner_id = '{senders.owner_id}' ORDER BY received_at, email_id",
        "address": f"domain = 'kunde.test' AND address = '{KARL}' ORDER BY received_at, email_id",
    }
    async with senders.database.rolled_back() as connection:
        for index, asked in pages.items():
            # A page of which nothing is looked up beside.
            found = await cost(
                connection, f"SELECT email_id, received_at, address, name FROM crm.unresolved WHERE {asked} LIMIT 100"
            )
            assert max(found.rows.values()) <= 100, index
            assert found.pages < 1000, index
    for work in (
        lambda database: unresolved.list_mail(database, KARL, 20),
        lambda database: unresolved.find_candidates(database, KARL),
    ):
        assert await visited(senders.database, work) < 1000
    assert await unresolved.count_parties(senders.database, KARL) == MANY
    assert [one.number for one in await unresolved.list_senders(senders.database, STAFF, None, 10)] == [MANY, MANY]


async def test_t114_new_mail_of_the_address_waits_for_no_piece(crm: Crm, senders: Senders) -> None:
    """What a piece has locked, no new mail needs."""
    karl = await crm.record("contact", "Karl")
    await flood_of(crm, senders.owner_id, KARL, 2 * PIECE)
    await senders.rule(KARL, karl, done=False)
    await ruling_walks.carry_out(senders.database)
    async with senders.database.transaction() as connection:
        await ruling_walks.carry_out(Lent(connection))
        locked = await connection.fetchval("SELECT count(*) FROM router.ruled_party")
        assert locked == PIECE
        [email_id] = await senders.write(KARL, in_reply_to=("1@flood.test",))
        assert await senders.sender_of(email_id) == karl


async def test_t114_a_large_ruling_lets_the_others_pass(crm: Crm, senders: Senders) -> None:
    karl, berta = await crm.record("contact", "Karl"), await crm.record("contact", "Berta")
    await flood_of(crm, senders.owner_id, KARL, MANY)
    [email_id] = await senders.write(BERTA)
    await senders.rule(KARL, karl, done=False)
    await ruling_walks.carry_out(senders.database)
    await senders.rule(BERTA, berta, done=False)
    for _ in range(4):  # pieces: two of Berta's phases, and what comes between
        await ruling_walks.carry_out(senders.database)
    assert await senders.sender_of(email_id) == berta
    assert await unresolved.count_parties(senders.database, KARL) > MANY // 2
    await senders.carry_out_all()
    assert await unresolved.count_parties(senders.database, KARL) == 0


async def test_a_page_of_those_who_wait_costs_the_same_however_many_wait(
    crm: Crm, senders: Senders, warm: Database
) -> None:
    """From its beginning, and from the middle of the queue; of an owner, and of a sender."""
    costs = []
    for number in (300, 10 * MANY):
        await flood_of(crm, senders.owner_id, KARL, number)
        [middle] = await crm.admin.fetch(
            "SELECT received_at, email_id FROM router.unresolved_email ORDER BY received_at OFFSET 150 LIMIT 1"
        )
        before = (middle["received_at"], middle["email_id"])
        pages = []
        for owner, domain, address in ((None, None, None), (STAFF, None, None), (None, "kunde.test", KARL)):
            for place in (None, before):
                asked = partial(
                    unresolved.list_waiting, owner=owner, domain=domain, address=address, before=place, limit=50
                )
                assert len(await asked(warm)) == 50
                pages.append(await visited(warm, asked))
        costs.append(pages)
    for few, many in zip(*costs, strict=True):
        assert many <= few * 1.5 + 200, costs
