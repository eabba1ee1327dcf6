"""POP3 as its users see it: mail in maildrops is in the CRM, once, whatever fails meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.servers.dovecot import PASSWORD, Dovecot
from tests.servers.proxy import Proxy
from tests.support.crm import Crm
from tests.support.holds import DECIDING, SETTLING, holding
from tests.support.letters import letter
from tests.support.profiles import Profile
from tests.support.router_process import NewRouter, RouterProcess
from tests.support.scripted_pop3 import Pop3Server
from tests.support.traffic import Post, check_promoted

FAULTS = "SELECT count(*) > 0 FROM router.source WHERE fault IS NOT NULL"
"""Whether an admin is told that something is wrong."""


@pytest.fixture
def pop3(incoming: Profile, dovecot: Dovecot) -> Profile:
    """Dovecot's maildrops over TLS."""
    return lambda name="staff", **keys: incoming(
        name, **({"transport": "pop3", "port": dovecot.pop3s, "poll": 1} | keys)
    )


def plain(proxy: Proxy) -> dict[str, Any]:
    """The keys that lead through a proxy that can hear what is said; all that comes is promoted and deleted."""
    return {"port": proxy.port, "security": "none", "timeout": 2, "start": "all", "after": "delete"}


async def left(dovecot: Dovecot, mailboxes: list[str]) -> int:
    return sum([await asyncio.to_thread(dovecot.count, mailbox) for mailbox in mailboxes])


async def test_many_owners_each_with_a_secret_of_its_own(
    crm: Crm, new_router: NewRouter, pop3: Profile, dovecot: Dovecot, new_mailbox: Callable[[str], str], tmp_path: Path
) -> None:
    mailboxes = [new_mailbox(name) for name in ("sales", "info", "wrong")]
    for mailbox in mailboxes:
        await crm.owner(mailbox, "all")
        dovecot.deliver(mailbox, letter("old@out.test", mailbox, "from before"))
        (tmp_path / mailbox).write_text("not this" if "wrong" in mailbox else PASSWORD)
    auth = {"user": "{mailbox}", "password": {"file": str(tmp_path / "{mailbox}")}}
    await new_router(pop3(auth=auth))
    await crm.wait_for(2, "SELECT count(*) FROM router.source WHERE begins_at < 'infinity'")
    for mailbox in mailboxes:
        dovecot.deliver(mailbox, letter("karl@kunde.test", mailbox, f"to {mailbox}"))
    await crm.wait_for_emails(2)
    assert {row["subject"] for row in await crm.rows("SELECT subject FROM crm.email")} == {
        f"to {mailbox}" for mailbox in mailboxes[:2]
    }
    await crm.wait_for(1, "SELECT count(*) FROM router.source WHERE fault IS NOT NULL")
    [fault] = await crm.admin.fetch("SELECT mailbox, fault FROM router.source WHERE fault IS NOT NULL")
    assert fault["mailbox"] == mailboxes[2]
    assert "refuses the login" in fault["fault"]
    # What is read over POP3 does not look read, and stays.
    assert [len(dovecot.flags(mailbox)) for mailbox in mailboxes] == [2, 2, 2]
    assert all(flags == set() for mailbox in mailboxes for flags in dovecot.flags(mailbox).values())


async def test_a_mailbox_that_another_mail_program_has_locked_is_read_later(
    crm: Crm, new_router: NewRouter, pop3: Profile, mailbox: str
) -> None:
    await crm.owner(mailbox, "all")
    drop = [(b"1", letter("karl@kunde.test", mailbox, "hello"))]
    async with Pop3Server(drop, answers={"PASS": b"-ERR [IN-USE] locked by another session\r\n"}) as server:
        await new_router(pop3(port=server.port, security="none", start="all"))
        await crm.wait_for(True, FAULTS)
        assert "locked by another session" in await crm.admin.fetchval("SELECT fault FROM router.source")
        server.answers = {}
        await crm.wait_for_emails(1)
        await crm.wait_for(False, FAULTS)


async def test_ids_made_anew_bring_nothing_in_again(
    crm: Crm, new_router: NewRouter, pop3: Profile, dovecot: Dovecot, mailbox: str
) -> None:
    await crm.owner(mailbox, "all")
    old = [
        b"Received: from a by b; Mon, 1 Jun 2026 08:00:00 +0200\r\n"
        + letter("karl@kunde.test", mailbox, f"old {number}")
        for number in range(3)
    ]
    for message in old:
        dovecot.append(mailbox, message)
    await new_router(pop3())
    await crm.wait_for(1, "SELECT count(*) FROM router.source WHERE begins_at < 'infinity'")
    dovecot.deliver(mailbox, letter("karl@kunde.test", mailbox, "new"))
    await crm.wait_for_emails(1)
    # The same mail under other UIDs, as after a move to another server.
    messages = dovecot.messages(mailbox)
    with dovecot.connect(mailbox) as imap:
        imap.select()
        imap.store("1:*", "+FLAGS", "\\Deleted")
        imap.expunge()
    for message in messages.values():
        dovecot.append(mailbox, message)
    dovecot.deliver(mailbox, letter("karl@kunde.test", mailbox, "newer"))
    await crm.wait_for_emails(2)
    assert await crm.dispositions() == {"promoted": 2, "duplicate": 1}


async def test_only_headers_are_read_of_whom_nothing_is_promoted(
    crm: Crm, new_router: NewRouter, pop3: Profile, dovecot: Dovecot, mailbox: str
) -> None:
    await crm.owner(mailbox, "none")
    async with Proxy(dovecot.pop3, listening=True) as proxy:
        await new_router(pop3(port=proxy.port, security="none"))
        await crm.wait_for_sources(1)
        dovecot.deliver(mailbox, letter("karl@kunde.test", mailbox, "private", "nobody reads this"))
        await crm.wait_for_decisions(1)
        assert b"private" in proxy.heard
        assert b"nobody reads this" not in proxy.heard
        assert await crm.dispositions() == {"ignored": 1}


# kill -9

BEFORE_DELETE = "the commit is done, the mail server is not told"
BEFORE_QUIT = "the mail server was told what to delete, and not yet to do it"
AFTER_QUIT = "the mail server has deleted, and its answer is lost"
POINTS = [DECIDING, BEFORE_DELETE, BEFORE_QUIT, AFTER_QUIT, SETTLING]


async def kill_at(point: str, crm: Crm, router: RouterProcess, proxy: Proxy, post: Post) -> None:
    """Deliver some messages while the router starts, and kill it when it has come to this point with them."""
    if point == BEFORE_DELETE:
        proxy.hold_before(b"DELE ")
    elif point == BEFORE_QUIT:
        proxy.hold_after(b"DELE ")
    elif point == AFTER_QUIT:
        proxy.hold_after(b"QUIT")
    async with holding(crm, point) if point in (DECIDING, SETTLING) else nullcontext() as hold:
        await asyncio.gather(asyncio.to_thread(post.deliver, 12), router.start())
        if hold is not None:
            await hold.reached()
        else:
            await asyncio.wait_for(proxy.held.wait(), 20)
        await router.kill()
        proxy.cut()
        proxy.resume()
        if hold is not None:
            await hold.undo()


async def test_killed_at_any_moment_nothing_is_lost_and_nothing_stays(
    crm: Crm, new_router: NewRouter, pop3: Profile, dovecot: Dovecot, new_mailbox: Callable[[str], str]
) -> None:
    mailboxes = [new_mailbox(name) for name in ("ulla", "otto")]
    for mailbox in mailboxes:
        await crm.owner(mailbox, "all")
    post = Post(dovecot, mailboxes, Random(3))
    async with Proxy(dovecot.pop3) as proxy:
        router = await new_router(pop3(**plain(proxy)), lease=1)
        await router.kill()
        for point in POINTS:
            await kill_at(point, crm, router, proxy, post)
        await router.start()
        await check_promoted(crm, post)
        assert await left(dovecot, mailboxes) == 0


# Faults of the network and of the server


@dataclass
class Scene:
    """A router that reads maildrops through a proxy, and the mail that comes."""

    crm: Crm
    proxy: Proxy
    dovecot: Dovecot
    post: Post

    async def deliver(self) -> None:
        await asyncio.to_thread(self.post.deliver, 20)

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                await asyncio.sleep(0.01)

    async def amid(self, strike: Callable[[], object]) -> None:
        """Deliver, and strike once the router has begun with these."""
        known = await self.crm.admin.fetchval("SELECT count(*) FROM router.decision")
        delivering = asyncio.create_task(self.deliver())
        await self.crm.wait_for(True, "SELECT count(*) > $1 FROM router.decision", known)
        strike()
        await delivering


Fault = Callable[[Scene], Awaitable[None]]


async def every_chunk_is_late(scene: Scene) -> None:
    scene.proxy.delay = 0.02
    await scene.deliver()


async def cut(scene: Scene) -> None:
    for _times in range(3):
        await scene.amid(scene.proxy.cut)


async def half_open(scene: Scene) -> None:
    await scene.amid(scene.proxy.freeze)


async def reset_within_a_message(scene: Scene) -> None:
    scene.proxy.reset_within(rb"From: karl", 30)
    await scene.deliver()
    await scene.until(lambda: scene.proxy.struck)


async def lost_after(text: bytes, scene: Scene) -> None:
    scene.proxy.cut_after(text)
    await scene.deliver()
    await scene.until(lambda: scene.proxy.struck)
    scene.proxy.cut_after(b"")


async def lost_after_the_password(scene: Scene) -> None:
    await lost_after(b"AUTH PLAIN", scene)


async def lost_after_dele(scene: Scene) -> None:
    await lost_after(b"DELE ", scene)


async def lost_after_quit(scene: Scene) -> None:
    await lost_after(b"QUIT", scene)


async def connections_refused(scene: Scene) -> None:
    scene.proxy.refusing = True
    scene.proxy.cut()
    connections = scene.proxy.connections
    await scene.deliver()
    await scene.until(lambda: scene.proxy.connections > connections)
    scene.proxy.refusing = False


async def server_restarted(scene: Scene) -> None:
    await scene.deliver()
    await asyncio.to_thread(scene.dovecot.restart)


ALL: list[Fault] = [
    every_chunk_is_late,
    cut,
    half_open,
    reset_within_a_message,
    lost_after_the_password,
    lost_after_dele,
    lost_after_quit,
    connections_refused,
    server_restarted,
]


@pytest.mark.parametrize("fault", ALL, ids=lambda fault: fault.__name__)
async def test_recovers_by_itself(
    crm: Crm, new_router: NewRouter, pop3: Profile, dovecot: Dovecot, new_mailbox: Callable[[str], str], fault: Fault
) -> None:
    mailboxes = [new_mailbox(name) for name in ("ulla", "otto")]
    for mailbox in mailboxes:
        await crm.owner(mailbox, "all")
    post = Post(dovecot, mailboxes, Random(4))
    async with Proxy(dovecot.pop3) as proxy:
        router = await new_router(pop3(**plain(proxy)))
        await crm.wait_for_sources(len(mailboxes))
        await fault(Scene(crm, proxy, dovecot, post))
        await asyncio.to_thread(post.deliver, 5)
        await check_promoted(crm, post)
        await crm.wait_for(False, FAULTS)
        assert await left(dovecot, mailboxes) == 0
        assert router.running
