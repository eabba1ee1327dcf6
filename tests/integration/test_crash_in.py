"""`kill -9` while mail comes in: nothing is lost, nothing is promoted twice, nothing stays unsettled."""

import asyncio
import re
import socket
from collections.abc import Callable
from contextlib import nullcontext
from random import Random

from tests.servers.dovecot import MASTER_PASSWORD, Dovecot
from tests.servers.proxy import Proxy
from tests.support.crm import Crm
from tests.support.holds import DECIDING, SETTLING, holding
from tests.support.router_process import NewRouter, RouterProcess
from tests.support.traffic import Post, check_received, incoming

KILLS = 20
MESSAGES = 500
OWNERS = 4

BEFORE_SETTLE = "the commit is done, the mail server is not told"
AT_RANDOM = "some moment after some number of decisions"
POINTS = [DECIDING, BEFORE_SETTLE, SETTLING, AT_RANDOM, AT_RANDOM] * (KILLS // 5)


async def kill_at(point: str, crm: Crm, router: RouterProcess, proxy: Proxy, post: Post, dice: Random) -> None:
    """Deliver some messages while the router starts, and kill it when it has come to this point with them."""
    count = MESSAGES // KILLS
    known = await crm.admin.fetchval("SELECT count(*) FROM router.decision")
    if point == BEFORE_SETTLE:
        proxy.hold_before(b" STORE ")
    async with holding(crm, point) if point in (DECIDING, SETTLING) else nullcontext() as hold:
        await asyncio.gather(asyncio.to_thread(post.deliver, count), router.start())
        if hold is not None:
            await hold.reached()
        elif point == BEFORE_SETTLE:
            await asyncio.wait_for(proxy.held.wait(), 20)
            assert await crm.admin.fetchval("SELECT count(*) FROM router.decision WHERE settled_at IS NULL") > 0
        else:
            wanted = known + dice.randrange(1, count)
            await crm.wait_for(True, "SELECT count(*) >= $1 FROM router.decision", wanted)
            await asyncio.sleep(dice.random() * 0.05)
        await router.kill()
        proxy.cut()
        proxy.resume()
        if hold is not None:
            await hold.undo()


async def test_killed_at_any_moment_while_promoting(
    crm: Crm, new_router: NewRouter, dovecot: Dovecot, new_mailbox: Callable[[str], str]
) -> None:
    dice = Random(20)
    mailboxes = [new_mailbox(f"owner{number}") for number in range(OWNERS)]
    for mailbox in mailboxes:
        await crm.owner(mailbox, "all")
    post = Post(dovecot, mailboxes, dice)
    async with Proxy(dovecot.imap) as proxy:
        router = await new_router(incoming(proxy.port), lease=1, IMAP_PASSWORD=MASTER_PASSWORD)
        await router.kill()
        for point in dice.sample(POINTS, KILLS):
            await kill_at(point, crm, router, proxy, post, dice)
        await router.start()
        await check_received(crm, dovecot, post)
        await router.wait_for_log(rf"a process that did not say that it ends.*{re.escape(socket.gethostname())}:\d+")
