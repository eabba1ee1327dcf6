"""`kill -9` of two routers in turns while mail goes out through Postfix and through Exim: all arrives, nothing twice.

`make kills` does it with 10,000 emails and twenty kills.
"""

import asyncio
import os
import re
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from tests.servers.exim import Exim
from tests.servers.postfix import Postfix
from tests.support.crm import Crm
from tests.support.router_process import NewRouter
from tests.support.traffic import CONNECTIONS, outgoing, queue, statuses

EMAILS = int(os.environ.get("KILLED_EMAILS", "240"))
KILLS = 20 if EMAILS >= 10_000 else 4

_MESSAGE_ID = re.compile(rb"^Message-ID: <([^>]*)>", re.MULTILINE | re.IGNORECASE)


async def arrived(server: Postfix | Exim, sender: str) -> Counter[str]:
    """How often each message of this sender has arrived, once the server has delivered all that it took."""
    while await asyncio.to_thread(server.queued):
        await asyncio.sleep(0.1)
    found = [_MESSAGE_ID.search(one.message) for one in server.received(sender)]
    return Counter(one[1].decode() for one in found if one is not None)


@pytest.mark.timeout(120 + EMAILS // 10)
@pytest.mark.parametrize("name", ["postfix", "exim"])
async def test_killed_in_turns_through_a_real_server(
    crm: Crm, new_router: NewRouter, new_mailbox: Callable[[str], str], request: pytest.FixtureRequest, name: str
) -> None:
    server: Postfix | Exim = request.getfixturevalue(name)
    dice = Random(name)
    sender = new_mailbox("ulla").replace("@in.test", "@example.com")
    await crm.owner(sender)
    await queue(crm, EMAILS, [sender])
    routers = [await new_router(outgoing(server.smtp), lease=1) for _ in range(2)]
    finished = "SELECT (SELECT count(*) FROM router.attempt WHERE finished_at IS NOT NULL) >= $1"
    for number in range(KILLS):
        await crm.wait_for(True, finished, (number + 1) * EMAILS // (KILLS + 2), timeout=60)
        await asyncio.sleep(dice.random() * 0.1)  # at any moment of what comes next
        await routers[number % 2].kill()
        await routers[number % 2].start()
    await crm.wait_for(0, "SELECT count(*) FROM router.outbox", timeout=60 + EMAILS // 50)

    found = await statuses(crm)
    assert found.keys() <= {"sent", "unknown"}
    assert found.total() == EMAILS
    assert found["unknown"] <= CONNECTIONS * KILLS
    there = await arrived(server, sender)
    sent = {row["message_id"] for row in await crm.rows("SELECT message_id FROM crm.email WHERE status = 'sent'")}
    assert sent <= there.keys()
    assert set(there.values()) == {1}

    # What is unknown is held; a person looks whether it arrived, and decides.
    for row in await crm.rows("SELECT id, message_id FROM crm.email WHERE status = 'unknown'"):
        await crm.move(row["id"], "sent" if row["message_id"] in there else "pending_send")
    await crm.wait_for(EMAILS, "SELECT count(*) FROM crm.email WHERE status = 'sent'")
    there = await arrived(server, sender)
    assert len(there) == EMAILS
    assert set(there.values()) == {1}
