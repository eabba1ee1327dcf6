"""The database's clock is set back or forward: mail waits no longer than it did."""

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest
import structlog

from router.repository import clock, processes
from router.repository.database import Database
from router.upkeep import look_at_clock
from tests.support.claims import PROFILE, claim_some
from tests.support.crm import Crm

ULLA, KARL = "ulla@example.com", "karl@kunde.test"
PROCESS = UUID(int=1)
HOUR = timedelta(hours=1)


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Database]:
    async with Database(database) as opened:
        await processes.beat(opened, PROCESS)
        yield opened


async def set_back(crm: Crm, by: timedelta) -> None:
    """Make the rows as they are after the clock was set back: all times are later by as much."""
    await crm.admin.execute("UPDATE router.clock SET at = clock_timestamp() + $1::interval", by)
    await crm.admin.execute("UPDATE router.outbox SET next_at = next_at + $1::interval", by)
    await crm.admin.execute("UPDATE router.process SET seen_at = seen_at + $1::interval", by)


async def test_a_clock_that_was_set_back_delays_nothing_but_what_is_wanted_later(crm: Crm, pool: Database) -> None:
    await crm.owner(ULLA)
    sent = [await crm.send(ULLA, [KARL], "Offer", "Chairs") for _ in range(3)]
    later = await crm.send(ULLA, [KARL], "Offer", "Chairs")
    retried = await crm.send(ULLA, [KARL], "Offer", "Chairs")
    await crm.admin.execute("UPDATE crm.email SET send_after = now() + interval '3 hours' WHERE id = $1", later)
    await crm.admin.execute(
        "UPDATE router.outbox SET next_at = now() + interval '2 minutes', ready = false WHERE email_id = $1", retried
    )
    await crm.admin.execute(
        "INSERT INTO router.relay (profile, fault, next_try_at) VALUES ('other', 'x', now() + interval '70 minutes')"
    )
    await crm.admin.execute("INSERT INTO router.rate VALUES ($1, now() + interval '1 hour')", PROFILE)
    await set_back(crm, HOUR)
    assert await claim_some(pool, PROCESS, 5) == []
    with structlog.testing.capture_logs() as said:
        await look_at_clock(pool)
    assert [(one["log_level"], one["seconds"]) for one in said] == [("warning", 3600)]
    assert {one.id for one in await claim_some(pool, PROCESS, 5)} == set(sent)
    seconds = "SELECT extract(epoch FROM {} - now())::float8 FROM router.{}"
    waits = {
        email: await crm.admin.fetchval(seconds.format("next_at", "outbox") + " WHERE email_id = $1", email)
        for email in (later, retried)
    }
    assert waits[later] > 2.9 * 3600
    assert 100 < waits[retried] <= 120
    assert 500 < await crm.admin.fetchval(seconds.format("next_try_at", "relay")) <= 600
    assert await crm.admin.fetchval(seconds.format("next_at", "rate")) <= 0
    assert await crm.admin.fetchval(seconds.format("seen_at", "process")) <= 0
    assert await clock.look(pool) == 0.0


async def test_a_clock_that_is_set_forward_or_was_not_looked_at_for_long_changes_nothing(
    crm: Crm, pool: Database
) -> None:
    await crm.owner(ULLA)
    email = await crm.send(ULLA, [KARL], "Offer", "Chairs")
    await crm.admin.execute("UPDATE router.outbox SET next_at = now() + interval '2 minutes', ready = false")
    await set_back(crm, -HOUR)
    assert await clock.look(pool) == 0.0
    assert await crm.admin.fetchval("SELECT abs(extract(epoch FROM now() - at)) < 60 FROM router.clock")
    assert [one.id for one in await claim_some(pool, PROCESS, 5)] == [email]


async def test_every_wait_is_a_column_of_the_schema_and_what_others_have_locked_holds_up_nothing(
    crm: Crm, pool: Database
) -> None:
    await crm.owner(ULLA)
    first, second = [await crm.send(ULLA, [KARL], "Offer", "Chairs") for _ in range(2)]
    await set_back(crm, HOUR)
    async with crm.admin.transaction():
        await crm.admin.execute("SELECT FROM router.outbox WHERE email_id = $1 FOR UPDATE", first)
        assert round(await clock.look(pool)) == 3600
    assert [one.id for one in await claim_some(pool, PROCESS, 5)] == [second]
