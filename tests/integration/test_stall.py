"""A router that hangs for longer than its lease, and a database that drops every connection: nothing comes twice."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

from tests.servers.dovecot import MASTER_PASSWORD, Dovecot
from tests.servers.proxy import Proxy
from tests.support.crm import Crm
from tests.support.holds import DECIDING, holding
from tests.support.router_process import NewRouter, RouterProcess
from tests.support.traffic import CONNECTIONS, Capture, Post, check_received, incoming, outgoing, queue, statuses

LEASE = 1
SENT = "SELECT count(*) FROM crm.email WHERE status = 'sent'"
STARTED = "SELECT count(*) FROM router.attempt WHERE started_at IS NOT NULL AND finished_at IS NULL"


@contextmanager
def stopped(router: RouterProcess) -> Iterator[None]:
    """Let it hang meanwhile."""
    os.kill(router.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(router.pid, signal.SIGCONT)


async def test_a_router_that_hangs_is_replaced_and_does_no_harm_when_it_comes_back(
    crm: Crm, new_router: NewRouter, dovecot: Dovecot, capture: Capture, mailbox: str
) -> None:
    await crm.owner(mailbox, "all")
    post = Post(dovecot, [mailbox], Random(1))
    async with Proxy(dovecot.imap) as imap, Proxy(capture.port) as smtp:
        profiles = incoming(imap.port) + outgoing(smtp.port)
        first = await new_router(profiles, lease=LEASE, IMAP_PASSWORD=MASTER_PASSWORD)
        # Connections to the relay are open, as a rule all of them.
        await queue(crm, 20, [mailbox])
        await crm.wait_for(20, SENT)
        imap.hold_before(b" STORE ")
        smtp.hold_after(b"\r\n.\r\n")
        await asyncio.to_thread(post.deliver, 30)
        await queue(crm, 60, [mailbox])
        await asyncio.wait_for(imap.held.wait(), 20)
        await asyncio.wait_for(smtp.held.wait(), 20)
        await crm.wait_for(CONNECTIONS, "SELECT count(*) FROM crm.email WHERE status = 'sending'")
        unknown = await crm.admin.fetchval(STARTED)
        assert unknown > 0
        with stopped(first):
            profiles = incoming(dovecot.imap) + outgoing(capture.port)
            await new_router(profiles, lease=LEASE, IMAP_PASSWORD=MASTER_PASSWORD)
            await crm.wait_for(0, "SELECT count(*) FROM router.outbox")
            await crm.wait_for(30, "SELECT count(*) FROM crm.email WHERE direction = 'in'")
            assert await statuses(crm) == {"received": 30, "sent": 80 - unknown, "unknown": unknown}
            await check_received(crm, dovecot, post)
            imap.resume()
            smtp.resume()
        await crm.wait_for(
            80, SENT
        )  # the first one has recorded what only it knew: one had left, and the others had not
        await asyncio.to_thread(post.deliver, 20)
        await queue(crm, 20, [mailbox])
        await check_received(crm, dovecot, post)
        await crm.wait_for(100, SENT)
        assert len(capture.accepted) == 100
        assert set(capture.accepted.values()) == {1}


async def test_a_router_that_hangs_within_a_transaction_does_not_lock_its_mailbox(
    crm: Crm, new_router: NewRouter, dovecot: Dovecot, mailbox: str
) -> None:
    await crm.owner(mailbox, "all")
    post = Post(dovecot, [mailbox], Random(1))
    profile = incoming(dovecot.imap)
    first = await new_router(profile, lease=LEASE, IMAP_PASSWORD=MASTER_PASSWORD)
    async with holding(crm, DECIDING) as hold:
        await asyncio.to_thread(post.deliver, 10)
        await hold.reached()
        with stopped(first):
            await hold.release()
            await new_router(profile, lease=LEASE, IMAP_PASSWORD=MASTER_PASSWORD)
            await check_received(crm, dovecot, post)
    await asyncio.to_thread(post.deliver, 10)
    await check_received(crm, dovecot, post)


async def test_goes_on_by_itself_when_the_database_drops_every_connection(
    crm: Crm, new_router: NewRouter, dovecot: Dovecot, capture: Capture, new_mailbox: Callable[[str], str]
) -> None:
    dice = Random(6)
    mailboxes = [new_mailbox("ulla"), new_mailbox("otto")]
    for mailbox in mailboxes:
        await crm.owner(mailbox, "all")
    post = Post(dovecot, mailboxes, dice)
    profiles = incoming(dovecot.imap) + outgoing(capture.port)
    await new_router(profiles, lease=LEASE, IMAP_PASSWORD=MASTER_PASSWORD)
    delivery = asyncio.create_task(asyncio.to_thread(post.deliver, 100))
    await queue(crm, 100, mailboxes)
    for number in range(6):
        done = number * 25 + dice.randrange(1, 25)
        progress = f"SELECT (SELECT count(*) FROM router.decision) + ({SENT}) >= $1"
        await crm.wait_for(True, progress, done)
        await crm.admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name LIKE 'email-router%'"
        )
    await delivery
    await check_received(crm, dovecot, post)
    await crm.wait_for(100, SENT, timeout=30)
    assert len(capture.accepted) == 100
    assert set(capture.accepted.values()) == {1}
