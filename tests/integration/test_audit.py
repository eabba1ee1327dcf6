"""The audit: every message on the mail server is accounted for, or is told to be missing; and no alarm is false."""

import asyncio
import imaplib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest
import structlog

from router.health import Health
from router.incoming import audit as incoming_audit
from router.incoming import rounds
from router.incoming.accounting import Accountant
from router.incoming.audit import Auditor
from router.incoming.mailboxes import Holding
from router.incoming.turns import Slots
from router.model.tally import Tally
from router.operations import audit as operation
from router.operations.audit import MailboxAudit
from router.profile import read_folder
from router.read import read
from router.repository import processes
from router.repository.database import Database
from router.repository.incoming import audit as repository
from router.unwrap import unwrap
from router.workers.pool import Workers
from tests.integration.test_forward import Sink
from tests.integration.test_forward import sink as sink  # noqa: PLC0414  # a fixture
from tests.integration.test_letters import Ask
from tests.integration.test_letters import ask as ask  # noqa: PLC0414  # a fixture
from tests.servers.dovecot import Dovecot
from tests.servers.process import wait_until
from tests.servers.proxy import Proxy
from tests.support.crm import Crm
from tests.support.forwards import forwarding
from tests.support.letters import letter
from tests.support.profiles import SECRETS, Profile
from tests.support.router_process import NewRouter
from tests.support.traffic import Post, check_promoted
from transports.base import Account
from transports.imap import walk

KARL = "karl@kunde.test"

Audit = Callable[..., Awaitable[MailboxAudit]]


@pytest.fixture
async def parsers() -> AsyncIterator[Workers]:
    async with Workers(read, unwrap, limit=30, size=1) as workers:
        yield workers


@pytest.fixture
async def audit(database: str, parsers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`await audit(profiles, repair=True)` audits the only mailbox there is, in the test's own process."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "audited"
    folder.mkdir()
    monkeypatch.setattr(incoming_audit, "PAUSE", 0)

    async with Database(database) as opened:

        async def audit(profiles: str, mailbox: str | None = None, **more: Any) -> MailboxAudit:
            (folder / "all.toml").write_text(profiles)
            plan = await operation.plan(opened, read_folder(folder), None, mailbox)
            [found] = [one async for one in operation.audit(opened, parsers, plan.mailboxes, **more)]
            return found

        yield audit


def came_to(found: MailboxAudit) -> dict[str, int]:
    """What the messages are, as far as there are any."""
    assert found.faults == []
    return {what: number for what, number in found.tally.as_dict().items() if number}


async def lose(crm: Crm, subject: str) -> None:
    """As if the message had never been seen, though the cursor is behind it: what a fault of the router's would do."""
    email_id = await crm.admin.fetchval("DELETE FROM crm.email WHERE subject = $1 RETURNING id", subject)
    assert email_id is not None
    rows = await crm.admin.fetch("DELETE FROM router.decision WHERE email_id = $1 RETURNING source_id", email_id)
    for row in rows:
        await crm.admin.execute(
            "UPDATE router.source_count SET promoted = promoted - 1 WHERE source_id = $1", row["source_id"]
        )
    for table in ("message", "message_id", "known_id"):
        await crm.admin.execute(f"DELETE FROM router.{table} WHERE email_id = $1", email_id)


async def read_all(crm: Crm, number: int) -> None:
    await crm.wait_for_decisions(number)
    await crm.wait_for(0, "SELECT count(*) FROM router.decision WHERE settled_at IS NULL")


KINDS = ["imap", "pop3", "maildir"]


def profile_of(kind: str, incoming: Profile, dovecot: Dovecot, **keys: Any) -> str:
    more: dict[str, dict[str, Any]] = {
        "imap": {},
        "pop3": {"transport": "pop3", "port": dovecot.pop3s, "poll": 1},
        "maildir": {
            "transport": "maildir",
            "path": str(dovecot.maildir("{mailbox}")),
            **dict.fromkeys(("host", "port", "ca_file", "auth")),
        },
    }
    return incoming(**(more[kind] | {"start": "all"} | keys))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_message_that_was_lost_is_found_missing_and_brought_in_once(
    crm: Crm,
    new_router: NewRouter,
    incoming: Profile,
    dovecot: Dovecot,
    mailbox: str,
    audit: Audit,
    ask: Ask,
    kind: str,
) -> None:
    await crm.owner(mailbox, "known")
    await crm.record("contact", "Karl", KARL)
    for subject in ("one", "two", "three"):
        dovecot.deliver(mailbox, letter(KARL, mailbox, subject, Message_ID=f"<{subject}@kunde.test>"))
    dovecot.deliver(mailbox, letter("stranger@out.test", mailbox, "private"))
    profile = profile_of(kind, incoming, dovecot)
    router = await new_router(profile)
    await read_all(crm, 4)

    said = await ask(router, "audit")
    assert (said.status, said.out, said.err) == (0, "4 messages in 1 folder, 0 unaccounted\n", "")
    said = await ask(router, "audit", "--quiet")
    assert (said.status, said.out, said.err) == (0, "", "")
    assert came_to(await audit(profile)) == {"promoted": 3, "ignored": 1}
    assert await crm.admin.fetchval("SELECT messages - missing FROM router.audit") == 4

    await lose(crm, "two")
    said = await ask(router, "audit", "--quiet")
    assert said.status == 1
    assert f"missing     staff {mailbox} INBOX: 1 message\n" in said.out
    assert "  <two@kunde.test>\n" in said.out
    assert said.out.endswith(
        '4 messages in 1 folder, 1 unaccounted\n"email-router audit --repair" brings in what is missing\n'
    )
    # Nobody but its owner is to know what it says, as long as no rule wants it.
    assert "karl" not in said.out.lower()
    found = (await ask(router, "audit", "staff", "--owner", mailbox, "--json")).json
    assert (found["ok"], found["missing"], found["promoted"], found["ignored"]) == (False, 1, 2, 1)
    [missing] = found["mailboxes"][0]["folders"][0]["missing_messages"]
    assert missing["message_id"] == "two@kunde.test"

    said = await ask(router, "audit", "--repair")
    assert (said.status, said.err) == (0, "")
    assert f"brought in  staff {mailbox} INBOX: 1 message\n" in said.out
    assert "  <two@kunde.test>  promoted\n" in said.out
    assert said.out.endswith("4 messages in 1 folder, 0 unaccounted; brought in 1 that nothing accounted for\n")
    assert came_to(await audit(profile, repair=True)) == {"promoted": 3, "ignored": 1}
    assert await crm.admin.fetchval("SELECT count(*) FROM crm.email WHERE subject = 'two'") == 1
    assert await crm.admin.fetchval("SELECT count(*) FROM router.decision") == 4
    await crm.check_balance()


async def test_what_is_brought_in_of_an_erased_email_says_so(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, ask: Ask
) -> None:
    await crm.owner(mailbox, "all")
    dovecot.deliver(mailbox, letter(KARL, mailbox, "one", Message_ID="<one@kunde.test>"))
    router = await new_router(incoming(start="all"))
    await read_all(crm, 1)
    await crm.sql.execute("DELETE FROM crm.email")
    await crm.admin.execute("DELETE FROM router.decision")
    said = await ask(router, "audit", "--repair")
    assert "  <one@kunde.test>  duplicate (erased in the CRM)\n" in said.out
    assert await crm.admin.fetchval("SELECT count(*) FROM crm.email") == 0


async def test_what_was_brought_in_is_settled_by_the_router(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, audit: Audit
) -> None:
    await crm.owner(mailbox, "all")
    for subject in ("one", "two"):
        dovecot.deliver(mailbox, letter(KARL, mailbox, subject))
    profile = incoming(start="all", after="seen", poll=1)
    await new_router(profile)
    await read_all(crm, 2)
    await lose(crm, "one")
    with dovecot.connect(mailbox) as imap:
        imap.select()
        imap.uid("STORE", "1:*", "-FLAGS", r"(\Seen)")
    assert came_to(await audit(profile, repair=True)) == {"promoted": 2, "brought_in": 1}
    await read_all(crm, 2)
    assert sum("\\Seen" in flags for flags in dovecot.flags(mailbox).values()) == 1


async def test_what_is_to_be_brought_in_for_who_is_no_owner_any_more_stays_missing_and_is_told(
    crm: Crm,
    new_router: NewRouter,
    incoming: Profile,
    dovecot: Dovecot,
    mailbox: str,
    audit: Audit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner = await crm.owner(mailbox, "all")
    for subject in ("one", "two"):
        dovecot.deliver(mailbox, letter(KARL, mailbox, subject))
    profile = incoming(start="all")
    await new_router(profile)
    await read_all(crm, 2)
    await lose(crm, "one")
    bring_in = Accountant._bring_in

    async def late(*arguments: Any) -> Any:
        await crm.admin.execute("DELETE FROM crm.owner WHERE record_id = $1", owner)
        return await bring_in(*arguments)

    monkeypatch.setattr(Accountant, "_bring_in", late)
    found = await audit(profile, repair=True)
    assert came_to(found) == {"promoted": 1, "missing": 1}
    [missing] = [one for folder in found.folders.values() for one in folder.accounted.missing]
    assert (
        missing.fault == "it could not be stored now: an owner whose mail came is not there any more, or not approved"
    )


async def test_what_lay_there_when_reading_began_is_not_missing_whatever_its_date(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, audit: Audit
) -> None:
    await crm.owner(mailbox, "all")
    dovecot.deliver(mailbox, letter(KARL, mailbox, "just before"))
    _append(dovecot, mailbox, letter(KARL, mailbox, "long before"), datetime.now(UTC) - timedelta(days=900))
    # A mail server whose clock is fast.
    _append(dovecot, mailbox, letter(KARL, mailbox, "in the future"), datetime.now(UTC) + timedelta(days=2))
    router = await new_router(incoming())
    await crm.wait_for_sources(1)
    await crm.wait_for(1, "SELECT count(*) FROM router.source WHERE begins_at < 'infinity'")
    dovecot.deliver(mailbox, letter(KARL, mailbox, "after"))
    await read_all(crm, 1)
    await router.stop()
    assert came_to(await audit(incoming())) == {"promoted": 1, "before_start": 3}
    # Years later.
    await crm.admin.execute("UPDATE router.source SET begins_at = begins_at - interval '1 day'")
    assert came_to(await audit(incoming())) == {"promoted": 1, "before_start": 3}
    await lose(crm, "after")
    assert came_to(await audit(incoming())) == {"missing": 1, "before_start": 3}


async def test_what_is_lost_on_a_mailbox_s_first_day_is_missing(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, audit: Audit
) -> None:
    await crm.owner(mailbox, "all")
    dovecot.deliver(mailbox, letter(KARL, mailbox, "before"))
    router = await new_router(incoming())
    await crm.wait_for(1, "SELECT count(*) FROM router.source WHERE begins_at < 'infinity'")
    dovecot.deliver(mailbox, letter(KARL, mailbox, "after"))
    await read_all(crm, 1)
    await router.stop()
    await lose(crm, "after")
    await crm.admin.execute("UPDATE router.source SET begins_at = now() - interval '1 hour'")
    assert came_to(await audit(incoming())) == {"missing": 1, "before_start": 1}
    # Of the first minutes, the clocks of two machines do not tell.
    await crm.admin.execute("UPDATE router.source SET begins_at = now() - interval '2 minutes'")
    assert came_to(await audit(incoming())) == {"before_start": 2, "not_certain": 1}


def _append(dovecot: Dovecot, mailbox: str, message: bytes, at: datetime) -> None:
    with dovecot.connect(mailbox) as imap:
        assert imap.append("INBOX", "", imaplib.Time2Internaldate(at), message)[0] == "OK"


@pytest.mark.parametrize("kind", ["pop3", "maildir"])
async def test_where_only_dates_tell_mail_about_the_beginning_is_not_missing(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, audit: Audit, kind: str
) -> None:
    await crm.owner(mailbox, "all")
    dovecot.deliver(mailbox, letter(KARL, mailbox, "just before"))
    # Copied into the mailbox: no server says when it came, and it says itself nothing or something old.
    for date in (None, "Fri, 20 Nov 2020 10:00:00 +0100"):
        dovecot.append(mailbox, letter(KARL, mailbox, "copied", Date=date))
    profile = profile_of(kind, incoming, dovecot, start="now")
    router = await new_router(profile)
    await crm.wait_for(1, "SELECT count(*) FROM router.source WHERE begins_at < 'infinity'")
    dovecot.deliver(mailbox, letter(KARL, mailbox, "after"))
    await read_all(crm, 1)
    await router.stop()
    # POP3 has the sender's date, a Maildir that of the file: only one says that it is old. Of the others it is told.
    found = await audit(profile)
    assert came_to(found) == {"promoted": 1, "before_start": 3, "not_certain": {"pop3": 2, "maildir": 3}[kind]}


async def test_what_waits_is_told_with_the_reason(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, ask: Ask
) -> None:
    await crm.owner(mailbox, "all")
    dovecot.deliver(mailbox, letter(KARL, mailbox, "one"))
    router = await new_router(incoming(start="all"))
    await read_all(crm, 1)
    await router.stop()
    dovecot.deliver(mailbox, letter(KARL, mailbox, "two"))
    await crm.admin.execute("UPDATE router.source SET fault = 'the password is wrong', fault_since = now()")
    said = await ask(router, "audit")
    assert said.status == 0
    assert said.out == (
        f"waiting     staff {mailbox} INBOX: 1 message: the password is wrong\n"
        "2 messages in 1 folder, 0 unaccounted; 1 still to be read: no router process runs\n"
    )


async def test_a_folder_made_anew_keeps_what_is_known_and_the_rest_waits(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, audit: Audit
) -> None:
    await crm.owner(mailbox, "all")
    profile = incoming(start="all", folders=["Box"])
    old, new = letter(KARL, mailbox, "old"), letter(KARL, mailbox, "new")
    dovecot.append(mailbox, old, "Box")
    router = await new_router(profile)
    await read_all(crm, 1)
    await router.stop()
    with dovecot.connect(mailbox) as imap:
        before = imap.status("Box", "(UIDVALIDITY)")[1]
        while imap.status("Box", "(UIDVALIDITY)")[1] == before:  # it counts in seconds
            imap.delete("Box")
            imap.create("Box")
    dovecot.append(mailbox, old, "Box")
    dovecot.append(mailbox, new, "Box")
    found = await audit(profile)
    assert came_to(found) == {"waiting": 2}
    assert "UIDVALIDITY" in (found.folders["Box"].read_anew or "")
    await router.start()
    await read_all(crm, 3)
    await router.stop()
    assert came_to(await audit(profile)) == {"promoted": 1, "duplicate": 1}
    # A place that lost its disposition is known by its message, as long as another has it.
    await crm.admin.execute("DELETE FROM router.decision WHERE disposition = 'duplicate'")
    assert came_to(await audit(profile)) == {"promoted": 2, "elsewhere": 1}


async def test_mail_without_message_id_is_known_by_all_that_it_says(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, audit: Audit
) -> None:
    await crm.owner(mailbox, "known")
    profile = incoming(start="all")
    same, other = (letter(KARL, mailbox, "same", text, Message_ID=None) for text in ("one\n", "two\n"))
    for message in (same, same, other):
        dovecot.append(mailbox, message)
    router = await new_router(profile)
    await read_all(crm, 3)
    await router.stop()
    assert came_to(await audit(profile)) == {"ignored": 3}
    await crm.admin.execute("DELETE FROM router.decision WHERE place IN ('2', '3')")
    assert came_to(await audit(profile)) == {"ignored": 2, "elsewhere": 1, "missing": 1}


@pytest.mark.parametrize("rule", ["known", "all"])
async def test_a_forged_message_does_not_account_for_the_true_one(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, audit: Audit, rule: str
) -> None:
    """It has the true one's Message-ID and Date, and was ignored, or is an email of its own."""
    await crm.owner(mailbox, rule)
    await crm.record("contact", "Karl", KARL)
    write = partial(letter, Message_ID="<order@kunde.test>", Date="Sat, 28 Nov 2026 09:00:00 +0000")
    true = write(KARL, mailbox, "Order", "Two hundred chairs.\n")
    for message in (write("eve@evil.test", mailbox, "Win", "Win.\n"), true, true):
        dovecot.append(mailbox, message)
    profile = incoming(start="all")
    router = await new_router(profile)
    await read_all(crm, 3)
    await router.stop()
    became = {"known": ("ignored", "promoted"), "all": ("promoted", "duplicate")}[rule]
    # As long as one copy of the true one is known, so is the other.
    await crm.admin.execute("DELETE FROM router.decision WHERE place = '3'")
    assert came_to(await audit(profile)) == dict(zip(became, (1, 2), strict=True)) | {"elsewhere": 1}
    if rule == "known":
        await lose(crm, "Order")
    else:
        await crm.admin.execute("DELETE FROM router.decision WHERE disposition = 'duplicate'")
    assert came_to(await audit(profile)) == {became[0]: 1, "missing": 2}
    found = came_to(await audit(profile, repair=True))
    assert (
        found
        == {became[0]: 1, "brought_in": 2}
        | {
            "known": {"promoted": 1, "duplicate": 1},
            "all": {"duplicate": 2},
        }[rule]
    )


async def test_moved_mail_and_folders_that_are_not_read(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, ask: Ask, audit: Audit
) -> None:
    await crm.owner(mailbox, "all")
    for number in range(4):
        dovecot.append(mailbox, letter(KARL, mailbox, f"number {number}"))
    dovecot.append(mailbox, letter(KARL, mailbox, "spam"), "Junk")
    with dovecot.connect(mailbox) as imap:
        imap.create("Sales")
    profile = incoming(start="all", folders=["*"], poll=1)
    router = await new_router(profile)
    await read_all(crm, 4)
    with dovecot.connect(mailbox) as imap:
        imap.select()
        imap.uid("MOVE", "1", "Sales")
        imap.uid("MOVE", "2", "Junk")
    await read_all(crm, 5)
    assert came_to(await audit(profile)) == {"promoted": 2, "duplicate": 1}
    said = await ask(router, "audit", "--details")
    assert said.status == 0
    rows = [line.split(None, 4) for line in said.out.splitlines()[1:]]
    assert ["staff", mailbox, "INBOX", "2", "2 promoted"] in rows
    assert ["staff", mailbox, "Sales", "1", "1 duplicate"] in rows
    assert ["staff", mailbox, "Junk", "2", "folder not read"] in rows
    assert said.out.endswith("folders, 0 unaccounted\n")


async def test_under_the_rule_none_nothing_is_missing_and_nothing_is_read(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, audit: Audit
) -> None:
    await crm.owner(mailbox, "none")
    dovecot.deliver(mailbox, letter(KARL, mailbox, "one"))
    dovecot.deliver(mailbox, letter(KARL, mailbox, "two"))
    router = await new_router(incoming(start="all"))
    await read_all(crm, 2)
    await router.stop()
    await crm.admin.execute("DELETE FROM router.decision WHERE place = '1'")
    assert came_to(await audit(incoming())) == {"ignored": 1, "rule_none": 1}


async def test_a_forward_mailbox(crm: Crm, new_router: NewRouter, sink: Sink, mailbox: str, audit: Audit) -> None:
    await crm.owner(mailbox, "all")
    originals = [letter(KARL, mailbox, subject) for subject in ("one", "two")]
    sink.deliver(forwarding(mailbox, originals))
    sink.deliver(forwarding(mailbox, [letter(KARL, mailbox, "three")]))
    sink.deliver(letter("stranger@out.test", sink.address, "no forward"), domain=None)
    profile = sink.profile(after="keep")
    router = await new_router(profile)
    await read_all(crm, 4)
    await router.stop()
    assert came_to(await audit(profile)) == {"promoted": 2, "held": 1}
    await lose(crm, "three")
    assert came_to(await audit(profile)) == {"promoted": 1, "held": 1, "missing": 1}
    assert came_to(await audit(profile, repair=True)) == {"promoted": 2, "held": 1, "brought_in": 1}
    await crm.check_balance()


@pytest.mark.parametrize("kind", KINDS)
async def test_while_mail_flows_no_alarm_is_false_and_the_ledger_balances(
    crm: Crm,
    new_router: NewRouter,
    incoming: Profile,
    dovecot: Dovecot,
    mailbox: str,
    audit: Audit,
    kind: str,
) -> None:
    await crm.owner(mailbox, "all")
    profile = profile_of(kind, incoming, dovecot, poll=1, **({} if kind == "pop3" else {"after": "seen"}))
    dovecot.count(mailbox)  # it is on the disk once it was opened
    await new_router(profile)
    await crm.wait_for_sources(1)
    post, found = Post(dovecot, [mailbox], Random(7)), list[MailboxAudit]()

    async def deliver() -> int:
        delivered = 0
        while delivered < 300 or len(found) < 3:  # however slow an audit is, several see mail flow
            await asyncio.to_thread(post.deliver, 25)
            delivered += 25
        return delivered

    delivering = asyncio.ensure_future(deliver())
    while not delivering.done():
        found.append(await audit(profile, repair=True))
    delivered = await delivering
    await check_promoted(crm, post)
    found.append(await audit(profile, repair=True))
    for one in found:
        assert (one.tally.missing, one.tally.brought_in, one.faults) == (0, 0, [])
    assert came_to(found[-1]) == {"promoted": delivered}
    await crm.check_balance()


async def test_what_a_person_moves_about_meanwhile_is_never_missing(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, audit: Audit
) -> None:
    await crm.owner(mailbox, "known")
    await crm.record("contact", "Karl", KARL)
    with dovecot.connect(mailbox) as imap:
        imap.create("Sales")
    profile = incoming(start="all", folders=["INBOX", "Sales"], after="move:Sales", poll=1)
    await new_router(profile)
    await crm.wait_for_sources(2)
    dice = Random(11)

    def stir() -> None:
        for number in range(60):
            sender = dice.choice([KARL, "stranger@out.test"])
            dovecot.append(mailbox, letter(sender, mailbox, f"number {number}"))
            if dice.random() < 0.5:
                here, there = dice.sample(["INBOX", "Sales"], 2)
                with dovecot.connect(mailbox) as imap:
                    imap.select(here)
                    imap.uid("MOVE", "*", there)

    stirring = asyncio.ensure_future(asyncio.to_thread(stir))
    found = list[MailboxAudit]()
    while not stirring.done():
        found.append(await audit(profile))
    await stirring
    assert [(one.tally.missing, one.faults) for one in found] == [(0, [])] * len(found)
    await crm.wait_for(0, "SELECT count(*) FROM router.decision WHERE settled_at IS NULL")
    await crm.check_balance()


async def test_an_interrupted_audit_goes_on_where_it_was(
    crm: Crm,
    new_router: NewRouter,
    incoming: Profile,
    dovecot: Dovecot,
    mailbox: str,
    audit: Audit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(walk, "PAGE", 10)
    monkeypatch.setattr(incoming_audit, "_NOTED_EVERY", 0)
    await crm.owner(mailbox, "all")
    for number in range(45):
        dovecot.append(mailbox, letter(KARL, mailbox, f"number {number}"))
    router = await new_router(incoming(start="all"))
    await read_all(crm, 45)
    await router.stop()

    class Stopped(Exception):
        pass

    def stop_after(pages: int) -> Callable[[MailboxAudit], None]:
        def tell(one: MailboxAudit) -> None:
            if one.tally.messages >= pages * 10:
                raise Stopped

        return tell

    with pytest.raises(Stopped):
        await audit(incoming(), tell=stop_after(3))
    seen: list[int] = []
    found = await audit(incoming(), tell=lambda one: seen.append(one.tally.messages))
    # The third page was not noted any more.
    assert seen == [30, 40, 45]
    assert found.folders["INBOX"].resumed is not None
    assert came_to(found) == {"promoted": 45}
    assert (await audit(incoming())).folders["INBOX"].resumed is None

    # What is missing is not passed over by who goes on.
    await lose(crm, "number 12")
    with pytest.raises(Stopped):
        await audit(incoming(), tell=stop_after(4))
    assert came_to(await audit(incoming())) == {"promoted": 44, "missing": 1}


async def test_what_is_pruned_meanwhile_is_not_missing(
    crm: Crm,
    new_router: NewRouter,
    incoming: Profile,
    dovecot: Dovecot,
    mailbox: str,
    audit: Audit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(walk, "PAGE", 10)
    await crm.owner(mailbox, "known")
    for number in range(20):
        dovecot.append(mailbox, letter(KARL, mailbox, f"number {number}"))
    router = await new_router(incoming(start="all"))
    await read_all(crm, 20)
    await router.stop()
    account_for = Accountant.account_for

    async def prune_before(accountant: Accountant, page: Any) -> Any:
        if page[0].place.id == "11":
            # As the retention does, in one transaction.
            await crm.admin.execute("DELETE FROM router.decision; UPDATE router.source SET begins_at = now()")
        return await account_for(accountant, page)

    monkeypatch.setattr(Accountant, "account_for", prune_before)
    assert came_to(await audit(incoming(start="all"))) == {"ignored": 10, "before_start": 10}


async def test_a_server_that_goes_in_the_middle(
    crm: Crm,
    new_router: NewRouter,
    incoming: Profile,
    dovecot: Dovecot,
    mailbox: str,
    audit: Audit,
    ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(walk, "PAGE", 10)
    monkeypatch.setattr(incoming_audit, "TRIES", 1)
    await crm.owner(mailbox, "all")
    for number in range(30):
        dovecot.append(mailbox, letter(KARL, mailbox, f"number {number}"))
    async with Proxy(dovecot.imap) as proxy:
        profile = incoming(start="all", port=proxy.port, security="none", timeout=2)
        router = await new_router(profile)
        await read_all(crm, 30)
        await router.stop()
        # Lost once, it goes on beyond what it has.
        lost: list[int] = []

        def lose_once(one: MailboxAudit) -> None:
            if not lost:
                proxy.cut()
            lost.append(one.tally.messages)

        assert came_to(await audit(profile, tell=lose_once)) == {"promoted": 30}
        assert lost == [10, 20, 30]

        # In the middle of a page, it begins that page again.
        await lose(crm, "number 12")
        proxy.cut_after(b"BODY.PEEK[HEADER]")
        assert came_to(await audit(profile)) == {"promoted": 29, "missing": 1}
        assert proxy.struck

        def go_away(_: MailboxAudit) -> None:
            proxy.refusing = True
            proxy.cut()

        found = await audit(profile, tell=go_away)
        assert found.tally.messages == 10
        assert found.folders["INBOX"].fault
        assert found.faults
        assert await crm.admin.fetchval("SELECT fault FROM router.audit") == found.folders["INBOX"].fault
        # The command gives up a server that is away after seconds.
        said = await ask(router, "audit")
        assert said.status == 1
        assert said.out.startswith(f"not audited staff {mailbox}: ")
        assert said.out.endswith("\n1 mailbox not audited, or not to the end\n")
        assert "unaccounted" not in said.out


AUDITED = "SELECT count(*) FROM router.audit WHERE audited_at IS NOT NULL AND missing = 0"


async def test_the_router_audits_by_itself_tells_what_is_missing_and_status_fails(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, ask: Ask
) -> None:
    await crm.owner(mailbox, "all")
    for subject in ("one", "two"):
        dovecot.deliver(mailbox, letter(KARL, mailbox, subject))
    router = await new_router(incoming(start="all"), EMAIL_ROUTER_AUDIT="0.001")
    await read_all(crm, 2)
    await router.wait_for_log(r'"message": "audited".*"messages": 2')
    assert (await ask(router, "status")).status == 0
    await lose(crm, "two")
    await router.wait_for_log(r'"message": "messages are missing".*"missing": 1')
    assert f"email-router audit staff --owner {mailbox} --repair brings them in" in router.log()
    said = await ask(router, "status")
    assert said.status == 1
    assert f"email-router audit staff --owner {mailbox} --repair" in said.out
    # The router's own word is the cure, and not to try whether the server answers.
    said = await ask(router, "doctor", "--json")
    found = [one for one in said.json["findings"] if one["check"] == "faults"]
    assert [one["cure"] for one in found] == [f"email-router audit staff --owner {mailbox} --repair"]
    faults = (await ask(router, "status", "--json")).json["faults"]
    assert [one["part"] for one in faults] == ["source"]
    since = "SELECT missing_since FROM router.audit"
    found_at = await crm.admin.fetchval(since)
    audited = "SELECT audited_at > missing_since FROM router.audit"
    await crm.wait_for(True, audited)
    assert await crm.admin.fetchval(since) == found_at
    assert (await ask(router, "audit", "--repair")).status == 0
    assert (await ask(router, "status")).status == 0
    assert await crm.admin.fetchval(since) is None
    assert await crm.admin.fetchval("SELECT count(*) FROM crm.email") == 2


async def test_the_router_brings_in_by_itself_only_what_the_setting_allows(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str
) -> None:
    await crm.owner(mailbox, "all")
    dovecot.deliver(mailbox, letter(KARL, mailbox, "one"))
    router = await new_router(incoming(start="all"), EMAIL_ROUTER_AUDIT="0.001", EMAIL_ROUTER_AUDIT_REPAIR="true")
    await read_all(crm, 1)
    await lose(crm, "one")
    await router.wait_for_log("messages were missing, and are brought in")
    assert await crm.admin.fetchval("SELECT count(*) FROM crm.email") == 1
    await crm.wait_for(1, AUDITED)
    await crm.check_balance()


async def test_two_processes_audit_each_mailbox_once_and_none_that_is_at_fault(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, new_mailbox: Callable[[str], str]
) -> None:
    mailboxes = [new_mailbox(name) for name in ("ann", "bob", "cat", "dan")]
    for mailbox in mailboxes:
        await crm.owner(mailbox, "all")
        dovecot.deliver(mailbox, letter(KARL, mailbox, f"to {mailbox}"))
    # With one connection for all mailboxes of a process, audits and readers take turns.
    profile = incoming(start="all", max_connections=1, poll=1)
    routers = [await new_router(profile, EMAIL_ROUTER_AUDIT="0.001") for _ in range(2)]
    await read_all(crm, 4)
    await crm.wait_for(2, "SELECT count(DISTINCT process_id) FROM router.source")
    await crm.admin.execute("DELETE FROM router.audit")
    logged = [len(router.log()) for router in routers]
    await crm.wait_for(4, AUDITED, timeout=60)

    def audited() -> list[set[str]]:
        entries = [
            [json.loads(line) for line in router.log()[begins:].splitlines(keepends=True) if line.endswith("\n")]
            for router, begins in zip(routers, logged, strict=True)
        ]
        return [{entry["mailbox"] for entry in of_one if entry["message"] == "audited"} for of_one in entries]

    # The log has it a moment later than the database.
    every = "every mailbox in the logs"
    await asyncio.to_thread(wait_until, lambda: set.union(*audited()) == set(mailboxes), every)
    assert not set.intersection(*audited())
    assert all('"level": "error"' not in router.log() for router in routers)


async def test_what_is_due_is_taken_once_and_a_source_at_fault_is_left_to_its_reader(crm: Crm, database: str) -> None:
    async with Database(database) as opened:
        process, other = uuid4(), uuid4()
        ids = [
            await crm.admin.fetchval(
                "INSERT INTO router.source (profile, mailbox, folder, account, identity, begins_at, process_id, fault) "
                "VALUES ('staff', $1, 'INBOX', 'a', $1, '-infinity', $2, $3) RETURNING id",
                *row,
            )
            for row in [("a", process, None), ("b", process, "wrong"), ("c", other, None), ("d", process, None)]
        ]
        day, hour = timedelta(days=1), timedelta(hours=1)

        async def taken() -> list[int | None]:
            return [await repository.take_due(opened, process, ids, day, hour) for _ in range(3)]

        assert await taken() == [ids[0], ids[3], None]
        await repository.note_fault(opened, ids[3], "it was away")
        await crm.admin.execute("UPDATE router.audit SET tried_at = now() - interval '2 hours'")
        assert await taken() == [ids[3], None, None]
        await repository.note_ended(opened, ids[3], Tally())
        await crm.admin.execute(
            "UPDATE router.audit SET tried_at = now() - CASE source_id WHEN $1 THEN 2 ELSE 3 END * interval '1 day'",
            ids[0],
        )
        # The one that waits for longest comes first.
        assert await taken() == [ids[3], ids[0], None]


async def test_a_mailbox_is_tried_again_soon_whichever_of_its_folders_could_not_be_audited(
    crm: Crm, database: str
) -> None:
    async with Database(database) as opened:
        process = uuid4()
        inbox, archive = [
            await crm.admin.fetchval(
                "INSERT INTO router.source (profile, mailbox, folder, account, identity, begins_at, process_id) "
                "VALUES ('staff', 'a', $1, 'a', 'a', '-infinity', $2) RETURNING id",
                folder,
                process,
            )
            for folder in ("INBOX", "Archive")
        ]
        day, hour = timedelta(days=1), timedelta(hours=1)
        assert await repository.take_due(opened, process, [inbox], day, hour) == inbox
        await crm.admin.execute(
            "INSERT INTO router.process (id, host, pid, started_at) VALUES ($1, 'x', 1, now() - interval '3 days')",
            process,
        )
        assert await repository.overdue_of(opened, process, 2 * day) == {"staff": 1}
        assert await repository.overdue_of(opened, process, 4 * day) == {}
        await repository.note_ended(opened, archive, Tally())
        assert await repository.overdue_of(opened, process, 2 * day) == {"staff": 1}
        await repository.note_ended(opened, inbox, Tally())
        assert await repository.overdue_of(opened, process, 2 * day) == {}
        await repository.note_fault(opened, archive, "it was away")
        await crm.admin.execute("UPDATE router.audit SET tried_at = now() - interval '2 hours'")
        assert await repository.take_due(opened, process, [inbox], day, hour) == inbox
        assert await repository.take_due(opened, process, [inbox], day, hour) is None


async def test_a_server_that_is_away_is_not_asked_for_each_of_many_mailboxes(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, ask: Ask, new_mailbox: Callable[[str], str]
) -> None:
    mailboxes = sorted(new_mailbox(name) for name in ("ann", "bob", "cat", "dan", "eve", "fay"))
    for mailbox in mailboxes:
        await crm.owner(mailbox, "all")
    async with Proxy(dovecot.imap) as proxy:
        router = await new_router(incoming(start="all", port=proxy.port, security="none"))
        await crm.wait_for_sources(6)
        await router.stop()
        proxy.refusing = True
        before = proxy.connections
        said = await ask(router, "audit")
        assert said.status == 1
        assert proxy.connections - before <= 3 * (incoming_audit.TRIES + 1)
    away, not_asked, total = said.out.splitlines()
    assert away.startswith(f"not audited staff {', '.join(mailboxes[:3])}: ")
    assert not_asked.startswith(f"not audited staff {', '.join(mailboxes[3:])}: not asked, since ")
    assert total == "6 mailboxes not audited, or not to the end"


async def test_an_audit_takes_no_connection_from_a_mailbox_that_reads(
    crm: Crm,
    incoming: Profile,
    database: str,
    parsers: Workers,
    mailbox: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(incoming_audit, "PATIENCE", 0.2)
    monkeypatch.setenv("MAILBOX_PASSWORD", SECRETS["MAILBOX_PASSWORD"])
    await crm.owner(mailbox, "all")
    (tmp_path / "all.toml").write_text(incoming(start="all"))
    slots = Slots(1)
    async with Database(database) as opened, slots:
        [asked] = (await operation.plan(opened, read_folder(tmp_path))).mailboxes
        found = await Auditor(opened, parsers, asked.profile, asked.owner, slots).run()
        # Whoever has the connection was never asked to give it up.
        assert not slots.wanted
        assert found.fault
        assert "max_connections" in found.fault


async def test_an_audit_without_end_is_given_up_for_those_behind_it(
    crm: Crm,
    incoming: Profile,
    database: str,
    parsers: Workers,
    new_mailbox: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MAILBOX_PASSWORD", SECRETS["MAILBOX_PASSWORD"])
    monkeypatch.setattr(rounds, "LONGEST_AUDIT", timedelta(seconds=0.5))
    monkeypatch.setattr(rounds, "LONGEST_PAUSE", 0.01)
    (tmp_path / "all.toml").write_text(incoming(start="all"))
    reading, process, held = read_folder(tmp_path), uuid4(), {}
    endless, behind = new_mailbox("ann"), new_mailbox("bob")
    through = Auditor._through

    async def trickles(auditor: Auditor, account: Account) -> bool:
        if auditor.audit.mailbox == endless:
            await asyncio.Event().wait()
        return await through(auditor, account)

    monkeypatch.setattr(Auditor, "_through", trickles)
    async with Database(database) as opened:
        for mailbox in (endless, behind):
            await crm.owner(mailbox, "all")
            [asked] = (await operation.plan(opened, reading, None, mailbox)).mailboxes
            source_id = await crm.admin.fetchval(
                "INSERT INTO router.source (profile, mailbox, folder, account, identity, begins_at, process_id) "
                "VALUES ('staff', $1, 'INBOX', $2, $1, '-infinity', $3) RETURNING id",
                mailbox,
                asked.profile.account_of(mailbox),
                process,
            )
            held[source_id] = Holding(asked.profile, asked.owner, Slots(1))
        health = Health(
            "an audit fails", partial(processes.note_fault, opened, process, "audit"), structlog.get_logger()
        )
        auditing = asyncio.create_task(
            rounds.audit_in_rounds(opened, parsers, process, rounds.Rounds(), lambda: held, health)
        )
        await crm.wait_for(1, AUDITED)
        auditing.cancel()
        await asyncio.gather(auditing, return_exceptions=True)
    rows = await crm.admin.fetch(
        "SELECT s.mailbox, a.fault FROM router.audit AS a JOIN router.source AS s ON s.id = a.source_id"
    )
    faults = {row["mailbox"]: row["fault"] for row in rows}
    assert faults[behind] is None
    assert faults[endless].startswith("it took longer than 0:00:00.5")
