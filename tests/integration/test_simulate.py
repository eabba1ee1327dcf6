"""Simulating: two rules side by side, by what lies in the mailbox, and nothing is changed."""

import re
from typing import Any

import aiohttp
import pytest

from router.operations.backing import Backing
from router.profile import load
from router.read import read
from router.repository.database import Database
from router.settings import Settings
from router.unwrap import unwrap
from router.workers.pool import Workers
from tests.integration.test_letters import Ask
from tests.integration.test_letters import ask as ask  # noqa: PLC0414  # a fixture
from tests.integration.test_pages import HERE
from tests.integration.test_pages import ask as ask_page
from tests.servers.dovecot import Dovecot
from tests.support.crm import Crm
from tests.support.letters import letter
from tests.support.pages import serving
from tests.support.profiles import SECRETS, Profile
from tests.support.router_process import NewRouter

KARL = "karl@kunde.test"
EVERYTHING = """
    SELECT json_build_array(
        (SELECT json_agg(d ORDER BY id) FROM router.decision AS d), (SELECT json_agg(c) FROM router.source_count AS c),
        (SELECT json_agg(e ORDER BY id) FROM crm.email AS e), (SELECT json_agg(r) FROM crm.receipt AS r)
    )::text
"""


async def test_two_rules_are_compared_by_the_mail_that_lies_there_and_nothing_changes(
    crm: Crm,
    new_router: NewRouter,
    incoming: Profile,
    dovecot: Dovecot,
    mailbox: str,
    ask: Ask,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
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

    # The same on the page, beside which nothing waits for it.
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    profiles = load(router.profiles)
    backing = Backing(lambda: profiles, Settings(profiles=router.profiles))
    async with (
        Database(database, connections=4) as opened,
        Workers(read, unwrap, limit=10, size=1) as workers,
        serving(opened, backing=backing) as console,
        aiohttp.ClientSession(console.origin, cookie_jar=aiohttp.DummyCookieJar()) as client,
    ):
        backing.use_workers(workers)
        await console.add("ann")
        session = await console.session("ann")
        page = await ask_page(client, "/owners/simulate", session)
        form = {"csrf": page.csrf, "mailbox": mailbox, "rule": "known", "last": "50"}
        begun = await ask_page(client, "/owners/simulate", session, headers=HERE, data=form)
        assert begun.status == 303
        while "Comparing" in (page := await ask_page(client, begun.headers["Location"], session)).text:
            part = await ask_page(client, begun.headers["Location"], session, headers={"HX-Request": "true"})
            assert "<html" not in part.text
        words = " ".join(re.sub("<[^>]*>", " ", page.text).split())
        assert f"2 of 4 messages of {mailbox} would have become something else by known" in words
        assert "promoted 1 3" in words
        assert "ignored promoted 2 the sender is a contact, lead or account" in words
        # What cannot be compared is told there.
        form["mailbox"] = "x@in.test"
        begun = await ask_page(client, "/owners/simulate", session, headers=HERE, data=form)
        while "Comparing" in (page := await ask_page(client, begun.headers["Location"], session)).text:
            pass
        assert "No owner has the mailbox x@in.test." in page.text
        gone = await ask_page(client, "/owners/simulate?id=none", session)
        assert (gone.status, "begin it again" in gone.text) == (404, True), gone.text
        noted = await crm.admin.fetch("SELECT by, subject FROM router.audit_log WHERE action = 'rule-simulated'")
        assert [tuple(one) for one in noted] == [("ann", mailbox), ("ann", "x@in.test")]
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
