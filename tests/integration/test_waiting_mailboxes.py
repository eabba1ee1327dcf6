"""An answer that came first, in real mailboxes: what was ignored is fetched again, brought in, and settled (T34)."""

import pytest

from tests.integration.test_forward import NewMailbox, Sink, sink
from tests.integration.test_shared import two_routers
from tests.servers.dovecot import Dovecot
from tests.support.crm import Crm
from tests.support.forwards import forwarding
from tests.support.letters import letter
from tests.support.profiles import Profile
from tests.support.router_process import NewRouter

__all__ = ["sink"]  # a fixture

QUESTION, ANSWER = "<question@kunde.test>", "<answer@kunde.test>"
LINKED = """
SELECT count(*) FROM crm.email AS answer JOIN crm.email AS question ON question.id = answer.correlated_id
WHERE answer.message_id = 'answer@kunde.test' AND question.message_id = 'question@kunde.test'
"""
LATER = "the email that it answers came later, so it was decided again"


async def test_t34_two_routers_bring_in_an_answer_that_was_ignored_until_the_question_came_elsewhere(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, new_mailbox: NewMailbox
) -> None:
    asked, asking = new_mailbox("asked"), new_mailbox("asking")
    await crm.owner(asked, "replies")
    await crm.owner(asking, "all")
    await two_routers(crm, new_router, incoming(after="seen", poll=1), 2)
    dovecot.deliver(asked, letter("friend@home.test", asked, "private"))
    dovecot.deliver(asked, letter("karl@kunde.test", asked, "Re: chairs", Message_ID=ANSWER, In_Reply_To=QUESTION))
    await crm.wait_for_decisions(2)
    assert await crm.dispositions() == {"ignored": 2}
    dovecot.deliver(asking, letter("karl@kunde.test", asking, "chairs", Message_ID=QUESTION))
    await crm.wait_for(1, LINKED)
    await crm.wait_for(0, "SELECT count(*) FROM router.decision WHERE settled_at IS NULL")
    assert await crm.dispositions() == {"ignored": 1, "promoted": 2}
    assert list(dovecot.flags(asked).values()) == [set(), {"\\Seen"}]
    counts = "SELECT sum(promoted), sum(duplicate), sum(ignored), sum(held), sum(dead) FROM router.source_count"
    [count] = await crm.admin.fetch(counts)
    assert tuple(count) == (2, 0, 1, 0, 0)
    [email] = await crm.rows("SELECT * FROM crm.email WHERE message_id = 'answer@kunde.test'")
    events = await crm.rows("SELECT kind FROM crm.event WHERE email_id = $1", email["id"])
    assert [event["kind"] for event in events] == ["promoted"]


async def test_t34_an_answer_is_brought_in_when_the_crm_inserts_the_email_that_it_answers(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str
) -> None:
    owner = await crm.owner(mailbox, "replies")
    await new_router(incoming(poll=1))
    await crm.wait_for_sources(1)
    dovecot.deliver(mailbox, letter("karl@kunde.test", mailbox, "Re: chairs", Message_ID=ANSWER, In_Reply_To=QUESTION))
    await crm.wait_for_decisions(1)
    regarding = await crm.record("opportunity", "Two hundred chairs")
    await crm.sql.execute(
        "INSERT INTO crm.email (direction, status, message_id, subject, owner_id, regarding_id) "
        "VALUES ('out', 'sent', 'question@kunde.test', 'chairs', $1, $2)",
        owner,
        regarding,
    )
    await crm.wait_for(1, LINKED)
    assert await crm.admin.fetchval("SELECT regarding_id FROM crm.email WHERE direction = 'in'") == regarding


@pytest.mark.parametrize("after", ["seen", "delete"])
async def test_t34_what_was_forwarded_is_decided_again_where_it_is_still_there(
    crm: Crm,
    new_router: NewRouter,
    sink: Sink,  # pytest's way
    after: str,
) -> None:
    await crm.owner("ulla@in.test", "replies")
    await crm.owner("otto@in.test", "all")
    await new_router(sink.profile(after=after, poll=1))
    await crm.wait_for_sources(1)
    answer = letter("karl@kunde.test", "ulla@in.test", "Re: chairs", Message_ID=ANSWER, In_Reply_To=QUESTION)
    private = letter("friend@home.test", "ulla@in.test", "private")
    sink.deliver(forwarding("ulla@in.test", [private, answer]))
    await crm.wait_for_decisions(2)
    await crm.wait_for(0, "SELECT count(*) FROM router.decision WHERE settled_at IS NULL")
    question = letter("karl@kunde.test", "otto@in.test", "chairs", Message_ID=QUESTION)
    sink.deliver(forwarding("otto@in.test", [question]))
    if after == "delete":
        words = f"{LATER}; but it is not where it was any more"
        await crm.wait_for(1, f"SELECT count(*) FROM router.decision WHERE '{words}' = ANY(reasons)")
        assert await crm.dispositions() == {"ignored": 2, "promoted": 1}
        return
    await crm.wait_for(1, LINKED)
    assert await crm.dispositions() == {"ignored": 1, "promoted": 2}
    assert await crm.admin.fetchval("SELECT count(*) FROM router.decision WHERE settled_at IS NULL") == 0
    assert list(sink._dovecot.flags(sink.address).values()) == [{"\\Seen"}] * 2
