"""Answers of the database that are lost, outcomes that cannot be stored, and stops in the middle of sending."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from router.errors import DatabaseAway
from router.model import Outgoing, Result
from router.repository import processes
from router.repository.database import Database
from router.repository.incoming import sources
from router.repository.incoming.registry import Source, register
from router.repository.incoming.sources import Lease
from router.repository.outgoing import claim, outbox, recovery
from router.repository.outgoing.claim import Turn
from router.repository.outgoing.outbox import Start
from tests.servers.proxy import Proxy
from tests.support.claims import claim_some
from tests.support.crm import Crm
from tests.support.holds import RECORDING, holding
from tests.support.router_process import NewRouter
from tests.support.scripted_smtp import ScriptedSmtp
from tests.support.sending import relay, sending
from tests.support.traffic import CONNECTIONS, Capture, outgoing, queue, statuses
from transports.base import Cursor, Outcome

MAILBOX = "ulla@example.com"
PROCESS = UUID(int=1)
LONG, NO_TIME = timedelta(hours=1), timedelta(0)


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Database]:
    async with Database(database) as opened:
        await processes.beat(opened, PROCESS)
        yield opened


async def claimed(crm: Crm, pool: Database) -> Outgoing:
    await crm.owner(MAILBOX)
    await queue(crm, 1, [MAILBOX])
    (email,) = await claim_some(pool, PROCESS, 1)
    return email


async def test_what_was_claimed_without_hearing_of_it_is_pending_again(crm: Crm, pool: Database) -> None:
    email = await claimed(crm, pool)
    assert await recovery.recover_lost_claims(pool, PROCESS, [], LONG) == 0  # it may be heard of yet
    assert await recovery.recover_lost_claims(pool, PROCESS, [email.attempt_id], NO_TIME) == 0
    assert await recovery.recover(pool, PROCESS, NO_TIME) == 0  # it is no other process's
    assert await recovery.recover_lost_claims(pool, PROCESS, [], NO_TIME) == 1
    assert await statuses(crm) == {"pending_send": 1}
    assert await outbox.start(pool, PROCESS, [Start(email.attempt_id, "relay", resend=False)]) == [False]


async def test_what_was_started_is_not_pending_again_while_its_process_lives(crm: Crm, pool: Database) -> None:
    email = await claimed(crm, pool)
    await outbox.start(pool, PROCESS, [Start(email.attempt_id, "relay", resend=False)])
    assert await recovery.recover_lost_claims(pool, PROCESS, [email.attempt_id], NO_TIME) == 0
    assert await recovery.recover_lost_claims(pool, PROCESS, [], LONG) == 0
    assert await recovery.recover(pool, PROCESS, NO_TIME) == 0
    assert await recovery.recover(pool, UUID(int=2), LONG) == 0
    assert await statuses(crm) == {"sending": 1}
    assert await recovery.recover_lost_claims(pool, PROCESS, [], NO_TIME) == 1  # a mistake of ours has ended it
    assert await statuses(crm) == {"unknown": 1}


async def test_what_has_started_by_a_claim_that_was_not_heard_of_is_pending_again(
    crm: Crm, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await crm.owner(MAILBOX)
    commits, lost = claim.claim, asyncio.Event()

    async def lose(*arguments: Any) -> Turn:
        turn = await commits(*arguments)
        if not lost.is_set() and turn.claims and turn.claims[0].started:
            lost.set()
            raise DatabaseAway("the answer was lost")
        return turn

    monkeypatch.setattr(claim, "claim", lose)
    async with ScriptedSmtp() as server, sending(database, relay(server.port)):
        while not lost.is_set():
            email_id = await crm.send(MAILBOX, "karl@kunde.test")
            await crm.wait_for_status(email_id, "sent")


async def test_an_email_that_the_crm_has_locked_delays_no_take_over(crm: Crm, pool: Database) -> None:
    await crm.owner(MAILBOX)
    await queue(crm, 2, [MAILBOX])
    one, two = await claim_some(pool, PROCESS, 2)
    other = UUID(int=2)
    async with asyncio.timeout(20):
        async with crm.admin.transaction():
            await crm.admin.execute("SELECT FROM crm.email WHERE id = $1 FOR UPDATE", one.id)
            assert await recovery.recover(pool, other, NO_TIME) == 1
        assert [(await crm.email(email.id))["status"] for email in (one, two)] == ["sending", "pending_send"]
        assert await recovery.recover(pool, other, NO_TIME) == 1


async def test_words_that_postgresql_cannot_hold_lose_no_outcome(crm: Crm, pool: Database) -> None:
    email = await claimed(crm, pool)
    words = "2.0.0 Ok\0 \ud800"
    await outbox.record(
        pool,
        [
            Result(
                email.id, email.attempt_id, "sent", words, (Outcome("karl@kunde.test", "accepted", "2.0.0\0", words),)
            )
        ],
    )
    assert await statuses(crm) == {"sent": 1}
    assert await crm.admin.fetchval("SELECT text FROM crm.delivery") == "2.0.0 Ok ?"


async def test_o4_an_outcome_that_is_refused_takes_no_other_with_it(
    crm: Crm, new_router: NewRouter, capture: Capture
) -> None:
    await crm.owner(MAILBOX)
    await crm.admin.execute(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'not this one' USING ERRCODE = 'check_violation';
        END
        $$;
        CREATE TRIGGER refuse BEFORE INSERT ON crm.delivery FOR EACH ROW WHEN (NEW.address = 'bad@kunde.test')
            EXECUTE FUNCTION refuse();
        """
    )
    async with holding(crm, RECORDING) as hold:  # so that those which come after the first are recorded together
        await new_router(outgoing(capture.port))
        for name in ("karl", "bad", "karla", "carlo"):
            await crm.send(MAILBOX, f"{name}@kunde.test")
        await crm.wait_for(4, "SELECT count(*) FROM router.attempt WHERE started_at IS NOT NULL")
        await hold.reached()
        await hold.release()
        await crm.wait_for(3, "SELECT count(*) FROM crm.email WHERE status = 'sent'")


async def test_a_start_that_is_tried_again_begins_where_it_began(crm: Crm, pool: Database) -> None:
    source = Source("staff", MAILBOX, "imap:ann", "INBOX", await crm.owner(MAILBOX), "now")
    ids = await register(pool, [source])
    (lease,) = await sources.acquire(pool, PROCESS, list(ids.values()), LONG)
    first = await sources.begin(pool, lease, Cursor("1:10"))
    assert (first.begun, first.cursor) == (True, "1:10")
    assert await sources.begin(pool, lease, Cursor("1:12")) == first


async def test_a_process_too_slow_to_say_that_it_lives_does_not_take_from_itself(crm: Crm, pool: Database) -> None:
    owner_id = await crm.owner(MAILBOX)
    wanted = [Source("staff", MAILBOX, "imap:ann", folder, owner_id, "all") for folder in ("INBOX", "Other")]
    ids = list((await register(pool, wanted)).values())
    other = uuid4()
    await processes.beat(pool, other)
    mine = await sources.acquire(pool, PROCESS, ids, LONG)
    assert len(mine) == 1
    await crm.admin.execute("UPDATE router.process SET seen_at = now() - interval '1 day'")
    taken = await sources.acquire(pool, PROCESS, ids, LONG)
    assert taken == [Lease(ids[1], PROCESS, 1, "imap:ann", None, begun=True, begins_at=mine[0].begins_at)]


async def test_the_folders_of_a_mailbox_go_with_its_first(crm: Crm, pool: Database) -> None:
    owner_id = await crm.owner(MAILBOX)
    folders = [Source("staff", MAILBOX, "imap:ann", folder, owner_id, "all") for folder in ("INBOX", "Other")]
    first = list((await register(pool, folders[:1])).values())
    (lease,) = await sources.acquire(pool, PROCESS, first, LONG)
    taken = await sources.claim_folders(pool, lease, folders)
    assert await sources.claim_folders(pool, lease, folders) == taken  # nobody else had them between

    await crm.admin.execute("UPDATE router.process SET seen_at = now() - interval '1 day'")
    other = uuid4()
    await processes.beat(pool, other)
    (others,) = await sources.acquire(pool, other, first, LONG)
    retaken = await sources.claim_folders(pool, others, folders)
    assert [one.epoch for one in taken.values()] == [1, 1]
    assert [one.epoch for one in retaken.values()] == [2, 2]

    await sources.release(pool, PROCESS, {lease.source_id: lease.epoch})
    await sources.release(pool, other, {lease.source_id: lease.epoch})
    assert await crm.admin.fetchval("SELECT count(*) FROM router.source WHERE process_id = $1", other) == 2
    await sources.release(pool, other, {others.source_id: others.epoch})
    assert await crm.admin.fetchval("SELECT count(process_id) FROM router.source") == 0


async def test_a_database_that_only_reads_is_one_to_come_back_to(pool: Database) -> None:
    async def write() -> None:
        async with pool.transaction() as connection:
            await connection.execute("SET TRANSACTION READ ONLY")
            await connection.execute("DELETE FROM crm.event")

    with pytest.raises(DatabaseAway):
        await write()


async def test_a_crash_leaves_no_more_unknown_than_connections_even_before_outcomes_are_recorded(
    crm: Crm, new_router: NewRouter, capture: Capture
) -> None:
    await crm.owner(MAILBOX)
    await queue(crm, 20, [MAILBOX])
    async with holding(crm, RECORDING) as hold:
        router = await new_router(outgoing(capture.port), lease=1)
        await hold.reached()
        # All the rest that is claimed has been composed by now, and waits for its turn.
        await crm.wait_for(CONNECTIONS, "SELECT count(*) FROM router.attempt WHERE started_at IS NOT NULL")
        await crm.wait_for(True, "SELECT max(started_at) < clock_timestamp() - interval '0.5 s' FROM router.attempt")
        await router.kill()
        await hold.undo()
    await router.start()
    await crm.wait_for(0, "SELECT count(*) FROM router.outbox")
    assert await statuses(crm) == {"unknown": CONNECTIONS, "sent": 20 - CONNECTIONS}
    assert len(capture.accepted) == 20
    assert set(capture.accepted.values()) == {1}


async def test_a_router_that_is_stopping_is_not_taken_for_dead(
    crm: Crm, new_router: NewRouter, capture: Capture
) -> None:
    await crm.owner(MAILBOX)
    async with Proxy(capture.port) as proxy:
        proxy.hold_after(b"\r\n.\r\n")
        first = await new_router(outgoing(proxy.port), lease=1)
        await queue(crm, 1, [MAILBOX])
        await asyncio.wait_for(proxy.held.wait(), 20)
        await new_router(outgoing(capture.port), lease=1)
        end = asyncio.create_task(first.stop())
        await first.wait_for_log("stopping")
        stopping = await crm.admin.fetchval("SELECT clock_timestamp()")
        # Longer than the lease, with time for the other one to look; not as long as what is under way may take.
        await crm.wait_for(True, "SELECT clock_timestamp() > $1::timestamptz + interval '1.8 s'", stopping)
        proxy.resume()
        await end
        await crm.wait_for(1, "SELECT count(*) FROM crm.email WHERE status = 'sent'")
    events = await crm.rows("SELECT kind FROM crm.event")
    assert [event["kind"] for event in events] == ["pending_send", "sent"]
