"""Sending goes on while the profiles change: nothing is lost, sent twice, or cut off."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from router.errors import DatabaseAway
from router.outgoing.sender import Sender
from router.repository.database import Database
from router.repository.outgoing import claim, recovery, routes
from router.repository.outgoing.claim import Ask, Turn
from tests.servers.proxy import Proxy
from tests.support.crm import Crm
from tests.support.scripted_smtp import SILENCE, ScriptedSmtp
from tests.support.sending import profiles, relay, sending

ULLA, OTTO = "ulla@example.com", "otto@other.test"
OTTOS = "*@other.test"


async def attempts(crm: Crm, email_id: UUID) -> list[tuple[str, str]]:
    rows = await crm.admin.fetch(
        "SELECT profile, outcome FROM router.attempt WHERE email_id = $1 ORDER BY number", email_id
    )
    return [(row["profile"], row["outcome"]) for row in rows]


async def test_what_is_under_way_while_its_profile_changes_is_finished_once_and_others_go_on(
    crm: Crm, database: str
) -> None:
    for mailbox in (ULLA, OTTO):
        await crm.owner(mailbox)
    async with ScriptedSmtp() as old, ScriptedSmtp() as new, ScriptedSmtp() as others, Proxy(old.port) as proxy:
        untouched = relay(others.port, "others", OTTOS, line=9)
        async with sending(database, relay(proxy.port, connections=1), untouched) as sender:
            await crm.wait_for_status(await crm.send(OTTO, "ann@kunde.test", "one"), "sent")
            proxy.hold_after(b"\r\n.\r\n")
            under_way = await crm.send(ULLA, "ann@kunde.test", "one")
            await asyncio.wait_for(proxy.held.wait(), 20)
            waiting = await crm.send(ULLA, "ann@kunde.test", "two")

            sender.update(profiles(relay(new.port, connections=1), replace(untouched, line=1)))
            await crm.wait_for_status(waiting, "sent")
            await crm.wait_for_status(await crm.send(OTTO, "ann@kunde.test", "two"), "sent")
            assert (await crm.email(under_way))["status"] == "sending"

            proxy.resume()
            await crm.wait_for_status(under_way, "sent")
            await asyncio.wait_for(old.ended[0].wait(), 20)
        assert await attempts(crm, under_way) == await attempts(crm, waiting) == [("relay", "sent")]
        assert [len(server.messages) for server in (old, new, others)] == [1, 1, 2]
        assert [len(server.commands) for server in (old, new, others)] == [1, 1, 1]


async def test_what_waits_for_a_relay_that_was_removed_is_sent_when_one_is_added(crm: Crm, database: str) -> None:
    await crm.owner(ULLA)
    async with ScriptedSmtp() as old, ScriptedSmtp() as new, Proxy(old.port) as proxy:
        async with sending(database, relay(proxy.port, connections=1)) as sender:
            proxy.hold_after(b"\r\n.\r\n")
            under_way = await crm.send(ULLA, "ann@kunde.test", "one")
            await asyncio.wait_for(proxy.held.wait(), 20)
            waiting = await crm.send(ULLA, "ann@kunde.test", "two")
            sender.update(profiles())
            reason = "SELECT status_reason FROM crm.email WHERE id = $1 AND status = 'pending_send'"
            await crm.wait_for(f"no outgoing profile has {ULLA} among its senders", reason, waiting)
            proxy.resume()
            await crm.wait_for_status(under_way, "sent")
            await asyncio.wait_for(old.ended[0].wait(), 20)

            later = await crm.send(ULLA, "ann@kunde.test", "three")  # nobody claims it: there is no relay at all
            sender.update(profiles(relay(new.port)))
            await crm.wait_for_status(later, "sent")
            assert (await crm.wait_for_status(waiting, "sent"))["status_reason"] is None
        assert [len(server.messages) for server in (old, new)] == [1, 2]


async def test_a_relay_that_hangs_and_is_removed_keeps_nobody_from_being_claimed(crm: Crm, database: str) -> None:
    for mailbox in (ULLA, OTTO):
        await crm.owner(mailbox)
    async with ScriptedSmtp({".": SILENCE}) as silent, ScriptedSmtp() as good:
        other = relay(good.port, "others", OTTOS, connections=1)
        async with sending(database, relay(silent.port, connections=4), other, grace=0.1) as sender:
            hanging = [await crm.send(ULLA, "ann@kunde.test", str(number)) for number in range(4)]
            started = "SELECT count(*) FROM router.attempt WHERE started_at IS NOT NULL"
            await crm.wait_for(4, started)
            sender.update(profiles(other))
            await crm.wait_for_status(await crm.send(OTTO, "ann@kunde.test", "one"), "sent")
        # The process ends, whatever hangs; what the relay has heard of is unknown.
        rows = await crm.rows("SELECT status FROM crm.email WHERE id = ANY ($1)", hanging)
        assert [row["status"] for row in rows] == ["unknown"] * 4
        assert len(silent.messages) == 4


async def test_the_faults_of_relays_that_were_removed_are_forgotten(crm: Crm, database: str) -> None:
    await crm.owner(ULLA)
    fault = "SELECT profile FROM router.relay"
    async with ScriptedSmtp({"greeting": "554 5.7.1 Not you"}) as unwilling, ScriptedSmtp() as good:
        async with sending(database, relay(unwilling.port)) as sender:
            await crm.send(ULLA, "ann@kunde.test", "one")
            await crm.wait_for("relay", fault)
            sender.update(profiles(relay(good.port, "others", OTTOS)))
            await crm.wait_for(None, fault)
            sender.update(profiles())  # neither does it matter when it is told once more
        sender.update(profiles(relay(good.port)))  # nor after the end
        assert good.commands == []


@pytest.mark.parametrize("refusing", [True, False], ids=["a relay was at fault", "no profile carried it"])
async def test_what_was_put_right_while_no_sender_ran_is_not_waited_for(
    crm: Crm, database: str, refusing: bool
) -> None:
    await crm.owner(ULLA)
    async with ScriptedSmtp({"greeting": "554 5.7.1 Not you"}) as unwilling, ScriptedSmtp() as good:
        async with sending(database, relay(unwilling.port, sender="*@example.com" if refusing else OTTOS)):
            await crm.wait_for(True, "SELECT EXISTS (SELECT FROM router.route)")
            email_id = await crm.send(ULLA, "ann@kunde.test", "one")
            waits = "SELECT status = 'pending_send' AND status_reason IS NOT NULL FROM crm.email"
            await crm.wait_for(True, waits)
        await crm.admin.execute("UPDATE router.relay SET next_try_at = now() + interval '1 hour'")
        async with sending(database, relay(good.port)):
            await crm.wait_for_status(email_id, "sent")


async def test_a_change_is_heard_even_if_the_database_was_away_for_a_moment(
    crm: Crm, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await crm.owner(ULLA)
    async with ScriptedSmtp() as good, sending(database, relay(1, sender=OTTOS)) as sender:
        await crm.wait_for(True, "SELECT EXISTS (SELECT FROM router.route)")
        email_id = await crm.send(ULLA, "ann@kunde.test", "one")
        await crm.wait_for(True, "SELECT status_reason IS NOT NULL FROM crm.email")
        write, left = routes.write, [DatabaseAway("away"), DatabaseAway("away")]

        async def write_or_be_away(*arguments: Any) -> None:
            if left:
                raise left.pop()
            await write(*arguments)

        monkeypatch.setattr(routes, "write", write_or_be_away)
        sender.update(profiles(relay(good.port)))
        await crm.wait_for_status(email_id, "sent")
        assert not left


async def test_a_helper_that_is_canceled_by_a_bug_does_not_end_the_sender_in_silence(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hear(*_: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(Database, "hear", hear)
    async with Database(database) as pool:
        sender = Sender(pool, profiles(), uuid4(), timedelta(seconds=5), lambda: True)
        running = asyncio.create_task(sender.run(asyncio.Event(), 0))
        await asyncio.wait([running], timeout=20)
        assert running.cancelled()


async def test_a_process_that_is_not_heard_claims_nothing_until_it_is(crm: Crm, database: str) -> None:
    await crm.owner(ULLA)
    heard, asked = False, asyncio.Semaphore(0)

    def is_heard() -> bool:
        asked.release()
        return heard

    async with ScriptedSmtp() as server, sending(database, relay(server.port), is_heard=is_heard):
        email_id = await crm.send(ULLA, "ann@kunde.test", "one")
        for _ in range(3):
            await asyncio.wait_for(asked.acquire(), 20)
        assert (await crm.email(email_id))["status"] == "pending_send"
        heard = True
        await crm.wait_for_status(email_id, "sent")


async def test_what_was_just_claimed_is_not_taken_for_a_lost_claim(
    crm: Crm, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim is committed, and so slow to be heard of that it is older than the lease when it is looked for."""
    take, recover_lost_claims = claim.claim, recovery.recover_lost_claims
    committed, looked = asyncio.Event(), asyncio.Event()

    async def slow_claim(pool: Database, process_id: UUID, ask: Ask) -> Turn:
        turn = await take(pool, process_id, ask)
        if turn.claims:
            await crm.admin.execute("UPDATE router.attempt SET claimed_at = now() - interval '1 hour'")
            committed.set()
            await asyncio.wait_for(looked.wait(), 20)
        return turn

    async def observed_recover_lost_claims(
        pool: Database, process_id: UUID, under_way: Sequence[UUID], lease: timedelta, unheard: Collection[UUID]
    ) -> int:
        seen = committed.is_set()
        taken = await recover_lost_claims(pool, process_id, under_way, lease, unheard)
        if seen:
            looked.set()
        return taken

    monkeypatch.setattr(claim, "claim", slow_claim)
    monkeypatch.setattr(recovery, "recover_lost_claims", observed_recover_lost_claims)
    await crm.owner(ULLA)
    async with ScriptedSmtp() as server, Proxy(server.port) as proxy:
        proxy.hold_after(b"EHLO")
        async with sending(database, relay(proxy.port, connections=1)):
            email_id = await crm.send(ULLA, "ann@kunde.test", "one")
            await asyncio.wait_for(looked.wait(), 20)
            assert (await crm.email(email_id))["status"] == "sending"
            assert await crm.admin.fetchval("SELECT count(*) FROM router.attempt") == 1
            proxy.resume()
            await crm.wait_for_status(email_id, "sent")
        assert await attempts(crm, email_id) == [("relay", "sent")]
