"""Simulating: two rules side by side, by what lies in the mailbox, and nothing is changed."""

from typing import Any

from tests.integration.test_letters import Ask
from tests.integration.test_letters import ask as ask  # noqa: PLC0414  # a fixture
from tests.servers.dovecot import Dovecot
from tests.support.crm import Crm
from tests.support.letters import letter
from tests.support.profiles import Profile
from tests.support.router_process import NewRouter

KARL = "karl@kunde.test"
EVERYTHING = """
    SELECT json_build_array(
        (SELECT json_agg(d ORDER BY id) FROM router.decision AS d), (SELECT json_agg(c) FROM router.source_count AS c),
        (SELECT json_agg(e ORDER BY id) FROM crm.email AS e), (SELECT json_agg(r) FROM crm.receipt AS r)
    )::text
"""


async def test_two_rules_are_compared_by_the_mail_that_lies_there_and_nothing_changes(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, ask: Ask
) -> None:
    await crm.owner(mailbox, "replies")
    await crm.record("contact", "Karl", KARL)
    await crm.admin.execute("UPDATE crm.owner SET tracking_rule = 'all'")
    dovecot.deliver(mailbox, letter(KARL, mailbox, "Offer", Message_ID="<1@kunde.test>"))
    router = await new_router(incoming(start="all", poll=1))
    await crm.wait_for_emails(1)
    await crm.admin.execute("UPDATE crm.owner SET tracking_rule = 'replies'")
    dovecot.deliver(mailbox, letter(KARL, mailbox, "New"))
    dovecot.deliver(mailbox, letter("stranger@out.test", mailbox, "private"))
    dovecot.deliver(mailbox, letter(KARL, mailbox, "Re: Offer", In_Reply_To="<1@kunde.test>"))
    await crm.wait_for_decisions(4)
    assert await crm.dispositions() == {"promoted": 2, "ignored": 2}
    before = await crm.admin.fetchval(EVERYTHING)

    said = await ask(router, "simulate", "--owner", mailbox, "--rule", "known")
    assert (said.status, said.err) == (0, "")
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert lines[0] == f"the newest 4 messages of {mailbox} that were decided on:"
    # By the rule that holds now the first, which was promoted by another, would be ignored.
    assert "promoted 1 3" in lines
    assert "ignored 3 1" in lines
    assert "ignored promoted 2 the sender is a contact, lead or account" in lines

    found: Any = (await ask(router, "simulate", "--owner", mailbox, "--rule", "all", "--last", "3", "--json")).json
    assert found["messages"] == 3
    assert (found["now"]["promoted"], found["then"]["promoted"]) == (1, 3)
    assert [one["email_id"] for one in found["changes"]] == [None, None]
    assert "private" not in said.out

    said = await ask(router, "simulate", "--owner", mailbox, "--rule", "replies", "--details")
    assert "none of them would have become anything else" in said.out
    assert await crm.admin.fetchval(EVERYTHING) == before


async def test_what_cannot_be_simulated_is_told(
    crm: Crm, new_router: NewRouter, incoming: Profile, mailbox: str, ask: Ask
) -> None:
    await crm.owner(mailbox, "none")
    router = await new_router(incoming())
    for arguments, words in {
        ("--owner", mailbox, "--rule", "some"): "'some' is none of all, replies, known, email-enabled, none",
        ("--owner", mailbox, "--rule", "all"): "nobody looks into its mail",
        ("--owner", "x@in.test", "--rule", "all"): "no owner has the mailbox x@in.test",
    }.items():
        said = await ask(router, "simulate", *arguments)
        assert (said.status, words in " ".join(said.err.replace("│", " ").split())) == (2, True), said
