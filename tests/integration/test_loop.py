"""Machines that answer machines: a loop is cut, and seen; people are never cut off."""

from uuid import UUID

import pytest

from router.decide.loop import MOST_AUTOMATIC
from tests.servers.dovecot import Dovecot
from tests.support.crm import Crm
from tests.support.letters import letter, new_id
from tests.support.profiles import Profile
from tests.support.router_process import NewRouter

HELD = (
    "SELECT count(*) FROM router.decision WHERE disposition = 'held' AND reasons[cardinality(reasons)] LIKE 'loop: %'"
)


@pytest.fixture
async def question(crm: Crm, dovecot: Dovecot, mailbox: str) -> str:
    """The Message-ID of the mail with which the thread begins."""
    await crm.owner(mailbox, "all")
    message_id = new_id()
    dovecot.deliver(mailbox, letter("karl@kunde.test", mailbox, "A chair broke", Message_ID=message_id))
    return message_id


def automatic(number: int, mailbox: str, answers: str, domain: str = "kunde.test") -> tuple[str, bytes]:
    message_id = new_id()
    content = letter(
        f"machine{number}@{domain}",
        mailbox,
        f"Automatic {number}",
        Message_ID=message_id,
        In_Reply_To=answers,
        Auto_Submitted="auto-replied",
    )
    return message_id, content


@pytest.mark.parametrize("each_answers", ["the first", "the last"])
async def test_t76_thirty_automatic_messages_of_one_domain_to_one_thread_are_cut(
    crm: Crm,
    new_router: NewRouter,
    incoming: Profile,
    dovecot: Dovecot,
    mailbox: str,
    question: str,
    each_answers: str,
) -> None:
    answers = question
    for number in range(15):
        message_id, content = automatic(number, mailbox, answers)
        dovecot.deliver(mailbox, content)
        answers = message_id if each_answers == "the last" and number < MOST_AUTOMATIC else answers
    await new_router(incoming(start="all"))
    await crm.wait_for_decisions(16)
    # The same again, one by one: now it is the database that remembers.
    for number in range(15, 30):
        dovecot.deliver(mailbox, automatic(number, mailbox, answers)[1])
        await crm.wait_for_decisions(number + 2)
    assert await crm.dispositions() == {"promoted": 1 + MOST_AUTOMATIC, "held": 30 - MOST_AUTOMATIC}
    assert await crm.admin.fetchval(HELD) == 30 - MOST_AUTOMATIC
    assert await crm.rows("SELECT id FROM crm.email WHERE direction = 'out'") == []


async def test_t76_people_other_threads_other_domains_and_the_next_hour_are_not_cut(
    crm: Crm,
    new_router: NewRouter,
    incoming: Profile,
    dovecot: Dovecot,
    mailbox: str,
    question: str,
) -> None:
    other = new_id()
    dovecot.deliver(mailbox, letter("karl@kunde.test", mailbox, "A table broke", Message_ID=other))
    await new_router(incoming(start="all"))
    await crm.wait_for_decisions(2)
    for number in range(MOST_AUTOMATIC + 2):
        dovecot.deliver(mailbox, automatic(number, mailbox, question)[1])
    await crm.wait_for_decisions(MOST_AUTOMATIC + 4)
    assert await crm.admin.fetchval(HELD) == 2

    dovecot.deliver(mailbox, letter("karl@kunde.test", mailbox, "Re: A chair broke", In_Reply_To=question))
    dovecot.deliver(mailbox, automatic(50, mailbox, other)[1])
    dovecot.deliver(mailbox, automatic(51, mailbox, question, "else.test")[1])
    await crm.wait_for_decisions(MOST_AUTOMATIC + 7)
    assert await crm.admin.fetchval(HELD) == 2

    await crm.admin.execute("UPDATE crm.email SET created_at = created_at - interval '61 minutes'")
    dovecot.deliver(mailbox, automatic(52, mailbox, question)[1])
    await crm.wait_for_decisions(MOST_AUTOMATIC + 8)
    assert await crm.admin.fetchval(HELD) == 2
    [last] = await crm.rows("SELECT correlated_id FROM crm.email WHERE subject = 'Automatic 52'")
    assert isinstance(last["correlated_id"], UUID)
