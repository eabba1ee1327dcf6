"""Sixty mailboxes in one router over TLS: all are served, with few connections as with enough of them."""

import asyncio
import smtplib
from collections.abc import Callable, Sequence

import pytest

from tests.servers.dovecot import HOST, Dovecot
from tests.support.crm import Crm
from tests.support.letters import letter
from tests.support.profiles import Profile
from tests.support.router_process import NewRouter

MAILBOXES = 60
BEGUN = "SELECT count(*) FROM router.source WHERE begins_at < 'infinity' AND fault IS NULL"
SERVED = """
    SELECT count(*) FROM crm.owner AS o WHERE (SELECT count(*) FROM crm.receipt WHERE owner_id = o.record_id) = $1
"""
"""How many owners have so many messages."""


@pytest.fixture
async def mailboxes(crm: Crm, new_mailbox: Callable[[str], str]) -> list[str]:
    made = [new_mailbox(f"user{number}") for number in range(MAILBOXES)]
    for mailbox in made:
        await crm.owner(mailbox, "all")
    return made


async def test_all_take_their_turns_at_ten_connections(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailboxes: list[str]
) -> None:
    await new_router(incoming(max_connections=10, poll=1))
    await crm.wait_for(MAILBOXES, BEGUN)
    # What one of them has plenty of keeps the others waiting no longer than their turn.
    await asyncio.to_thread(deliver, dovecot, mailboxes[:1] * 100)
    for number in (1, 2):
        await asyncio.to_thread(deliver, dovecot, mailboxes[1:])
        await crm.wait_for(MAILBOXES - 1, SERVED, number, timeout=40)
    await crm.wait_for(1, SERVED, 100)


async def test_with_connections_enough_all_are_told_at_once(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailboxes: list[str]
) -> None:
    # A poll would come too late for this test.
    await new_router(incoming(max_connections=MAILBOXES, poll=600))
    await crm.wait_for(MAILBOXES, BEGUN)
    await asyncio.to_thread(deliver, dovecot, mailboxes)
    await crm.wait_for(MAILBOXES, SERVED, 1)


def deliver(dovecot: Dovecot, mailboxes: Sequence[str]) -> None:
    with smtplib.LMTP(HOST, dovecot.lmtp) as lmtp:
        for mailbox in mailboxes:
            lmtp.sendmail("karl@kunde.test", [mailbox], letter("karl@kunde.test", mailbox))
