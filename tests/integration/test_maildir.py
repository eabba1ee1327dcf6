"""Maildirs, from the disk to the CRM."""

import asyncio
import sys
import time
from pathlib import Path

from tests.servers.dovecot import Dovecot
from tests.support.crm import Crm
from tests.support.holds import DECIDING, SETTLING, holding
from tests.support.letters import letter
from tests.support.maildirs import deliver, files, make_maildir
from tests.support.profiles import Profile
from tests.support.router_process import NewRouter

ANN = "ann@in.test"


def profile(path: Path | str, *keys: str) -> str:
    lines = ["[incoming.archive]", 'transport = "maildir"', f'path = "{path}"', 'owners = ["*@in.test"]', *keys]
    return "\n".join(lines) + "\n"


async def test_mail_on_disk_is_in_the_crm_and_moved_to_cur(crm: Crm, new_router: NewRouter, tmp_path: Path) -> None:
    await crm.owner(ANN, "known")
    await crm.record("contact", "Karl", "karl@kunde.test")
    maildir = make_maildir(tmp_path / ANN)
    # Years old, and there before the router: a Maildir begins with all.
    old = deliver(maildir, letter("karl@kunde.test", ANN, "old"), "1000000000.M1P1.host", at=1_000_000_000)
    await new_router(profile(tmp_path / "{mailbox}"))
    await crm.wait_for_emails(1)
    known = deliver(maildir, letter("karl@kunde.test", ANN, "new"), "1700000000.M2P1.host")
    began = time.monotonic()
    await crm.wait_for_emails(2)
    sys.stdout.write(f"from delivery to the row: {time.monotonic() - began:.3f} s\n")
    stranger = deliver(maildir, letter("stranger@other.test", ANN, "private"), "1700000000.M3P1.host")
    await crm.wait_for_decisions(3)
    await crm.wait_for(0, "SELECT count(*) FROM router.decision WHERE settled_at IS NULL")

    assert files(maildir) == {f"cur/{old}:2,S", f"cur/{known}:2,S", f"new/{stranger}"}
    emails = await crm.rows("SELECT subject, received_at FROM crm.email ORDER BY received_at")
    assert [email["subject"] for email in emails] == ["old", "new"]
    assert emails[0]["received_at"].timestamp() == 1_000_000_000
    assert await crm.dispositions() == {"promoted": 2, "ignored": 1}
    places = await crm.rows("SELECT folder, place FROM crm.receipt ORDER BY place")
    assert [tuple(place) for place in places] == [("INBOX", old), ("INBOX", known)]


async def test_t12_in_a_catch_all_the_topmost_delivered_to_alone_tells_whose_mail_it_is(
    crm: Crm, new_router: NewRouter, tmp_path: Path
) -> None:
    ann, ben = await crm.owner(ANN, "all"), await crm.owner("ben@in.test", "known")
    await crm.owner("eve@other.test", "all")
    maildir = make_maildir(tmp_path / "everybody")
    received = b"Received: from mx.other.test by mx.in.test; Sat, 28 Nov 2026 09:00:00 +0000\r\n"
    delivered = {
        "to ann": [ANN, "ben@in.test"],
        "to ann's news": ["ann+news@in.test"],
        "to ben, who wants no strangers": ["<Ben@in.test>", ANN],
        "to nobody": ["nobody@in.test", ANN],
        "to an owner of somebody else": ["eve@other.test", ANN],
        "without": [],
    }
    for subject, lines in delivered.items():
        raw = letter("stranger@other.test", ANN, subject)
        written = b"".join(f"Delivered-To: {line}\r\n".encode() for line in lines)
        # What stands below our server's Received, the sender wrote.
        deliver(maildir, written + received + f"Delivered-To: {ANN}\r\n".encode() + raw)
    await new_router(profile(maildir, 'role = "catch-all"'))
    await crm.wait_for_decisions(6)
    emails = await crm.rows("SELECT subject, owner_id FROM crm.email ORDER BY subject")
    assert [tuple(email) for email in emails] == [("to ann", ann), ("to ann's news", ann)]
    assert {row["owner_id"] for row in await crm.rows("SELECT owner_id FROM crm.receipt")} == {ann}
    assert await crm.dispositions() == {"promoted": 2, "ignored": 4}
    owners = await crm.admin.fetch("SELECT owner_id FROM router.decision WHERE disposition = 'ignored'")
    assert sorted(str(row["owner_id"]) for row in owners) == sorted([str(ben), "None", "None", "None"])
    # Ignored mail stays where it is: here is no other copy of it.
    await crm.wait_for(0, "SELECT count(*) FROM router.decision WHERE settled_at IS NULL")
    assert sum(name.startswith("new/") for name in files(maildir)) == 4


async def test_the_same_mail_by_imap_and_on_disk_is_one_email(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, tmp_path: Path
) -> None:
    await crm.owner(mailbox, "all")
    await crm.owner("bob@disk.test", "all")
    maildir = make_maildir(tmp_path / "bob@disk.test")
    sent = [
        letter("karl@kunde.test", mailbox, "with an id"),
        letter("karl@kunde.test", mailbox, "without", "two\nlines\n", html="<p>two\n<p>lines", Message_ID=None),
    ]
    await new_router(
        incoming(owners=[mailbox], start="all") + profile(tmp_path / "{mailbox}").replace("@in.test", "@disk.test")
    )
    for content in sent:
        await asyncio.to_thread(dovecot.append, mailbox, content)
        deliver(maildir, content)
    await crm.wait_for_decisions(4)
    assert await crm.dispositions() == {"promoted": 2, "duplicate": 2}
    assert len(await crm.rows("SELECT FROM crm.receipt")) == 4


async def test_killed_between_commit_and_settle(crm: Crm, new_router: NewRouter, tmp_path: Path) -> None:
    await crm.owner(ANN, "all")
    maildir = make_maildir(tmp_path / ANN)
    router = await new_router(profile(tmp_path / "{mailbox}"), lease=1)
    names: list[str] = []
    for number, point in enumerate([DECIDING, SETTLING]):
        async with holding(crm, point) as hold:
            names += [
                deliver(maildir, letter("karl@kunde.test", ANN, f"{point} {one}"), f"170000000{number}.M{one}P1.host")
                for one in range(5)
            ]
            await hold.reached()
            await router.kill()
            await hold.undo()
        # Nothing is settled that was not committed.
        in_cur = {file.partition(":")[0].removeprefix("cur/") for file in files(maildir) if file.startswith("cur/")}
        decided = await crm.admin.fetch("SELECT place FROM router.decision")
        assert in_cur.issubset({row["place"] for row in decided})
        await router.start()
        await crm.wait_for_decisions(len(names))
        await crm.wait_for(0, "SELECT count(*) FROM router.decision WHERE settled_at IS NULL")
        assert files(maildir) == {f"cur/{name}:2,S" for name in names}
    assert await crm.dispositions() == {"promoted": len(names)}


async def test_a_disk_that_goes_and_comes_back(crm: Crm, new_router: NewRouter, tmp_path: Path) -> None:
    await crm.owner(ANN, "all")
    maildir = make_maildir(tmp_path / ANN)
    deliver(maildir, letter("karl@kunde.test", ANN, "one"))
    await new_router(profile(tmp_path / "{mailbox}"))
    await crm.wait_for_emails(1)
    await crm.wait_for(0, "SELECT count(*) FROM router.decision WHERE settled_at IS NULL")
    away = maildir.with_name("away")
    maildir.rename(away)
    faulty = "SELECT count(*) FROM router.source WHERE fault LIKE 'there is no Maildir at %'"
    await crm.wait_for(1, faulty)
    deliver(away, letter("karl@kunde.test", ANN, "two"))
    away.rename(maildir)
    await crm.wait_for_emails(2)
    await crm.wait_for(0, faulty)
    assert await crm.dispositions() == {"promoted": 2}


# Duplicates: what is deleted as one says the same


def invoice(account: str) -> bytes:
    dated = "Fri, 20 Nov 2026 10:00:00 +0000"
    words = f"Pay to account {account}"
    return letter("karl@kunde.test", ANN, "Invoice", words, Message_ID="<one@kunde.test>", Date=dated)


async def test_the_true_mail_is_not_deleted_for_a_forged_one_with_its_message_id(
    crm: Crm, new_router: NewRouter, tmp_path: Path
) -> None:
    await crm.owner(ANN, "all")
    maildir = make_maildir(tmp_path / ANN)
    # Another batch for each.
    await new_router(profile(tmp_path / "{mailbox}", 'after = "delete"'))
    deliver(maildir, invoice("1"), "1.forged.host")
    await crm.wait_for_decisions(1)
    again = invoice("1")
    deliver(maildir, b"Received: by another; Fri, 20 Nov 2026 10:00:01 +0000\r\n" + again, "2.same.host")
    await crm.wait_for_decisions(2)
    true = deliver(maildir, invoice("2"), "3.true.host")
    await crm.wait_for_decisions(3)
    await crm.wait_for(0, "SELECT count(*) FROM router.decision WHERE settled_at IS NULL")

    assert files(maildir) == {f"new/{true}"}
    assert await crm.dispositions() == {"promoted": 1, "duplicate": 2}
    (email,) = await crm.rows("SELECT flags, text_body FROM crm.email")
    assert email["text_body"].strip() == "Pay to account 1"
    assert email["flags"] == ["other-copy"]


async def test_the_true_mail_that_was_ignored_is_not_deleted_once_a_forged_one_is_promoted(
    crm: Crm, new_router: NewRouter, tmp_path: Path
) -> None:
    bob = "bob@in.test"
    await crm.owner(ANN, "known")
    await crm.owner(bob, "all")
    maildirs = {owner: make_maildir(tmp_path / owner) for owner in (ANN, bob)}
    await new_router(profile(tmp_path / "{mailbox}", 'after = "delete"', "poll = 1"))
    for name, words in (("1.true.host", "2"), ("2.same.host", "1")):
        deliver(maildirs[ANN], invoice(words), name)
    await crm.wait_for_decisions(2)
    deliver(maildirs[bob], invoice("1"), "3.forged.host")
    await crm.wait_for_decisions(3)
    await crm.wait_for(0, "SELECT count(*) FROM router.decision WHERE settled_at IS NULL")
    # What says the same as the email is a copy of it and goes, the other stays as it was judged.
    assert await crm.dispositions() == {"promoted": 1, "duplicate": 1, "ignored": 1}
    assert (files(maildirs[ANN]), files(maildirs[bob])) == ({"new/1.true.host"}, set())
