"""What an audit leaves out is told: owners whom nobody serves or who are not approved, and profiles that are broken."""

import pytest

from tests.integration.test_letters import Ask
from tests.integration.test_letters import ask as ask  # noqa: PLC0414  # a fixture
from tests.servers.dovecot import Dovecot
from tests.support.crm import Crm
from tests.support.letters import letter
from tests.support.profiles import Profile
from tests.support.router_process import NewRouter

KARL = "karl@kunde.test"


async def test_an_owner_whom_nobody_serves_is_a_fault_of_status_and_of_the_audit(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, ask: Ask
) -> None:
    await crm.owner(mailbox, "all")
    await crm.owner("nothing@velo.test", "none")
    dovecot.deliver(mailbox, letter(KARL, mailbox, "one"))
    router = await new_router(incoming(start="all"))
    await crm.wait_for_emails(1)
    # Under the rule "none" nothing is to be read.
    assert (await ask(router, "audit")).status == 0
    assert (await ask(router, "status")).status == 0

    await crm.owner("emil@velo.test", "all")
    said = await ask(router, "audit")
    assert said.status == 1
    assert said.out == (
        "not audited emil@velo.test: no profile serves it\n"
        "1 message in 1 folder, 0 unaccounted of what was asked; 1 mailbox not audited, or not to the end\n"
    )
    assert (await ask(router, "audit", "staff")).status == 0
    assert (await ask(router, "audit", "--owner", "emil@velo.test")).status == 1
    said = await ask(router, "status", "--faults")
    assert said.status == 1
    assert said.out == (
        "at fault    owner emil@velo.test: no incoming profile serves it, so nothing of its mail is read: "
        'add it to the "owners" of one\n'
    )
    assert (await ask(router, "status", "--profile", "staff")).status == 0
    assert (await ask(router, "status", "--mailbox", mailbox)).status == 0
    assert (await ask(router, "status", "--mailbox", "Emil@velo.test")).status == 1


async def test_an_owner_who_is_not_approved_is_told_with_what_to_do(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, ask: Ask
) -> None:
    await crm.owner(mailbox, "all")
    await crm.owner("dora@in.test", "all", approved=False)
    dovecot.deliver(mailbox, letter(KARL, mailbox, "one"))
    router = await new_router(incoming(start="all"))
    await crm.wait_for_emails(1)
    said = await ask(router, "audit")
    assert (said.status, said.out) == (
        0,
        "1 message in 1 folder, 0 unaccounted; 1 owner not approved, not asked\n",
    )
    assert (await ask(router, "audit", "--json")).json["not_approved"] == ["dora@in.test"]
    said = await ask(router, "audit", "--owner", "dora@in.test")
    assert said.status == 2
    assert "email-router owners approve dora@in.test" in " ".join(said.err.replace("│", " ").split())
    said = await ask(router, "audit", "--owner", "nobody@in.test")
    assert said.status == 2
    assert "no owner has the mailbox nobody@in.test" in said.err


@pytest.mark.parametrize("broken", ["key", "file"])
async def test_a_broken_profile_keeps_none_of_the_others_from_being_audited(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, ask: Ask, broken: str
) -> None:
    await crm.owner(mailbox, "all")
    await crm.owner("bob@else.test", "all")
    dovecot.deliver(mailbox, letter(KARL, mailbox, "one"))
    router = await new_router(incoming(start="all"))
    await crm.wait_for_emails(1)
    other = incoming("other", owners=["*@else.test"], poll="soon")
    (router.profiles / "other.toml").write_text(other if broken == "key" else "[incoming.other")
    said = await ask(router, "audit")
    assert said.status == 1
    assert "\n1 message in 1 folder, 0 unaccounted of what was asked; 1 mailbox not audited" in said.out
    assert said.out.startswith("not audited other.toml:")
    assert "not audited other bob@else.test: the profile is broken\n" in said.out or broken == "file"
    found = (await ask(router, "audit", "--json")).json
    assert (found["ok"], len(found["mistakes"]), found["messages"]) == (False, 1, 1)
    assert found["mistakes"][0].startswith("other.toml:")
    # Of what is asked for, nothing is wrong.
    assert (await ask(router, "audit", "staff")).status == 0
    assert (await ask(router, "audit", "--owner", mailbox)).status == 0
    said = await ask(router, "audit", "other")
    assert said.status == 1
    assert "other.toml:" in said.out + said.err
