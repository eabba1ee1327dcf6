"""All folders of a mailbox, and many mailboxes over few connections, end to end."""

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from router.incoming import follow
from router.profile.store import ProfileStore
from router.read import read
from router.repository.database import Database
from router.serve import serve
from router.workers.pool import Workers
from tests.servers.dovecot import Dovecot
from tests.servers.proxy import Proxy
from tests.support.crm import Crm
from tests.support.letters import letter, new_id
from tests.support.profiles import SECRETS, Profile
from tests.support.router_process import NewRouter

GROESSE = "Gr&APYA3w-e"  # Größe, as IMAP writes it


@pytest.fixture
def contact() -> str:
    return "karl@kunde.test"


async def test_mail_that_the_server_files_away_is_found_and_junk_is_not_read(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, contact: str
) -> None:
    await crm.owner(mailbox, "all")
    dovecot.append(mailbox, letter(contact, mailbox, "before"), GROESSE)
    dovecot.append(mailbox, letter(contact, mailbox, "spam before"), "Junk")
    await new_router(incoming(folders=["*"], poll=1))
    await crm.wait_for_sources(3)  # with Sent
    for folder in ("INBOX", GROESSE, "Junk", "Trash", "Drafts"):
        dovecot.append(mailbox, letter(contact, mailbox, f"in {folder}"), folder)
    await crm.wait_for_emails(2)
    dovecot.append(mailbox, letter(contact, mailbox, "last"))
    await crm.wait_for_emails(3)
    rows = await crm.rows("SELECT e.subject, r.folder FROM crm.email AS e JOIN crm.receipt AS r ON r.email_id = e.id")
    assert {tuple(row) for row in rows} == {
        ("in INBOX", "INBOX"),
        (f"in {GROESSE}", "Größe"),
        ("last", "INBOX"),
    }


async def test_a_message_that_a_person_moved_keeps_its_one_receipt_with_its_new_place(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, contact: str
) -> None:
    await crm.owner(mailbox, "known")
    await crm.record("contact", "Karl", contact)
    dovecot.append(mailbox, letter(contact, mailbox, "old"), "Done")
    await new_router(incoming(folders=["*"], poll=1))
    await crm.wait_for_sources(3)  # with Sent
    dovecot.deliver(mailbox, letter(contact, mailbox, "wanted"))
    dovecot.deliver(mailbox, letter("friend@home.test", mailbox, "private"))
    await crm.wait_for_decisions(2)
    await crm.admin.execute("UPDATE crm.owner SET tracking_rule = 'all'")
    with dovecot.connect(mailbox) as imap:
        imap.select("INBOX")
        imap.uid("MOVE", "1:*", "Done")
    await crm.wait_for_decisions(4)
    assert [row["subject"] for row in await crm.rows("SELECT subject FROM crm.email")] == ["wanted"]
    assert [row["folder"] for row in await crm.rows("SELECT folder FROM crm.receipt")] == ["Done"]
    assert await crm.dispositions() == {"promoted": 1, "duplicate": 1, "ignored": 2}
    assert [row["kind"] for row in await crm.rows("SELECT kind FROM crm.event")] == ["promoted"]


async def test_t17_t18_the_sent_folder(
    crm: Crm, new_router: NewRouter, incoming: Profile, outgoing: Profile, dovecot: Dovecot, mailbox: str, contact: str
) -> None:
    await crm.owner(mailbox, "known")
    await crm.record("contact", "Karl", contact)
    dovecot.append(mailbox, letter(mailbox, contact, "old"), "Sent")
    await new_router(incoming(sent=True, poll=1) + outgoing())
    await crm.wait_for_sources(2)
    sent = await crm.send(mailbox, contact, "Offer", "Our offer.")
    await crm.wait_for_status(sent, "sent")
    email = await crm.email(sent)
    copy = letter(
        mailbox,
        contact,
        "Offer",
        Message_ID=f"<{email['message_id']}>",
        Date=email["dated_at"].strftime("%a, %d %b %Y %H:%M:%S +0000"),
    )
    by_hand, private = letter(mailbox, contact, "by hand"), letter(mailbox, "friend@home.test", "private")
    for message in (copy, by_hand, private):
        dovecot.append(mailbox, message, "Sent")
    await crm.wait_for_decisions(3)
    rows = await crm.rows("SELECT subject, direction, status FROM crm.email ORDER BY subject")
    assert [tuple(row) for row in rows] == [("Offer", "out", "sent"), ("by hand", "out", "sent")]
    assert await crm.dispositions() == {"duplicate": 1, "promoted": 1, "ignored": 1}
    assert {row["email_id"] for row in await crm.rows("SELECT email_id FROM crm.receipt")} >= {sent}


async def test_a_folder_made_later_is_read_from_when_the_mailbox_began(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, contact: str
) -> None:
    await crm.owner(mailbox, "all")
    router = await new_router(incoming(folders=["*"], poll=1))
    await crm.wait_for_sources(2)  # with Sent
    await router.stop()
    dovecot.append(mailbox, letter(contact, mailbox, "filed while we were away"), "Later")
    with dovecot.connect(mailbox) as imap:
        long_ago = '"01-Jan-2020 00:00:00 +0000"'
        imap.append("Later", "", long_ago, letter(contact, mailbox, "of long ago"))
    await router.start()
    await crm.wait_for_emails(1)
    dovecot.deliver(mailbox, letter(contact, mailbox, "new"))
    await crm.wait_for_emails(2)
    assert {row["subject"] for row in await crm.rows("SELECT subject FROM crm.email")} == {
        "filed while we were away",
        "new",
    }


@pytest.mark.parametrize("folders", [["*"], ["INBOX", "Done"]])
async def test_what_was_moved_stays_where_it_is(
    crm: Crm,
    new_router: NewRouter,
    incoming: Profile,
    dovecot: Dovecot,
    mailbox: str,
    contact: str,
    folders: list[str],
) -> None:
    await crm.owner(mailbox, "all")
    dovecot.append(mailbox, letter(contact, mailbox, "old"), "Done")
    router = await new_router(incoming(folders=folders, after="move:Done", poll=1))
    await crm.wait_for_sources(2)
    dovecot.deliver(mailbox, letter(contact, mailbox, "one"))
    await crm.wait_for_emails(1)
    await crm.wait_for(0, "SELECT count(*) FROM router.decision WHERE settled_at IS NULL")
    await router.stop()
    await router.start()  # which finds the folder
    dovecot.deliver(mailbox, letter(contact, mailbox, "two"))
    await crm.wait_for_emails(2)
    await crm.wait_for(0, "SELECT count(*) FROM router.decision WHERE settled_at IS NULL")
    await router.stop()
    with dovecot.connect(mailbox) as imap:
        _, (told,) = imap.status("Done", "(MESSAGES UIDNEXT)")
    assert told == b"Done (MESSAGES 3 UIDNEXT 4)"  # each was moved once


async def test_a_folder_made_while_the_mailbox_is_followed_is_read_too(
    crm: Crm,
    database: str,
    incoming: Profile,
    dovecot: Dovecot,
    mailbox: str,
    contact: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(follow, "_FOLDERS_LAST", 0)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "all.toml").write_text(incoming(folders=["*"], poll=1))
    await crm.owner(mailbox, "all")
    stop = asyncio.Event()
    async with Database(database, patience=10) as ours, Workers(read, limit=10, size=1) as workers:
        store = await ProfileStore.open(tmp_path)
        serving = asyncio.create_task(serve(ours, workers, store, timedelta(seconds=10), stop))
        await crm.wait_for_sources(2)  # with Sent
        dovecot.append(mailbox, letter(contact, mailbox, "filed"), "Later")
        await crm.wait_for_emails(1)
        stop.set()
        await serving


async def test_a_missing_folder_is_told_and_the_others_are_read(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, contact: str
) -> None:
    await crm.owner(mailbox, "all")
    await new_router(incoming(folders=["INBOX", "Kunden"], start="all", poll=1))
    await crm.wait_for(1, "SELECT count(*) FROM router.source WHERE folder = 'Kunden' AND fault LIKE '%Kunden%'")
    dovecot.deliver(mailbox, letter(contact, mailbox, "one"))
    await crm.wait_for_emails(1)
    dovecot.append(mailbox, letter(contact, mailbox, "two"), "Kunden")
    await crm.wait_for_emails(2)
    await crm.wait_for(0, "SELECT count(*) FROM router.source WHERE fault IS NOT NULL")


async def test_a_folder_that_may_not_be_opened_is_told_and_stops_no_other(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, contact: str
) -> None:
    await crm.owner(mailbox, "all")
    dovecot.append(mailbox, letter(contact, mailbox, "before"), "Kunden")
    folder = dovecot.maildir(mailbox, "Kunden")
    mode = folder.stat().st_mode
    folder.chmod(0)
    await new_router(incoming(folders=["INBOX", "Kunden", "Sent"], poll=1))
    await crm.wait_for_sources(2)
    await crm.wait_for("Kunden", "SELECT min(folder) FROM router.source WHERE fault LIKE '%does not open%'")
    for number, name in enumerate(("INBOX", "Sent"), 1):
        dovecot.append(mailbox, letter(contact, mailbox, f"in {name}"), name)
        await crm.wait_for_decisions(number)
    folder.chmod(mode)
    await crm.wait_for_sources(3)
    dovecot.append(mailbox, letter(contact, mailbox, "in Kunden"), "Kunden")
    await crm.wait_for_decisions(3)


async def test_a_server_that_will_not_settle_keeps_no_mail_from_coming_in(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, contact: str
) -> None:
    await crm.owner(mailbox, "all")
    await new_router(incoming(after="move:/nowhere", poll=1))
    await crm.wait_for_sources(1)
    for number in (1, 2, 3):
        dovecot.deliver(mailbox, letter(contact, mailbox, f"number {number}"))
        await crm.wait_for_emails(number)
        await crm.wait_for(1, "SELECT count(*) FROM router.source WHERE fault LIKE '%does not move%'")
    assert dovecot.count(mailbox) == 3


async def test_a_folder_that_takes_nothing_is_not_told_as_mail_that_cannot_be_read(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, contact: str
) -> None:
    await crm.owner(mailbox, "all")
    dovecot.append(mailbox, letter(contact, mailbox, "before"), "Done")
    (dovecot.maildir(mailbox, "Done") / "tmp").chmod(0o500)
    router = await new_router(incoming(after="move:Done", poll=1))
    await crm.wait_for_sources(1)
    dovecot.deliver(mailbox, letter(contact, mailbox, "after"))
    await router.wait_for_log('a mailbox is at fault, and tried again".*does not move to the folder Done')
    await crm.wait_for_emails(1)


async def test_many_mailboxes_take_turns_at_few_connections(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, contact: str
) -> None:
    mailboxes = [f"turn-{new_id()[1:9]}-{number}@in.test" for number in range(7)]
    for mailbox in mailboxes:
        await crm.owner(mailbox, "all")
    async with Proxy(dovecot.imap) as proxy:
        await new_router(incoming(host="127.0.0.1", port=proxy.port, security="none", max_connections=2, poll=1))
        await crm.wait_for(7, "SELECT count(*) FROM router.source WHERE begins_at < 'infinity'")
        for number in (1, 2):
            for mailbox in mailboxes:
                await asyncio.to_thread(dovecot.deliver, mailbox, letter(contact, mailbox, f"{number} to {mailbox}"))
            await crm.wait_for_emails(7 * number)
        # Two at once, and those whose end the proxy has not seen yet; test_follow counts exactly.
        assert proxy.most_at_once < len(mailboxes)
    assert await crm.dispositions() == {"promoted": 14}


async def test_an_owner_who_joins_is_served_and_one_who_leaves_is_let_go(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, contact: str
) -> None:
    await crm.owner(mailbox, "all")
    await new_router(incoming())
    await crm.wait_for_sources(1)
    joined = f"joined-{new_id()[1:9]}@in.test"
    owner = await crm.owner(joined, "all")
    await crm.wait_for_sources(2)
    dovecot.deliver(joined, letter(contact, joined, "welcome"))
    await crm.wait_for_emails(1)
    await crm.sql.execute("DELETE FROM crm.owner WHERE record_id = $1", owner)
    await crm.wait_for_sources(1)


async def test_all_folders_are_let_go_with_their_mailbox(
    crm: Crm, new_router: NewRouter, incoming: Profile, mailbox: str
) -> None:
    owner = await crm.owner(mailbox, "all")
    await new_router(incoming(folders=["INBOX", "Sent"], poll=1))
    await crm.wait_for_sources(2)
    await crm.admin.execute("UPDATE crm.owner SET approved = false")
    await crm.wait_for(0, "SELECT count(process_id) FROM router.source")
    await crm.admin.execute("UPDATE crm.owner SET approved = true")
    await crm.wait_for_sources(2)
    await crm.sql.execute("DELETE FROM crm.owner WHERE record_id = $1", owner)
    await crm.wait_for(0, "SELECT count(process_id) FROM router.source")


async def test_a_folder_that_the_profile_no_longer_names_is_let_go(
    crm: Crm, new_router: NewRouter, incoming: Profile, mailbox: str
) -> None:
    await crm.owner(mailbox, "all")
    first = await new_router(incoming(folders=["INBOX", "Kunden"], poll=1))
    await crm.wait_for(1, "SELECT count(*) FROM router.source WHERE folder = 'Kunden' AND fault IS NOT NULL")
    await first.kill()  # without a word: it is named as the reader still
    await new_router(incoming(folders=["INBOX", "Sent"], poll=1))
    await crm.wait_for_sources(2)
    rows = await crm.admin.fetch("SELECT folder, process_id IS NOT NULL, fault FROM router.source ORDER BY folder")
    assert [tuple(row) for row in rows] == [("INBOX", True, None), ("Kunden", False, None), ("Sent", True, None)]


async def test_a_mailbox_whose_connection_was_lost_is_not_lost_to_ourselves(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, contact: str
) -> None:
    await crm.owner(mailbox, "all")
    async with Proxy(dovecot.imap) as proxy:
        router = await new_router(
            incoming(host="127.0.0.1", port=proxy.port, security="none", folders=["INBOX", "Kunden"], poll=1)
        )
        dovecot.append(mailbox, letter(contact, mailbox, "first"), "Kunden")
        await crm.wait_for_sources(2)
        proxy.cut()
        dovecot.append(mailbox, letter(contact, mailbox, "second"), "Kunden")
        await crm.wait_for(True, "SELECT bool_or(subject = 'second') FROM crm.email")
    assert "the connection was lost" in router.log()
    assert "let go of a mailbox" not in router.log()
    assert await crm.admin.fetchval("SELECT max(epoch) FROM router.source") == 1


async def test_t16b_ten_thousand_old_messages_cost_one_look_and_none_is_judged(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, contact: str
) -> None:
    fill(dovecot, mailbox, 10_000)
    await crm.owner(mailbox, "all")
    async with Proxy(dovecot.imap, listening=True) as proxy:
        await new_router(incoming(host="127.0.0.1", port=proxy.port, security="none"))
        await crm.wait_for_sources(1)
        dovecot.deliver(mailbox, letter(contact, mailbox, "new"))
        await crm.wait_for_emails(1)
        assert b"UID 10002 " in proxy.heard  # the first of all was taken away again
        assert b"UID 9999 " not in proxy.heard
        assert b"BODY.PEEK[]" in proxy.heard
    assert await crm.dispositions() == {"promoted": 1}


async def test_start_all_promotes_what_lies_there(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str
) -> None:
    fill(dovecot, mailbox, 500)
    await crm.owner(mailbox, "all")
    await new_router(incoming(start="all"))
    await crm.wait_for_emails(500)
    assert await crm.dispositions() == {"promoted": 500}


async def test_t64_a_mailbox_restored_from_a_backup_is_not_judged_anew(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, contact: str
) -> None:
    await crm.owner(mailbox, "known")
    await crm.record("contact", "Karl", contact)
    router = await new_router(incoming(poll=1))
    await crm.wait_for_sources(1)
    messages = [letter(contact, mailbox, f"wanted {n}") for n in range(20)]
    messages += [letter("friend@home.test", mailbox, f"private {n}") for n in range(20)]
    for message in messages:
        dovecot.append(mailbox, message)
    await crm.wait_for_decisions(40)
    await router.stop()
    with dovecot.connect(mailbox) as imap:
        imap.select("INBOX")
        imap.uid("STORE", "1:*", "+FLAGS", "(\\Deleted)")
        imap.expunge()
        imap.unselect()
        imap.create("Backup")
        # An INBOX that is renamed leaves an empty one behind, with UIDs of its own time.
        imap.rename("INBOX", "Old")
        imap.delete("Backup")
    await crm.admin.execute("UPDATE crm.owner SET tracking_rule = 'all'")
    await crm.admin.execute("UPDATE router.source SET cursor = '1:' || split_part(cursor, ':', 2)")
    for message in messages:
        dovecot.append(mailbox, message)
    await router.start()
    await crm.wait_for_decisions(80)
    dovecot.deliver(mailbox, letter(contact, mailbox, "new"))
    await crm.wait_for_emails(21)
    assert await crm.dispositions() == {"promoted": 21, "duplicate": 20, "ignored": 40}
    assert await crm.admin.fetchval("SELECT count(*) FROM crm.event WHERE kind = 'promoted'") == 21


def fill(dovecot: Dovecot, mailbox: str, count: int) -> None:
    """Put mail of long ago into a mailbox, an hour between one message and the next; as files, which is quick."""
    dovecot.append(mailbox, letter("a@b.test", mailbox, "the first"))
    with dovecot.connect(mailbox) as imap:
        imap.select("INBOX")
        imap.uid("STORE", "1:*", "+FLAGS", "(\\Deleted)")
        imap.expunge()
    folder = dovecot.maildir(mailbox) / "cur"
    owner = folder.stat()
    for number in range(count):
        at = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=number)
        headers = f"From: a@b.test\nSubject: {number}\nMessage-ID: <{number}@b.test>\nDate: {at:%a, %d %b %Y %T %z}"
        file = folder / f"{at.timestamp():.0f}.M{number}.test:2,S"
        file.write_text(f"{headers}\n\nold\n")
        os.chown(file, owner.st_uid, owner.st_gid)
        os.utime(file, (at.timestamp(), at.timestamp()))
