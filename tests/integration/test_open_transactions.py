"""A transaction of the CRM that stays open holds up nobody's mail but what it has changed itself."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import pytest

from router.decide import decide_batch
from router.errors import DatabaseAway
from router.repository import upkeep
from router.repository.database import Database
from router.repository.incoming import inbox
from router.repository.incoming.batch import Batch
from tests.integration.test_promote import Crm, copies, message

INSERTED = """
INSERT INTO crm.email (direction, status, message_id, subject, owner_id)
VALUES ('out', 'sent', $1, 'An offer', $2) RETURNING id
"""


@pytest.fixture
async def database_(database: str) -> AsyncIterator[Database]:
    async with Database(database) as opened:
        yield opened


@pytest.fixture
def crm(database_: Database) -> Crm:
    return Crm(database_)


@pytest.fixture
async def developer(database: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    """Another session: that of the CRM."""
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


async def _correlated(crm: Crm, message_id: str) -> UUID | None:
    found: UUID | None = await crm.value("SELECT correlated_id FROM crm.email WHERE message_id = $1", message_id)
    return found


async def test_an_answer_to_an_email_that_is_not_committed_waits_for_nobody(
    crm: Crm, developer: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    owner_id = await crm.owner("ulla@example.com", "all")
    lease = await crm.source(owner_id, "ulla@example.com")
    transaction = developer.transaction()
    await transaction.start()
    await developer.fetchval(INSERTED, "offer@example.com", owner_id)
    answer = message(1, in_reply_to=("offer@example.com",))
    batch = Batch(copies(lease, owner_id, [answer, message(2)]), lease)
    (first, second) = await inbox.promote(crm.database, batch, decide_batch)
    assert (first.disposition, second.disposition) == ("promoted", "promoted")
    await transaction.commit()


async def test_an_email_is_found_by_its_id_as_soon_as_it_is_committed(
    crm: Crm, developer: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    owner_id = await crm.owner("ulla@example.com", "all")
    lease = await crm.source(owner_id, "ulla@example.com")
    offer = await developer.fetchval(INSERTED, "offer@example.com", owner_id)
    await developer.fetchval(INSERTED, "offer@example.com", owner_id)  # an import that brings it again
    answers = [message(n, in_reply_to=("offer@example.com",)) for n in (1, 2)]
    (first, second) = copies(lease, owner_id, answers)
    await inbox.promote(crm.database, Batch([first], lease), decide_batch)
    assert await _correlated(crm, "1@kunde.test") == offer
    assert await upkeep.move_known_ids(crm.database) == 2
    assert await crm.value("SELECT count(*) FROM router.known_id") == 0
    await inbox.promote(crm.database, Batch([second], lease), decide_batch)
    assert await _correlated(crm, "2@kunde.test") == offer


async def test_an_email_that_the_crm_replaces_is_known_by_its_id(
    crm: Crm, developer: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    owner_id = await crm.owner("ulla@example.com", "all")
    lease = await crm.source(owner_id, "ulla@example.com")
    answers = copies(lease, owner_id, [message(n, in_reply_to=("offer@example.com",)) for n in range(1, 5)])
    for number, copy in enumerate(answers, 1):
        await developer.execute("DELETE FROM crm.email WHERE message_id = 'offer@example.com'")
        if number == 3:  # erased and inserted again before it was filed
            await developer.fetchval(INSERTED, "offer@example.com", owner_id)
            await developer.execute("DELETE FROM crm.email WHERE message_id = 'offer@example.com'")
        offer = await developer.fetchval(INSERTED, "offer@example.com", owner_id)
        if number % 2:
            while await upkeep.move_known_ids(crm.database):
                pass
        await inbox.promote(crm.database, Batch([copy], lease), decide_batch)
        assert await _correlated(crm, f"{number}@kunde.test") == offer, number


async def test_what_a_router_promotes_is_known_at_once_and_is_not_moved(crm: Crm) -> None:
    owner_id = await crm.owner("ulla@example.com", "all")
    lease = await crm.source(owner_id, "ulla@example.com")
    (first, second) = copies(lease, owner_id, [message(1), message(2, in_reply_to=("1@kunde.test",))])
    (promoted,) = await inbox.promote(crm.database, Batch([first], lease), decide_batch)
    assert await crm.value("SELECT count(*) FROM router.known_id") == 0
    await inbox.promote(crm.database, Batch([second], lease), decide_batch)
    assert await _correlated(crm, "2@kunde.test") == promoted.email_id


async def test_ids_are_moved_while_another_process_moves_and_a_thread_is_locked(
    crm: Crm, developer: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    owner_id = await crm.owner("ulla@example.com", "all")
    ids = [f"{uuid4()}@example.com" for _ in range(200)]
    for message_id in ids:
        await developer.execute(INSERTED, message_id, owner_id)
    moved = await asyncio.gather(*(upkeep.move_known_ids(crm.database) for _ in range(4)))
    assert sum(moved) == 200
    assert await crm.value("SELECT count(*) FROM router.message_id WHERE email_id IS NOT NULL") == 200


async def test_what_an_open_transaction_has_locked_is_waited_for_only_shortly(
    crm: Crm, developer: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    owner_id = await crm.owner("ulla@example.com", "all")
    other_id = await crm.owner("otto@example.com", "all")
    lease = await crm.source(owner_id, "ulla@example.com")
    other_lease = await crm.source(other_id, "otto@example.com")
    await inbox.promote(crm.database, Batch(copies(lease, owner_id, [message(1)]), lease), decide_batch)
    transaction = developer.transaction()
    await transaction.start()
    await developer.execute("DELETE FROM crm.email")
    again = Batch(copies(other_lease, other_id, [message(1)]), other_lease)
    with pytest.raises(DatabaseAway, match="55P03"):
        await inbox.promote(crm.database, again, decide_batch)
    await transaction.rollback()
    (decision,) = await inbox.promote(crm.database, again, decide_batch)
    assert decision.disposition == "duplicate"
