"""Acknowledgements go in two lanes: what a template does, or whoever keeps it locked, delays no template that works."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import structlog

from router.health import Health
from router.outgoing import answers
from router.repository.answers import answer_lanes, template_proofs
from router.repository.answers.answer_lanes import Begun
from router.repository.answers.answers import Limits
from router.repository.database import Database
from tests.support.acknowledged import ENDLESS, mail_for, queue_of
from tests.support.crm import Crm
from tests.support.flood import Lent, cost

SLOW = "SELECT count(*) FROM router.acknowledgement WHERE for_template"
QUICK = "SELECT count(*) FROM router.acknowledgement WHERE NOT for_template"
PROVEN = "SELECT count(*) FROM crm.template AS t JOIN router.template AS s USING (name, changed_at) WHERE s.proven"
ANSWERS = "SELECT count(*) FROM crm.email WHERE template IS NOT NULL"
LIMITS = Limits(10**6, 10**6)
FOR_SOME = "{% if 'never' in email.subject %}" + ENDLESS + "{% endif %}We have it."


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Database]:
    async with Database(database) as opened:
        yield opened


@asynccontextmanager
async def running(pool: Database) -> AsyncIterator[None]:
    """Run both lanes meanwhile."""

    async def note(*_: object) -> None:
        pass

    health = Health("fails", note, structlog.get_logger())
    lanes = (answers.write_answers, answers.try_templates)
    tasks = [asyncio.create_task(lane(pool, LIMITS, health)) for lane in lanes]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def parked(pool: Database) -> None:
    """Let the quick lane look at all that waits, where nothing is proven."""
    while (looked := await answer_lanes.begin(pool))[1]:
        assert looked[0] == []


async def tried(pool: Database, *, failed_first: bool = False) -> Begun:
    one = await answer_lanes.begin_trial(pool, failed_first=failed_first)
    assert one is not None
    return one


async def fail(pool: Database, one: Begun) -> None:
    await template_proofs.note_wrong(pool, one.template, one.changed_at, "it fails")
    await answer_lanes.put_off(pool, one, "it fails", slow=True)


async def all_due(crm: Crm) -> None:
    await crm.admin.execute("UPDATE crm.template SET next_try_at = now() WHERE next_try_at IS NOT NULL")
    await crm.admin.execute("UPDATE router.template SET tried_until = '-infinity'")


async def test_new_templates_are_tried_one_after_the_other_and_before_those_that_failed(
    crm: Crm, pool: Database
) -> None:
    for name in ("first", "second"):
        await mail_for(crm, await queue_of(crm, name), 3)
    await parked(pool)
    begun = [await tried(pool), await tried(pool)]
    assert [one.template for one in begun] == ["first", "second"]
    # Whoever tries one has it: no other process does.
    assert await answer_lanes.begin_trial(pool) is None
    for one in begun:
        await fail(pool, one)
    await all_due(crm)
    for name in ("third", "fourth"):
        await mail_for(crm, await queue_of(crm, name))
    await parked(pool)
    assert (await tried(pool)).template == "third"
    assert (await tried(pool, failed_first=True)).template in {"first", "second"}
    # The CRM changes one that waits, again and again: others have their turn before it.
    await crm.sql.execute("UPDATE crm.template SET text_body = 'Or so.' WHERE name = 'third'")
    assert (await tried(pool)).template == "fourth"


async def test_what_waits_is_in_the_quick_lane_again_once_its_template_is_proven_and_until_that_changes(
    crm: Crm, pool: Database
) -> None:
    owner_id = await queue_of(crm, "sound")
    await mail_for(crm, owner_id, 3)
    await parked(pool)
    one = await tried(pool)
    await template_proofs.note_right(pool, one.template, one.changed_at)
    assert await answer_lanes.put_back(pool) == 2
    await mail_for(crm, owner_id)
    begun, looked_at = await answer_lanes.begin(pool)
    assert ([one.proven for one in begun], looked_at) == ([True] * 3, 3)
    await crm.sql.execute("UPDATE crm.template SET text_body = 'We had it.'")
    await answer_lanes.give_back(pool, begun)
    await parked(pool)
    assert await crm.admin.fetchval(SLOW) == 3
    # What was tried of the former texts proves nothing.
    await template_proofs.note_right(pool, one.template, one.changed_at)
    assert await answer_lanes.put_back(pool) == 0


async def _other_template(crm: Crm) -> None:
    await crm.sql.execute("UPDATE crm.owner SET acknowledgement = 'sound' WHERE mailbox = 'odd@in.test'")


async def _no_template(crm: Crm) -> None:
    await crm.sql.execute("DELETE FROM crm.template WHERE name = 'odd'")


async def _not_approved(crm: Crm) -> None:
    await crm.admin.execute("UPDATE crm.owner SET approved = false WHERE mailbox = 'odd@in.test'")


@pytest.mark.parametrize(
    ("change", "answered"),
    [(_other_template, 4), (_no_template, 1), (_not_approved, 1)],
    ids=["another", "none", "not approved"],
)
async def test_what_waits_goes_by_what_its_owner_acknowledges_by_now(
    crm: Crm, pool: Database, change: Callable[[Crm], Awaitable[None]], answered: int
) -> None:
    await mail_for(crm, await queue_of(crm, "sound"))
    await mail_for(crm, await queue_of(crm, "odd", "{{ nothing }}"), 3)
    async with running(pool):
        await crm.wait_for(1, ANSWERS)
        await crm.wait_for(1, "SELECT failures FROM crm.template WHERE name = 'odd'")
        await change(crm)
        await crm.admin.execute("UPDATE router.acknowledgement SET due_at = now() WHERE fault IS NOT NULL")
        await crm.wait_for(0, "SELECT count(*) FROM router.acknowledgement")
    assert await crm.admin.fetchval(ANSWERS) == answered


async def test_a_proven_template_that_is_endless_for_one_email_works_for_the_others(crm: Crm, pool: Database) -> None:
    owner_id = await queue_of(crm, "some", FOR_SOME)
    await mail_for(crm, owner_id)
    async with running(pool):
        await crm.wait_for(1, PROVEN)
        [odd] = await mail_for(crm, owner_id, subject="It never ends")
        await crm.wait_for("it took longer than 2 s", "SELECT fault FROM crm.template")
        await mail_for(crm, owner_id, 3)
        await crm.wait_for(4, SLOW)
        await all_due(crm)
        await crm.wait_for(4, ANSWERS)
        await crm.wait_for(None, "SELECT fault FROM crm.template")
        # It is tried again apart from the others, and the template stays proven.
        await crm.admin.execute("UPDATE router.acknowledgement SET due_at = now()")
        await mail_for(crm, owner_id)
        await crm.wait_for(5, ANSWERS)
        again = (
            "SELECT attempts FROM router.acknowledgement WHERE email_id = $1 AND fault IS NOT NULL AND due_at > now()"
        )
        await crm.wait_for(2, again, odd)
        await crm.wait_for((1, 1, 0), f"SELECT ROW(({SLOW}), ({PROVEN}), ({QUICK}))")
        assert await crm.admin.fetchval("SELECT failures FROM crm.template") == 1
        await crm.sql.execute("UPDATE crm.template SET text_body = 'We have it.'")
        await crm.wait_for(6, ANSWERS)


async def test_templates_that_the_crm_has_locked_are_waited_for_by_nobody(crm: Crm, pool: Database) -> None:
    locked, good = await queue_of(crm, "locked", FOR_SOME), await queue_of(crm, "zoo")
    await mail_for(crm, locked)
    async with running(pool):
        await crm.wait_for(1, PROVEN)
        async with crm.sql.transaction():
            await crm.sql.execute("UPDATE crm.template SET text_body = 'We had it.' WHERE name = 'locked'")
            await mail_for(crm, locked, 20, subject="It never ends")
            # It is blamed though the CRM cannot be told: by no more than the first.
            await crm.wait_for(20, SLOW)
            await mail_for(crm, good)
            await crm.wait_for(2, ANSWERS)
            assert await crm.admin.fetchval("SELECT max(attempts) FROM router.acknowledgement") <= 2
        await crm.wait_for(22, ANSWERS)


async def test_neither_lane_reads_what_waits_in_the_other(crm: Crm, pool: Database) -> None:
    """Also where no statistics tell that anything waits."""
    await crm.admin.execute("ALTER TABLE router.acknowledgement SET (autovacuum_enabled = off)")
    await crm.admin.execute("ANALYZE router.acknowledgement")
    sound, odd = await queue_of(crm, "sound"), await queue_of(crm, "odd", "{{ nothing }}")
    await mail_for(crm, sound)
    await parked(pool)
    one = await tried(pool)
    await template_proofs.note_right(pool, one.template, one.changed_at)
    await mail_for(crm, odd)
    await parked(pool)
    await fail(pool, await tried(pool))
    await mail_for(crm, odd, 3000)
    await crm.admin.execute("UPDATE router.acknowledgement SET for_template = true, due_at = now() + interval '1 day'")
    works = (answer_lanes.begin, answer_lanes.begin_trial, answer_lanes.put_back)
    read = [await rows_read(pool, work) for work in works]
    await all_due(crm)
    await mail_for(crm, sound, 3000)
    read += [await rows_read(pool, work) for work in works]
    assert all(rows < 200 for rows in read), read


async def rows_read(pool: Database, work: Callable[[Database], Awaitable[object]]) -> int:
    """Count the rows of what waits that a piece of work visits; it is rolled back."""
    asked: list[tuple[str, tuple[object, ...]]] = []
    async with pool.rolled_back() as connection:
        with connection.query_logger(lambda record: asked.append((record.query, record.args))):
            await connection.execute("SAVEPOINT before")
            await work(Lent(connection))
            await asyncio.sleep(0)  # the loggers are called then
        await connection.execute("ROLLBACK TO before")
        costs = [await cost(connection, query, *args) for query, args in asked if "WITH" in query]
    assert costs
    return sum(rows for one in costs for scan, rows in one.rows.items() if scan.endswith(" acknowledgement"))
