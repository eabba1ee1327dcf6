"""Faults of the network and of the server while mail comes in: all of it comes through once, and nobody has to help."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from tests.servers.dovecot import MASTER_PASSWORD, Dovecot
from tests.servers.proxy import Proxy
from tests.support.crm import Crm
from tests.support.router_process import NewRouter
from tests.support.traffic import Post, check_received, incoming, message

MESSAGES = 40
TIMEOUT = 2
BODY = rb"BODY\[\] \{\d+\}\r\n"

FAULTS = "SELECT count(*) > 0 FROM router.source WHERE fault IS NOT NULL"
"""Whether an admin is told that something is wrong."""


class Scene:
    """A router that follows mailboxes through a proxy, and what a fault may do to them."""

    def __init__(self, crm: Crm, dovecot: Dovecot, proxy: Proxy, post: Post, dice: Random) -> None:
        self.crm = crm
        self.dovecot = dovecot
        self.proxy = proxy
        self.dice = dice
        self._post = post

    async def deliver(self, count: int) -> None:
        await asyncio.to_thread(self._post.deliver, count)

    async def struck(self, times: int = 1) -> None:
        """Return when the proxy has brought about so many faults."""
        async with asyncio.timeout(20):
            while self.proxy.struck < times:
                await asyncio.sleep(0.01)

    async def told(self) -> None:
        """Return when an admin can see that something is wrong."""
        await self.crm.wait_for(True, FAULTS)

    async def amid(self, count: int, strike: Callable[[], None]) -> None:
        """Deliver, and strike at some moment in the midst of it, once the router has begun with these."""
        known = await self.crm.admin.fetchval("SELECT count(*) FROM router.decision")
        delivering = asyncio.create_task(self.deliver(count))
        begun = known + self.dice.randrange(1, 5)
        await self.crm.wait_for(True, "SELECT count(*) >= $1 FROM router.decision", begun)
        await asyncio.sleep(self.dice.random() * 0.05)
        strike()
        await delivering


Fault = Callable[[Scene], Awaitable[None]]


async def every_chunk_is_late(scene: Scene) -> None:
    scene.proxy.delay = scene.dice.uniform(0.005, 0.03)
    await scene.deliver(20)


async def half_open(scene: Scene) -> None:
    """What is open answers no more, and nobody says so; a new connection would work."""
    connections = scene.proxy.connections
    await scene.amid(20, scene.proxy.freeze)
    async with asyncio.timeout(20):
        while scene.proxy.connections == connections:
            await asyncio.sleep(0.01)


async def nothing_answers(scene: Scene) -> None:
    scene.proxy.stall()
    await scene.deliver(20)
    await scene.told()
    scene.proxy.resume()


async def cut(scene: Scene) -> None:
    for _ in range(4):
        await scene.amid(5, scene.proxy.cut)


async def reset_within_a_body(scene: Scene) -> None:
    for times in range(1, 3):
        scene.proxy.reset_within(BODY, scene.dice.randrange(1, 150))
        await scene.deliver(10)
        await scene.struck(times)


async def answer_to_fetch_lost(scene: Scene) -> None:
    await answer_lost(scene, b"BODY.PEEK")


async def answer_to_listing_lost(scene: Scene) -> None:
    await answer_lost(scene, b"RFC822.SIZE")


async def answer_to_store_lost(scene: Scene) -> None:
    await answer_lost(scene, b" STORE ")


async def answer_to_done_lost(scene: Scene) -> None:
    await answer_lost(scene, b"DONE")


async def answer_lost(scene: Scene, text: bytes) -> None:
    scene.proxy.swallow(text)
    await scene.deliver(20)
    await scene.struck()


async def connections_refused(scene: Scene) -> None:
    scene.proxy.refusing = True
    scene.proxy.cut()
    await scene.deliver(20)
    await scene.told()
    scene.proxy.refusing = False


async def cut_during_login(scene: Scene) -> None:
    scene.proxy.cut_after(b" AUTHENTICATE ")
    scene.proxy.cut()
    await scene.deliver(20)
    await scene.struck(2)
    await scene.told()
    scene.proxy.cut_after(b"")


async def cut_in_the_middle_of_store(scene: Scene) -> None:
    scene.proxy.cut_after(b" STORE ")
    await scene.deliver(20)
    await scene.struck(2)
    scene.proxy.cut_after(b"")


async def server_restarted(scene: Scene) -> None:
    await scene.deliver(20)
    await asyncio.to_thread(scene.dovecot.restart)


ALL: list[Fault] = [
    every_chunk_is_late,
    half_open,
    nothing_answers,
    cut,
    reset_within_a_body,
    answer_to_fetch_lost,
    answer_to_listing_lost,
    answer_to_store_lost,
    answer_to_done_lost,
    connections_refused,
    cut_during_login,
    cut_in_the_middle_of_store,
    server_restarted,
]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("fault", ALL, ids=lambda fault: fault.__name__)
async def test_recovers_by_itself(
    crm: Crm, new_router: NewRouter, dovecot: Dovecot, new_mailbox: Callable[[str], str], fault: Fault, seed: int
) -> None:
    dice = Random(seed)
    mailboxes = [new_mailbox(name) for name in ("ulla", "otto")]
    for mailbox in mailboxes:
        await crm.owner(mailbox, "all")
    post = Post(dovecot, mailboxes, dice)
    async with Proxy(dovecot.imap) as proxy:
        profile = f"{incoming(proxy.port)}\ntimeout = {TIMEOUT}\n"
        router = await new_router(profile, IMAP_PASSWORD=MASTER_PASSWORD)
        await crm.wait_for_sources(len(mailboxes))
        scene = Scene(crm, dovecot, proxy, post, dice)
        await scene.deliver(10)
        await fault(scene)
        await scene.deliver(MESSAGES - len(post.addressees))
        await check_received(crm, dovecot, post)
        await crm.wait_for(False, FAULTS)
        assert router.running


async def test_a_network_that_loses_large_packets_makes_no_dead_letters(
    crm: Crm, new_router: NewRouter, dovecot: Dovecot, mailbox: str
) -> None:
    await crm.owner(mailbox, "all")
    async with Proxy(dovecot.imap) as proxy:
        await new_router(f"{incoming(proxy.port)}\ntimeout = 1\n", IMAP_PASSWORD=MASTER_PASSWORD)
        await crm.wait_for_sources(1)
        proxy.lose_beyond = 1400
        for number in range(3):
            dovecot.deliver(mailbox, message(number) + b"large\r\n" * number * 3000)
        await crm.wait_for(True, FAULTS)
        fault = await crm.admin.fetchval("SELECT fault FROM router.source")
        assert "does the network lose large packets (MTU)" in fault
        assert await crm.dispositions() == {}
        proxy.lose_beyond = None
        await crm.wait_for_decisions(3)
        assert await crm.dispositions() == {"promoted": 3}
        await crm.wait_for(False, FAULTS)
