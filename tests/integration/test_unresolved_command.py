"""The queue of unresolved senders, by commands: who waits, who each may be, and what a person says."""

import getpass
import json
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest

from router.operations import unresolved as operation
from tests.support.command import Said, type_command
from tests.support.crm import Crm
from tests.support.senders import STAFF, Senders

KARL, BERTA, DOMAIN = "karl@kunde.test", "berta@kunde.test", "@kunde.test"


Ask = Callable[..., Awaitable[Said]]


@pytest.fixture
def ask(database: str) -> Ask:
    """`await ask("list")`: what `email-router unresolved list` says, with nobody at a terminal."""

    async def ask(*arguments: str, answer: str = "") -> Said:
        return await type_command(database, "unresolved", *arguments, answer=answer)

    return ask


async def test_t01_senders_are_listed_with_how_many_of_their_emails_wait(senders: Senders, ask: Ask) -> None:
    assert (await ask("list")).out == "nobody waits\n"
    await senders.write(BERTA, name="Berta B")
    await senders.write(KARL, 3)
    await senders.write("else@other.test")
    found = (await ask("list", "--json")).json
    assert [(one["subject"], one["emails"]) for one in found["senders"]] == [
        (KARL, 3), (BERTA, 1), ("else@other.test", 1),
    ]  # fmt: skip
    assert [(one["subject"], one["emails"]) for one in found["domains"]] == [(DOMAIN, 4), ("@other.test", 1)]
    listed = (await ask("list", "--domain", "Kunde.test", "--owner", STAFF)).out
    assert "Berta B" in listed
    assert "other.test" not in listed
    assert (await ask("list", "--owner", "nobody@in.test")).out == "nobody waits\n"


async def test_t114_a_sender_is_resolved_after_a_yes_and_that_is_undone(crm: Crm, senders: Senders, ask: Ask) -> None:
    karl = await crm.record("contact", "Karl")
    await senders.write(KARL, 3)
    no = await ask("resolve", KARL, "--record", str(karl), answer="n\n")
    assert (no.status, "nothing was done" in no.err) == (1, True)
    nobody = await ask("resolve", KARL, "--record", str(karl))
    assert (nobody.status, "say --yes" in " ".join(nobody.err.replace("│", " ").split())) == (2, True)
    assert await senders.senders(KARL) == [None] * 3
    assert f"3 emails of {KARL} wait for a person; 3 unresolved parties will be record {karl}: go on?" in no.err
    assert await senders.senders(KARL) == [None] * 3
    yes = await ask("resolve", " Karl@KUNDE.test", "--record", str(karl), answer="y\n")
    assert yes.status == 0
    assert f"{KARL} is Karl ({karl}), as {getpass.getuser()} said at " in yes.out
    assert yes.out.endswith("resolved: 3 parties of mail that waited\n")
    assert await senders.senders(KARL) == [karl] * 3
    [listed] = (await ask("rulings", "--json")).json["rulings"]
    assert (listed["subject"], listed["parties"], listed["is_done"]) == (KARL, 3, True)
    undone = await ask("undo")
    assert "; undone by " in undone.out
    assert await senders.senders(KARL) == [None] * 3
    assert (await ask("rulings")).out == "there is no ruling\n"
    assert "undone by" in (await ask("rulings", "--all")).out
    again = await ask("undo", str(listed["id"]))
    assert again.status == 1
    assert again.err.startswith(f"{getpass.getuser()} undid ruling {listed['id']} at ")
    nothing = await ask("undo", "--by", "bob")
    assert (nothing.status, nothing.err) == (1, "bob has made no ruling that is not undone\n")


async def test_t112_a_ruling_of_another_is_replaced_only_by_who_knows_it(crm: Crm, senders: Senders, ask: Ask) -> None:
    one, two = await crm.record("contact", "One"), await crm.record("contact", "Two")
    await senders.write(KARL)
    first = await senders.rule(KARL, one, "ann")
    refused = await ask("resolve", KARL, "--record", str(two), "--yes")
    assert refused.status == 1
    assert refused.err.startswith(f"ann ruled on {KARL} at ")
    seen = await ask("ignore", KARL, answer="n\n")
    assert f"ruling {first}: {KARL} is One ({one}), as ann said at " in seen.err
    assert (await ask("resolve", KARL, "--record", str(two), "--yes", "--replaces", str(first))).status == 0
    assert await senders.senders(KARL) == [two]
    assert (await ask("undo", "--json")).json["parties"] == 0
    assert await senders.senders(KARL) == [one]


async def test_t116_an_ignored_sender_waits_no_more(senders: Senders, ask: Ask) -> None:
    await senders.write(KARL, 2)
    said = await ask("ignore", KARL, answer="y\n")
    assert f"2 emails of {KARL} wait for a person, and will not any more: go on?" in said.err
    assert f"{KARL} is ignored, as " in said.out
    assert await senders.waiting() == []


async def test_t117_what_cannot_be_ruled_is_said_in_words(crm: Crm, senders: Senders, ask: Ask) -> None:
    account = await crm.record("account", "Kunde")
    await senders.write("karl@gmail.com")
    refused = await ask("resolve", "@gmail.com", "--record", str(account), "--yes")
    assert (refused.status, refused.err) == (1, "anybody can have an address at gmail.com: it belongs to no record\n")
    assert (await ask("resolve", KARL, "--record", "Karl", "--yes")).status == 2
    # A record that is not there is told before anything is asked.
    for answer in (("--yes",), ()):
        unknown = await ask("resolve", KARL, "--record", str(uuid4()), *answer)
        assert (unknown.status, "there is no active record" in unknown.err, "go on?" in unknown.err) == (2, True, False)


async def test_t116_how_many_emails_of_an_address_wait_is_counted(senders: Senders) -> None:
    await senders.write(KARL, 2)
    await senders.write(BERTA)
    assert await operation.count_waiting(senders.database, "Karl@kunde.test") == 2
    assert await operation.count_waiting(senders.database, DOMAIN) == 3


async def test_a_sender_is_shown_with_who_it_may_be_and_its_mail(crm: Crm, senders: Senders, ask: Ask) -> None:
    await senders.write(KARL, name="Kunde, Karl")
    karl = await crm.record("contact", "Karl Kunde")
    said = (await ask("show", KARL)).out
    assert said.startswith(f"1 email of {KARL} waits: no record has the address\n")
    assert f"{karl}  contact  Karl Kunde  has the name of the sender\n" in said
    assert "number 1" in said
    document = (await ask("show", KARL, "--json")).json
    assert [one["record_id"] for one in document["candidates"]] == [str(karl)]
    await senders.rule(KARL, karl, done=False)
    assert "is not carried out for it" in (await ask("show", KARL)).out


async def test_t116_mail_without_a_sender_is_ignored_and_shown_as_such(senders: Senders, ask: Ask) -> None:
    await senders.promote([senders.copy(senders.message(KARL, mentions=()))])
    assert (await ask("show", "<>", "--json")).json["waiting"] == 1
    said = await ask("ignore", "<>", answer="y\n")
    assert (said.status, await senders.waiting()) == (0, [])
    assert "1 email of <> waits for a person" in said.err


async def test_t114_what_the_crm_has_locked_is_left_and_that_is_said(crm: Crm, senders: Senders, ask: Ask) -> None:
    karl = await crm.record("contact", "Karl")
    one, other = await senders.write(KARL, 2)
    resolve = ("resolve", KARL, "--record", str(karl), "--yes")
    async with crm.sql.transaction():
        await crm.sql.execute("SELECT FROM crm.party WHERE email_id = $1 AND role = 'from' FOR UPDATE", one)
        said = await ask(*resolve)
    assert said.status == 0
    assert "some of it may be left" in said.err
    assert [await senders.sender_of(email_id) for email_id in (one, other)] == [None, karl]
    await crm.admin.execute("UPDATE router.ruling_work SET try_at = now()")
    again = await ask(*resolve)
    assert again.err == ""
    assert await senders.senders(KARL) == [karl, karl]


async def test_t116_never_track_says_what_it_affects_and_future_mail_is_ignored(
    crm: Crm, senders: Senders, ask: Ask
) -> None:
    await senders.write(KARL, 3)
    no = await ask("never-track", KARL, answer="n\n")
    assert (no.status, "nothing was done" in no.err) == (1, True)
    nobody = await ask("never-track", KARL)
    assert (nobody.status, "say --yes" in " ".join(nobody.err.replace("│", " ").split())) == (2, True)
    assert f"3 emails of {KARL} wait for a person, will not any more, and stay in the CRM" in no.err
    assert await crm.admin.fetchval("SELECT count(*) FROM router.never_track") == 0
    yes = await ask("never-track", " Karl@KUNDE.test", "--by", "ann", answer="y\n")
    assert yes.status == 0
    assert yes.out.lstrip().startswith(f"{KARL} is never tracked for the organization\n")
    assert await senders.waiting() == []
    assert await senders.write(KARL) == []
    assert await crm.admin.fetchval("SELECT count(*) FROM crm.email") == 3
    again = (await ask("never-track", KARL, "--yes", "--json")).json
    assert (again["is_new"], again["waiting"], again["ruling"]["by"]) == (False, 0, "ann")
    number = again["ruling"]["id"]
    assert f'undone by: "email-router unresolved undo {number}"' in yes.out
    assert (await ask("undo", str(number))).status == 0
    assert await crm.admin.fetchval("SELECT count(*) FROM router.never_track") == 0
    assert len(await senders.write(KARL)) == 1
    assert await senders.waiting() == [KARL] * 4


async def test_t116_never_track_takes_a_domain_or_one_owners_mailbox(senders: Senders, ask: Ask) -> None:
    await senders.write(KARL)
    await senders.write(BERTA)
    of_owner = await ask("never-track", BERTA, "--owner", STAFF, answer="y\n")
    assert f"1 email of {BERTA} waits for a person in the mailbox of {STAFF}, and stays in the queue" in of_owner.err
    assert f'undone by: "email-router never-track remove {BERTA} --owner {STAFF}"' in of_owner.out
    assert sorted(await senders.waiting()) == [BERTA, KARL]
    assert await senders.write(BERTA) == []
    done = await ask("never-track", "Kunde.test", "--yes")
    assert done.out.startswith("kunde.test is never tracked for the organization\n")
    assert await senders.waiting() == []
    assert await senders.write(KARL) == []
    assert (await ask("never-track", "*.kunde.test", "--yes")).status == 2
    assert (await ask("never-track", KARL, "--owner", "nobody@in.test", "--yes")).status == 2


async def test_t116_what_somebody_else_ruled_is_never_tracked_only_by_who_knows_it(
    crm: Crm, senders: Senders, ask: Ask
) -> None:
    karl = await crm.record("contact", "Karl")
    await senders.write(KARL)
    ruling = await senders.rule(KARL, karl)
    refused = await ask("never-track", KARL, "--yes")
    assert (refused.status, f"ruling {ruling}" in refused.err) == (1, True)
    assert await crm.admin.fetchval("SELECT count(*) FROM router.never_track") == 0
    assert (await ask("never-track", KARL, "--yes", "--replaces", str(ruling))).status == 0


async def test_status_tells_how_many_senders_and_emails_wait(senders: Senders, database: str) -> None:
    async def status(*arguments: str) -> str:
        return (await type_command(database, "status", *arguments, profiles="/nowhere")).out

    assert "unresolved" not in await status()
    await senders.write(KARL, 3)
    await senders.write(BERTA)
    await senders.write("else@other.test")
    assert json.loads(await status("--json"))["unresolved"] == {
        "senders": 3, "emails": 5, "more_senders": False, "more_emails": False,
    }  # fmt: skip
    words = 'unresolved  3 senders whom nobody knows, with 5 emails: "email-router unresolved list"\n'
    assert words in await status()
