"""A process that was thought dead wakes up while another takes over what it had claimed: each email has one sender."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from router.model import Outgoing
from router.repository import processes
from router.repository.database import Database
from router.repository.outgoing import outbox, recovery
from router.repository.outgoing.outbox import Start
from tests.support.claims import claim_some
from tests.support.crm import Crm
from tests.support.holds import STARTING, TAKING_OVER, holding
from tests.support.traffic import queue, statuses

MAILBOX = "ulla@example.com"
SLEEPER, OTHER = UUID(int=1), UUID(int=2)
LEASE, LONG, NO_TIME = timedelta(seconds=10), timedelta(hours=1), timedelta(0)


@pytest.fixture
async def sleeper(database: str) -> AsyncIterator[Database]:
    """The database of the process that was not heard for longer than its lease."""
    async with Database(database, connections=1) as opened:
        yield opened


@pytest.fixture
async def other(database: str) -> AsyncIterator[Database]:
    """The database of the process that takes over."""
    async with Database(database) as opened:
        await processes.beat(opened, OTHER)
        yield opened


async def claimed(crm: Crm, sleeper: Database, count: int = 1, process_id: UUID = SLEEPER) -> Sequence[Outgoing]:
    await processes.beat(sleeper, process_id)
    await queue(crm, count, [MAILBOX])
    emails = await claim_some(sleeper, process_id, count)
    await crm.admin.execute("UPDATE router.process SET seen_at = now() - interval '1 hour' WHERE id = $1", process_id)
    return emails


async def starts(pool: Database, email: Outgoing, process_id: UUID = SLEEPER) -> bool:
    [started] = await outbox.start(pool, process_id, [Start(email.attempt_id, "relay", resend=False)])
    return started


async def test_o6_nothing_starts_that_another_process_is_taking_over(
    crm: Crm, sleeper: Database, other: Database
) -> None:
    await crm.owner(MAILBOX)
    [email] = await claimed(crm, sleeper)
    async with holding(crm, TAKING_OVER) as hold, asyncio.timeout(20):
        taking = asyncio.create_task(recovery.recover(other, OTHER, LEASE))
        await hold.reached()
        assert not await starts(sleeper, email)
        await hold.release()
        assert await taking == 1
    assert not await starts(sleeper, email)
    assert await statuses(crm) == {"pending_send": 1}


@pytest.mark.parametrize(
    "lost", [False, True], ids=["of a process that is thought dead", "that counts as a lost claim"]
)
async def test_o6_nothing_is_taken_over_that_is_just_starting(
    crm: Crm, sleeper: Database, other: Database, lost: bool
) -> None:
    await crm.owner(MAILBOX)
    [email] = await claimed(crm, sleeper)

    async def take() -> int:
        if lost:
            return await recovery.recover_lost_claims(other, SLEEPER, [], NO_TIME)
        return await recovery.recover(other, OTHER, LEASE)

    async with holding(crm, STARTING) as hold, asyncio.timeout(20):
        starting = asyncio.create_task(starts(sleeper, email))
        await hold.reached()
        assert await take() == 0
        await hold.release()
        assert await starting
    assert await take() == 1
    assert await statuses(crm) == {"unknown": 1}


LOOKING = 77  # the key of the advisory lock at which who looks through the outbox waits
LOOK_SLOWLY = f"""
    CREATE FUNCTION look_slowly() RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN
        IF current_setting('application_name') <> 'awake' THEN
            PERFORM pg_advisory_xact_lock_shared({LOOKING});
        END IF;
        RETURN true;
    END
    $$;
    CREATE POLICY look_slowly ON router.outbox USING (look_slowly());
    ALTER TABLE router.outbox ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
"""


@pytest.mark.parametrize(
    "lost", [False, True], ids=["of a process that is thought dead", "that counts as a lost claim"]
)
async def test_o6_what_has_started_since_the_look_began_is_not_made_pending(
    crm: Crm, sleeper: Database, other: Database, lost: bool
) -> None:
    await crm.owner(MAILBOX)
    [email] = await claimed(crm, sleeper)
    async with sleeper.connection() as connection:
        await connection.execute("SET application_name = 'awake'")
    for one in (sleeper, other):  # which the router turns off, so that no policy hides anything from it
        async with one.connection() as connection:
            await connection.execute("SET row_security = on")
    await crm.admin.execute(LOOK_SLOWLY)
    await crm.admin.execute(f"SELECT pg_advisory_lock({LOOKING})")
    async with asyncio.timeout(20):
        take = (
            recovery.recover_lost_claims(other, SLEEPER, [], NO_TIME) if lost else recovery.recover(other, OTHER, LEASE)
        )
        taking = asyncio.create_task(take)
        waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = $1 AND NOT granted)"
        await crm.wait_for(True, waiting, LOOKING)
        assert await starts(sleeper, email)
        await crm.admin.execute(f"SELECT pg_advisory_unlock({LOOKING})")
        assert await taking == 1
    await crm.admin.execute("ALTER TABLE router.outbox DISABLE ROW LEVEL SECURITY")
    assert await statuses(crm) == {"unknown": 1}


async def race(crm: Crm, sleeper: Database, other: Database) -> set[UUID]:
    """Let the sleeper start what it has claimed, one after the other, while it is taken over; return what started."""
    process_id, begins = uuid4(), asyncio.Event()
    emails = await claimed(crm, sleeper, 40, process_id)

    async def wake() -> set[UUID]:
        started = set()
        for place, email in enumerate(emails):
            if await starts(sleeper, email, process_id):
                started.add(email.id)
            if place == 10:
                begins.set()
        return started

    async def take_over() -> None:
        await begins.wait()
        await recovery.recover(other, OTHER, LEASE)

    started, _ = await asyncio.gather(wake(), take_over())
    return started


async def test_o6_whoever_comes_first_no_email_has_two_senders(crm: Crm, sleeper: Database, other: Database) -> None:
    await crm.owner(MAILBOX)
    for _ in range(10):
        started = await race(crm, sleeper, other)
        pending = await crm.admin.fetch("SELECT email_id FROM router.outbox WHERE process_id IS NULL")
        assert started
        assert not started & {row["email_id"] for row in pending}
        await crm.admin.execute("TRUNCATE crm.email CASCADE")
