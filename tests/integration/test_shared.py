"""The same message in several owners' mailboxes, and several routers on one database."""

import asyncio
from collections import Counter
from collections.abc import Callable
from email import message_from_bytes

import pytest

from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Delivered, Postfix
from tests.support.crm import Crm
from tests.support.letters import letter
from tests.support.profiles import Profile
from tests.support.router_process import NewRouter, RouterProcess

NewMailbox = Callable[[str], str]

HELD_BY = "SELECT count(*) FROM router.source AS s JOIN router.process AS p ON p.id = s.process_id WHERE p.pid = $1"


async def test_one_message_in_three_mailboxes_is_one_email(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, new_mailbox: NewMailbox
) -> None:
    mailboxes = [new_mailbox(name) for name in ("ulla", "otto", "sales")]
    owners = [await crm.owner(mailbox, "all") for mailbox in mailboxes]
    await new_router(incoming())
    await crm.wait_for_sources(3)
    message = letter("karl@kunde.test", ", ".join(mailboxes))
    for mailbox in mailboxes:
        # Each mail server on the way adds headers of its own.
        dovecot.deliver(mailbox, b"Received: by the way to " + mailbox.encode() + b"\r\n" + message)
    await crm.wait_for_decisions(3)
    [email] = await crm.rows("SELECT * FROM crm.email")
    receipts = await crm.rows("SELECT * FROM crm.receipt")
    assert sorted(receipt["owner_id"] for receipt in receipts) == sorted(owners)
    assert {receipt["email_id"] for receipt in receipts} == {email["id"]}
    assert await crm.dispositions() == {"promoted": 1, "duplicate": 2}
    with dovecot.connect(mailboxes[0]) as imap:
        imap.select("INBOX")
        imap.uid("COPY", "1", "INBOX")
    await crm.wait_for_decisions(4)
    events = await crm.rows("SELECT kind FROM crm.event ORDER BY kind")
    assert [event["kind"] for event in events] == ["promoted", "received", "received"]


async def test_an_erased_email_does_not_come_back_with_the_next_copy(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, new_mailbox: NewMailbox
) -> None:
    mailboxes = [new_mailbox(name) for name in ("ulla", "otto")]
    for mailbox in mailboxes:
        await crm.owner(mailbox, "all")
    await new_router(incoming())
    await crm.wait_for_sources(2)
    message = letter("karl@kunde.test", ", ".join(mailboxes))
    dovecot.deliver(mailboxes[0], message)
    await crm.wait_for_emails(1)
    await crm.sql.execute("DELETE FROM crm.email")
    dovecot.deliver(mailboxes[1], message)
    await crm.wait_for_decisions(2)
    assert await crm.dispositions() == {"promoted": 1, "duplicate": 1}
    assert await crm.rows("SELECT * FROM crm.email") == await crm.rows("SELECT * FROM crm.receipt") == []


@pytest.mark.parametrize("first", ["none", "all"])
async def test_t09_what_none_ignores_stays_ignored(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, new_mailbox: NewMailbox, first: str
) -> None:
    dispositions, receipts = await by_rule(crm, new_router, incoming, dovecot, new_mailbox, ["none", "all"], first)
    assert dispositions == {"none": "ignored", "all": "promoted"}
    assert receipts == ["all"]


@pytest.mark.parametrize("first", ["replies", "all"])
async def test_t09b_what_was_ignored_becomes_a_duplicate(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, new_mailbox: NewMailbox, first: str
) -> None:
    dispositions, receipts = await by_rule(crm, new_router, incoming, dovecot, new_mailbox, ["replies", "all"], first)
    assert dispositions == {"replies": "duplicate", "all": "promoted"}
    assert receipts == ["all", "replies"]


async def by_rule(
    crm: Crm,
    new_router: NewRouter,
    incoming: Profile,
    dovecot: Dovecot,
    new_mailbox: NewMailbox,
    rules: list[str],
    first: str,
) -> tuple[dict[str, str], list[str]]:
    """Deliver one message to an owner of each rule, to `first` first; return what became of each, and the receipts."""
    mailboxes = {rule: new_mailbox(rule) for rule in rules}
    for rule, mailbox in mailboxes.items():
        await crm.owner(mailbox, rule)
    await new_router(incoming())
    await crm.wait_for_sources(2)
    message = letter("karl@kunde.test", ", ".join(mailboxes.values()))
    for number, rule in enumerate(sorted(rules, key=lambda rule: rule != first), 1):
        dovecot.deliver(mailboxes[rule], message)
        await crm.wait_for_decisions(number)
    assert len(await crm.rows("SELECT * FROM crm.email")) == 1
    decisions = await crm.admin.fetch("SELECT rule, disposition FROM router.decision")
    receipts = await crm.admin.fetch(
        "SELECT o.tracking_rule AS rule FROM crm.receipt AS r JOIN crm.owner AS o ON o.record_id = r.owner_id "
        "ORDER BY o.tracking_rule"
    )
    return {row["rule"]: row["disposition"] for row in decisions}, [row["rule"] for row in receipts]


async def test_t10_two_routers_fetch_the_same_messages_at_once(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, new_mailbox: NewMailbox
) -> None:
    mailboxes = [new_mailbox(name) for name in ("ulla", "otto", "sales")]
    for mailbox in mailboxes:
        await crm.owner(mailbox, "all")
    await two_routers(crm, new_router, incoming(), 3)
    messages = [letter("karl@kunde.test", ", ".join(mailboxes), f"number {number}") for number in range(10)]
    await asyncio.gather(
        *(asyncio.to_thread(deliver_all, dovecot, mailbox, messages[number:] + messages[:number])
          for number, mailbox in enumerate(mailboxes))
    )  # fmt: skip
    await crm.wait_for_decisions(30)
    assert await crm.dispositions() == {"promoted": 10, "duplicate": 20}
    receipts = await crm.rows("SELECT email_id, count(*) FROM crm.receipt GROUP BY email_id")
    assert [row["count"] for row in receipts] == [3] * 10


async def test_two_routers_share_the_work_and_one_takes_over_from_the_other(
    crm: Crm,
    new_router: NewRouter,
    incoming: Profile,
    outgoing: Profile,
    dovecot: Dovecot,
    postfix: Postfix,
    new_mailbox: NewMailbox,
) -> None:
    mailboxes = [new_mailbox(name) for name in ("ulla", "otto", "sales")]
    customer = new_mailbox("customer").replace("@in.test", "@kunde.test")
    for mailbox in mailboxes:
        await crm.owner(mailbox, "all")
    first, second = await two_routers(crm, new_router, incoming() + outgoing(), 3)

    letters = {
        mailbox: [letter(customer, mailbox, f"{number} for {mailbox}") for number in range(20)] for mailbox in mailboxes
    }
    async with asyncio.TaskGroup() as group:
        for mailbox, messages in letters.items():
            group.create_task(asyncio.to_thread(deliver_all, dovecot, mailbox, messages))
        for number in range(60):
            await crm.send(mailboxes[number % 3], customer, f"offer {number}")
    await crm.wait_for_emails(60)
    await crm.wait_for(60, "SELECT count(*) FROM crm.email WHERE status = 'sent'")
    received = [message_from_bytes(one.message)["Subject"] for one in await arrived(postfix, 60, customer)]
    assert Counter(subject.rpartition(" CRM:")[0] for subject in received) == {
        f"offer {number}": 1 for number in range(60)
    }
    assert await crm.dispositions() == {"promoted": 60}
    subjects = await crm.rows("SELECT DISTINCT subject FROM crm.email WHERE direction = 'in'")
    assert len(subjects) == 60

    await first.kill()
    await crm.wait_for(3, HELD_BY, second.pid)
    for mailbox in mailboxes:
        dovecot.deliver(mailbox, letter(customer, mailbox, "after the death"))
    await crm.wait_for_emails(63)
    await crm.wait_for_status(await crm.send(mailboxes[0], customer, "after the death"), "sent")
    assert await crm.dispositions() == {"promoted": 63}


async def two_routers(
    crm: Crm, new_router: NewRouter, profiles: str, sources: int
) -> tuple[RouterProcess, RouterProcess]:
    """Start two, and return when they have divided the sources fairly."""
    first = await new_router(profiles)
    await crm.wait_for_sources(sources)
    second = await new_router(profiles)
    await crm.wait_for(sources // 2, HELD_BY, second.pid)
    await crm.wait_for_sources(sources)
    return first, second


async def arrived(postfix: Postfix, count: int, address: str) -> list[Delivered]:
    return await asyncio.to_thread(postfix.wait_for, count, address)


def deliver_all(dovecot: Dovecot, mailbox: str, messages: list[bytes]) -> None:
    for message in messages:
        dovecot.deliver(mailbox, message)
