"""`kill -9` while mail goes out: none is lost, none is sent twice, and unknown is at most what was under way."""

import asyncio
from random import Random

from tests.servers.proxy import Proxy
from tests.support.crm import Crm
from tests.support.holds import CLAIMING, RECORDING, STARTING, holding
from tests.support.router_process import NewRouter, RouterProcess
from tests.support.traffic import CONNECTIONS, Capture, outgoing, queue, statuses

KILLS = 20
EMAILS = 500

BEFORE_MAIL = "the start is committed, the relay has not heard of it"
BEFORE_ANSWER = "the relay has the message, its answer did not come"
AT_RANDOM = "some moment after some number of outcomes"
POINTS = [CLAIMING, STARTING, BEFORE_MAIL, BEFORE_ANSWER, RECORDING, *[AT_RANDOM] * 5] * (KILLS // 10)

FINISHED = "SELECT count(*) FROM router.attempt WHERE finished_at IS NOT NULL"


async def kill_at(point: str, crm: Crm, router: RouterProcess, proxy: Proxy, finished: int, dice: Random) -> None:
    """Kill the router when it has come to this point, after so many outcomes were recorded."""
    await crm.wait_for(True, f"SELECT ({FINISHED}) >= $1", finished)
    if point == AT_RANDOM:
        await asyncio.sleep(dice.random() * 0.05)
        await router.kill()
    elif point in (BEFORE_MAIL, BEFORE_ANSWER):
        proxy.hold_before(b"MAIL FROM:") if point == BEFORE_MAIL else proxy.hold_after(b"\r\n.\r\n")
        await asyncio.wait_for(proxy.held.wait(), 20)
        await router.kill()
        proxy.cut()
        proxy.resume()
    else:
        async with holding(crm, point) as hold:
            await hold.reached()
            await router.kill()
            await hold.undo()


async def test_killed_at_any_moment_while_sending(crm: Crm, new_router: NewRouter, capture: Capture) -> None:
    dice = Random(20)
    mailboxes = ["ulla@example.com", "otto@example.com"]
    for mailbox in mailboxes:
        await crm.owner(mailbox)
    await queue(crm, EMAILS, mailboxes)
    async with Proxy(capture.port) as proxy:
        router = await new_router(outgoing(proxy.port), lease=1)
        for number, point in enumerate(dice.sample(POINTS, KILLS)):
            # Less than an even share: what is unknown does not finish.
            await kill_at(point, crm, router, proxy, number * 18 + dice.randrange(18), dice)
            await router.start()
        await crm.wait_for(0, "SELECT count(*) FROM router.outbox", timeout=30)

        found = await statuses(crm)
        assert found.keys() <= {"sent", "unknown"}
        assert found.total() == EMAILS
        rows = await crm.admin.fetch(
            "SELECT count(*) FROM router.attempt WHERE started_at IS NOT NULL AND finished_at IS NULL "
            "GROUP BY process_id"
        )
        assert max(row["count"] for row in rows) <= CONNECTIONS
        assert sum(row["count"] for row in rows) == found["unknown"] > 0
        sent = {row["message_id"] for row in await crm.rows("SELECT message_id FROM crm.email WHERE status = 'sent'")}
        assert sent <= capture.accepted.keys()
        assert set(capture.accepted.values()) == {1}

        # What a person does, who looks whether it arrived.
        for row in await crm.rows("SELECT id, message_id FROM crm.email WHERE status = 'unknown'"):
            await crm.move(row["id"], "sent" if row["message_id"] in capture.accepted else "pending_send")
        await crm.wait_for(EMAILS, "SELECT count(*) FROM crm.email WHERE status = 'sent'")
        assert len(capture.accepted) == EMAILS
        assert set(capture.accepted.values()) == {1}
